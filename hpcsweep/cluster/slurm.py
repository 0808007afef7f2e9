"""What is asked of Slurm: its walltime and to be requeued, by a job; states of jobs and limits, from outside."""

from __future__ import annotations

import contextlib
import math
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcsweep.errors import LaunchError
from hpcsweep.texts import hidden, visible

SECONDS_BETWEEN = 30.0  # two looks at the queue: schedulers are shared
USUAL_ARRAY = 1001  # Slurm's own default of MaxArraySize
# What the launchers tell their tasks. A job submitted from inside another would take it for its own.
_INHERITED = re.compile(r"SLURM_|SLURMD_|SBATCH_|SRUN_|PMI|OMPI_|MPI_LOCAL|HYDI_|HYDRA_")
_KEPT = {"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_TIME_FORMAT", "SLURM_JWT", "SBATCH_ACCOUNT", "SBATCH_RESERVATION"}


@dataclass(frozen=True)
class Job:
    """A job in the queue, or an element of an array."""

    number: str
    state: str
    used: str  # time, as Slurm writes it
    reason: str  # why it waits, or the nodes on which it runs
    name: str


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what an allocation, or an MPI launcher, has put into it."""
    return {name: value for name, value in environment.items() if name in _KEPT or not _INHERITED.match(name)}


@contextlib.contextmanager
def outside() -> Iterator[None]:
    """Let the block start programs as if this process ran in no allocation."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(clean(before))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def walltime(environment: Mapping[str, str] = os.environ) -> float:
    """Return when Slurm will end this job (Unix time); infinite where nobody says.

    Older ones do not tell in the environment, and are asked: once, by rank 0. An end that is over already is that of
    another job, whose environment this process has inherited: it is ignored, with a warning.
    """
    end, job = environment.get("SLURM_JOB_END_TIME", ""), job_of(environment)
    if end.isdigit() and float(end) < time.time():
        print(
            f"hpcsweep: SLURM_JOB_END_TIME={end} of job {job or 'unknown'} is over already, and is ignored: this shell "
            "seems to be left over from an allocation.",
            file=sys.stderr,
        )
        return math.inf
    if end.isdigit() or not job:
        return float(end) if end.isdigit() else math.inf
    return time.time() + duration(_queued(job, "%L", 20.0) or "")


def job_of(environment: Mapping[str, str] = os.environ) -> str:
    """Return the number by which Slurm knows this job, or array element; empty outside of any.

    The last element of an array has the number of the whole: by SLURM_JOB_ID alone it would be all of them.
    """
    array, element = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{element}" if array and element else environment.get("SLURM_JOB_ID", "")


def duration(text: str) -> float:
    """Return the seconds of Slurm's [days-][[hours:]minutes:]seconds; infinite for anything else."""
    days, dash, clock = text.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in [*parts, *([days] if dash else [])]):
        return math.inf
    seconds = sum(int(part) * 60**place for place, part in enumerate(reversed(parts)))
    return float(seconds + 86400 * int(days or 0))


