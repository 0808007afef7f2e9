"""Faults by Slurm: walltime, signals, preemption, requeue, nodes that are down, memory limits; in the sandbox."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from scripts.fault_matrix.row import Row
from scripts.fault_matrix.study import SAMPLES
from scripts.fault_matrix.trial import PATIENCE, Hangs, TooLate, Trial, plain

ROOT = Path(__file__).parents[2]
SANDBOX, SBATCH = ROOT / "scripts" / "slurm_sandbox", ROOT / "jobs" / "run.sbatch"
ON_ITS_WAY = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "REQUEUED")


@functools.cache
def obstacle() -> str:
    """Say why there is no sandbox and none can be started."""
    found = subprocess.run([SANDBOX, "status"], capture_output=True, text=True)
    return found.stderr.strip().removeprefix("slurm_sandbox: ") if found.returncode == 2 else ""


@contextlib.contextmanager
def sandbox() -> Iterator[None]:
    """A running sandbox, to which the commands of this process speak; stopped at the end if it was started here."""
    ran = subprocess.run([SANDBOX, "status"], capture_output=True).returncode == 0
    subprocess.run([SANDBOX, "start"], check=True, capture_output=True, timeout=90)
    shown = subprocess.run([SANDBOX, "env"], capture_output=True, text=True, check=True).stdout
    os.environ["SLURM_CONF"] = shown.strip().partition("=")[2]
    try:
        yield
    finally:
        if not ran:
            subprocess.run([SANDBOX, "stop"], capture_output=True, timeout=90)


def call(*line: object) -> str:
    """Run a command of Slurm and return what it prints."""
    return subprocess.run(list(map(str, line)), capture_output=True, text=True, check=True, timeout=60).stdout.strip()


class Job:
    """A batch job that runs the study of a trial with jobs/run.sbatch; cancelled if a trial leaves it."""

    def __init__(self, trial: Trial, *flags: str, **environment: str) -> None:
        harmless = "--signal=CONT@1"  # instead of the script's SIGTERM two minutes before the end
        line = ["sbatch", "--parsable", "--output=log-%j", harmless, *flags, SBATCH, trial.folder / "study.toml"]
        told = {**plain(), "TROUBLE_SLOW": "0.5", **environment}
        done = subprocess.run(
            [*map(str, line), str(trial.store)], cwd=trial.folder, env=told, capture_output=True, text=True, check=True
        )
        self.number, self._trial = done.stdout.strip(), trial

    def facts(self) -> dict[str, str]:
        """Return what Slurm knows of it."""
        words = call("scontrol", "--oneliner", "show", "job", self.number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def moment(self) -> None:
        """Wait until a random moment while it trains."""
        limit = time.monotonic() + PATIENCE
        while not self._trial.begun() and time.monotonic() < limit:
            time.sleep(0.1)
        time.sleep(self._trial.chance.uniform(0.0, 3.0))
        if self.facts()["JobState"] != "RUNNING":
            raise TooLate

    def ended(self) -> str:
        """Wait for its end; say how it ended."""
        limit = time.monotonic() + PATIENCE
        while (facts := self.facts())["JobState"] in ON_ITS_WAY:
            if time.monotonic() > limit:
                raise Hangs(f"job {self.number} goes on: {facts['JobState']}, {facts['Reason']}")
            time.sleep(0.3)
        code, restarts = facts["ExitCode"].partition(":")[0], int(facts["Restarts"])
        return f"{facts['JobState']} {code}" + (f" after {restarts} restart" if restarts else "")

    def interrupted(self) -> None:
        """Wait until it runs no more, as far as it does, and take note of what is left then."""
        limit = time.monotonic() + PATIENCE
        while self.facts()["JobState"] in ("RUNNING", "COMPLETING") and time.monotonic() < limit:
            time.sleep(0.1)
        self._trial.note()


def _with(*flags: str, **environment: str) -> Callable[[Callable[[Trial, Job], None]], Callable[[Trial], str]]:
    """Turn what is done to a job at a random moment into a fault that submits one with these flags."""

    def make(harm: Callable[[Trial, Job], None]) -> Callable[[Trial], str]:
        @functools.wraps(harm)
        def strike(trial: Trial) -> str:
            job = Job(trial, *flags, **environment)
            try:
                job.moment()
                harm(trial, job)
                return job.ended()
            finally:
                subprocess.run(["scancel", job.number], capture_output=True, timeout=60)

        return strike

    return make


ONE_NODE = ("--nodes=1", "--nodelist=n2", "--ntasks-per-node=2")
TWO_NODES = ("--nodes=2", "--ntasks-per-node=1")


@_with(*ONE_NODE, "--time=1", TROUBLE_SLOW="8")
def _walltime(trial: Trial, job: Job) -> None:
    """Slurm looks at time limits twice a minute, so the end is brought forward."""
    soon = datetime.now() + timedelta(seconds=1)
    call("scontrol", "update", f"jobid={job.number}", f"EndTime={soon:%FT%T}")


@_with(*TWO_NODES)
def _signal(trial: Trial, job: Job) -> None:
    call("scancel", f"--signal={trial.chance.choice(['TERM', 'USR1', 'USR2'])}", job.number)


@_with(*ONE_NODE, "--partition=low")
def _preempted(trial: Trial, job: Job) -> None:
    call("sbatch", "--parsable", "--output=/dev/null", "--partition=high", *ONE_NODE[:2], "--exclusive", "--wrap=true")
    job.interrupted()


@_with(*TWO_NODES)
def _requeued(trial: Trial, job: Job) -> None:
    call("scontrol", "requeue", job.number)
    job.interrupted()


@_with(*TWO_NODES)
def _node_down(trial: Trial, job: Job) -> None:
    node = trial.chance.choice(["n1", "n2"])
    call("scontrol", "update", f"nodename={node}", "state=down", "reason=fault")
    job.interrupted()
    subprocess.run([SANDBOX, "start"], check=True, capture_output=True, timeout=90)  # resumes what is down


def _memory(trial: Trial) -> str:
    """A cell that wants 3 GiB in a job that has less, by a random margin; Slurm kills the job."""
    flags = (*ONE_NODE, f"--mem={trial.chance.randint(1200, 2500)}M")
    job = Job(trial, *flags, TROUBLE=f"hogs {trial.chance.choice(SAMPLES)}")
    try:
        return job.ended()
    finally:
        subprocess.run(["scancel", job.number], capture_output=True, timeout=60)


ITSELF = "none: Slurm restarts the job"
ROWS = [
    Row("slurm-walltime", "end of the walltime: Slurm kills the job", _walltime, obstacle=obstacle),
    Row("slurm-signal", "`scancel --signal` (TERM, USR1, USR2), two nodes", _signal, obstacle=obstacle),
    Row("slurm-preempted", "preemption by a higher-priority partition", _preempted, ITSELF, obstacle=obstacle),
    Row("slurm-requeued", "`scontrol requeue`, two nodes", _requeued, ITSELF, obstacle=obstacle),
    Row("slurm-node-down", "node down (`scontrol update state=down`)", _node_down, ITSELF, obstacle=obstacle),
    Row("slurm-memory", "memory limit of Slurm (`--mem`)", _memory, "more memory", obstacle=obstacle, retry=True),
]
