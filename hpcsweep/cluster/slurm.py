"""What is asked of Slurm from outside its jobs: the states of jobs, the length of arrays; and a clean environment."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcsweep.errors import LaunchError

SECONDS_BETWEEN = 30.0  # two looks at the queue: schedulers are shared
USUAL_ARRAY = 1001  # Slurm's own default of MaxArraySize
# What the launchers tell their tasks. A job submitted from inside another would take it for its own.
_INHERITED = re.compile(r"SLURM_|SLURMD_|SBATCH_|SRUN_|PMI|OMPI_|MPI_LOCAL|HYDI_|HYDRA_")
_KEPT = {"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_TIME_FORMAT", "SLURM_JWT", "SBATCH_ACCOUNT", "SBATCH_RESERVATION"}


@dataclass(frozen=True)
class Job:
    """A job in the queue, or an element of an array."""

    number: str
    name: str
    state: str
    used: str  # time, as Slurm writes it
    reason: str  # why it waits, or the nodes on which it runs


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


def longest_array() -> int:
    """Return how many elements an array may have. Raises `LaunchError` if there is no Slurm to ask."""
    try:
        told = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, timeout=60)
    except OSError as error:
        raise LaunchError("There is no Slurm here (no scontrol); use --cluster local or debug.") from error
    except subprocess.TimeoutExpired as error:
        raise LaunchError("Slurm does not answer (scontrol show config); try again later.") from error
    if told.returncode:
        raise LaunchError(f"Slurm does not answer: {told.stderr.strip()}.")
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", told.stdout, re.MULTILINE)
    return max(1, int(found[1])) if found else USUAL_ARRAY


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
        line = ["squeue", "--noheader", "--array", "--jobs", ",".join(sorted(numbers)), "--format=%i|%j|%T|%M|%R"]
        try:
            told = subprocess.run(line, capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired) as error:
            self.problem = f"the queue cannot be queried: {error}"
            return []
        over = "Invalid job id" in told.stderr  # a single job, long over
        self.problem = "" if told.returncode == 0 or over else f"the queue cannot be queried: {told.stderr.strip()}"
        rows = (row.split("|", 4) for row in told.stdout.splitlines())
        return [Job(*row) for row in rows if len(row) == 5]


def folder_of(store: Path) -> Path:
    """Return where the jobs of `submit` lie, with their logs."""
    return store.with_name(store.name + ".jobs")


def submitted(store: Path) -> set[str]:
    """Return the numbers of the jobs that `submit` has sent off for a store."""
    found = (re.match(r"(\d+)_submission\.sh", path.name) for path in folder_of(store).glob("*_submission.sh"))
    return {one[1] for one in found if one}


def jobs_of(found: dict[str, Any], queue: Queue) -> list[Job]:
    """Return what the queue says of the jobs of a store and its shards, in one question."""
    launches = [one["launch"]["job"] for one in (found, *found["shards"]) if one.get("live")]
    return queue.look({*submitted(Path(found["file"])), *(job for job in launches if job)})


def job_lines(found: list[Job], problem: str) -> list[str]:
    """Return the states of jobs for people."""
    told = [f"job {job.number} ({job.name}): {job.state.lower()}, {job.used} {job.reason}" for job in found]
    return told or [problem or "no job in the queue"]