def _queued(job: str, what: str, patience: float) -> str | None:
    """Return what the queue of Slurm says of a job; None where it says nothing in so many seconds."""
    try:
        done = subprocess.run(["squeue", "-h", "-j", job, "-o", what], capture_output=True, text=True, timeout=patience)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def still_running(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this Slurm job is neither being cancelled nor requeued by Slurm itself; yes where Slurm does not say.

    A preempted job goes back into the queue by itself, and one that somebody cancels must not.
    """
    return _queued(job_of(environment), "%T", 60.0) in ("RUNNING", None)


def requeue(environment: Mapping[str, str] = os.environ) -> str:
    """Ask Slurm to put this job, or array element, into its queue again; return what became of that, in a sentence."""
    job = job_of(environment)
    if not job:
        return "Not requeued: this is not a Slurm job."
    if not still_running(environment):
        return f"Job {job} is not requeued: it is being cancelled, or Slurm requeues it."
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"Job {job} is not requeued: {error}."
    return f"Job {job} is requeued." if done.returncode == 0 else f"Job {job} is not requeued: {done.stderr.strip()}."


def longest_array() -> int:
    """Return how many elements an array may have. Raises `LaunchError` if there is no Slurm to ask."""
    try:
        done = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, timeout=60)
    except OSError as error:
        raise LaunchError("There is no Slurm here (no scontrol); use --cluster local or debug.") from error
    except subprocess.TimeoutExpired as error:
        raise LaunchError("Slurm does not answer (scontrol show config); try again later.") from error
    if done.returncode:
        raise LaunchError(f"Slurm does not answer: {done.stderr.strip()}.")
    size = re.search(r"^MaxArraySize\s*=\s*(\d+)", done.stdout, re.MULTILINE)
    return max(1, int(size[1])) if size else USUAL_ARRAY


@dataclass
class Queue:
    """The states of some jobs, asked of squeue all at once and at most every 30 seconds."""

    seen: list[Job] = field(default_factory=list)
    problem: str = ""  # why nothing is known
    _asked: float = float("-inf")

    def look(self, numbers: Collection[str]) -> list[Job]:
        """Return those of the jobs that are in the queue, array elements one by one."""
        if numbers and time.monotonic() - self._asked >= SECONDS_BETWEEN:
            self._asked = time.monotonic()
            self.seen = self._ask(numbers)
        return self.seen

    def _ask(self, numbers: Collection[str]) -> list[Job]:
        line = ["squeue", "--noheader", "--array", "--jobs", ",".join(sorted(numbers)), "--format=%i|%T|%M|%R|%j"]
        try:
            done = subprocess.run(line, capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired) as error:
            self.problem = f"the queue cannot be queried: {error}"
            return []
        over = "Invalid job id" in done.stderr  # a single job, long over
        self.problem = "" if done.returncode == 0 or over else f"the queue cannot be asked: {done.stderr.strip()}"
        rows = (row.split("|", 4) for row in done.stdout.splitlines())
        return [Job(*row) for row in rows if len(row) == 5]


def folder_of(store: Path) -> Path:
    """Return where the jobs of `submit` lie, with their logs."""
    return store.with_name(store.name + ".jobs")


def make_folder(store: Path) -> Path:
    """Return `folder_of` a store, made if need be: this user's alone, since what lies in it is run by the jobs.

    Raises `LaunchError` if it is a link or another user's, or has a name that cannot be used.
    """
    folder = folder_of(store)
    if hidden(str(folder)) or "%" in str(folder):
        raise LaunchError(
            f"{visible(str(folder))!r} cannot be the folder of jobs: its name has hidden characters or %."
        )
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        status = folder.lstat()
        ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
        if ours and status.st_mode & 0o022:
            folder.chmod(stat.S_IMODE(status.st_mode) & ~0o022)
    except OSError as error:
        raise LaunchError(f"{folder} cannot be written: {error.strerror}.") from error
    if not ours:
        raise LaunchError(
            f"{folder} is a link or another user's, who could change the jobs; remove it, or choose another store."
        )
    return folder


def submitted(store: Path) -> set[str]:
    """Return the numbers of the jobs that `submit` has sent off for a store."""
    names = (re.match(r"(\d+)_submission\.sh", path.name) for path in folder_of(store).glob("*_submission.sh"))
    return {name[1] for name in names if name}


def jobs_of(summary: dict[str, Any], queue: Queue) -> list[Job]:
    """Return what the queue says of the jobs of a store and its shards (`status.everything`), in one question."""
    launches = [part["launch"].get("job") for part in (summary, *summary["shards"]) if part.get("live")]
    return queue.look({*submitted(Path(summary["file"])), *(job for job in launches if job)})


def job_lines(jobs: list[Job], problem: str) -> list[str]:
    """Return the states of jobs for people."""
    lines = [visible(f"job {job.number} ({job.name}): {job.state.lower()}, {job.used} {job.reason}") for job in jobs]
    return lines or [problem or "no job in the queue"]
