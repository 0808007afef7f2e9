"""The elements of an array as processes of this machine, some at a time, through submitit's local executor."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import submitit
from submitit.core.utils import UncompletedJobError

from hpcsweep.cluster import stopping
from hpcsweep.cluster.arrays.jobs import Element
from hpcsweep.cluster.stopping import AGAIN
from hpcsweep.errors import LaunchError
from hpcsweep.store.shards import Shard

FOREVER = 60 * 24 * 365  # minutes: submitit wants a limit; ours is the element's own
LOOK = 0.2  # seconds between two looks at the processes
REMIND = 3.0  # seconds between two signals: before its run has begun an element does not listen


def run(elements: Sequence[Element], folder: Path, tasks: int = 1, cores: int = 1, gpus: int = 0) -> list[int]:
    """Run elements of `tasks` MPI ranks each and return their exit codes, 75 for those that never began.

    As many at a time as there are cores, and one at a time where they use GPUs: all see the same. Told to stop, it
    tells them and waits. Raises `LaunchError`, at the end, if an element could not run.
    """
    executor = submitit.LocalExecutor(folder, python=_launcher(tasks))
    executor.update_parameters(timeout_min=FOREVER, gpus_per_node=gpus)
    at_once = 1 if gpus else max(1, len(os.sched_getaffinity(0)) // (tasks * cores))
    stopping.listen()
    waiting, reminded = list(elements), 0.0
    running: list[tuple[Shard, submitit.Job[int]]] = []
    over: list[tuple[Shard, submitit.Job[int]]] = []
    while running or (waiting and not stopping.asked()):
        while waiting and len(running) < at_once and not stopping.asked():
            with _deaf_to_the_keyboard():
                running.append((waiting[0].shard, executor.submit(waiting.pop(0))))
        time.sleep(LOOK)
        if stopping.asked() and time.monotonic() - reminded > REMIND:
            reminded = time.monotonic()
            _stop([job for _, job in running])
        over += [element for element in running if element[1].done()]
        running = [element for element in running if element not in over]
    codes = [_code(str(shard), job) for shard, job in over]
    return codes + [AGAIN] * len(waiting)


def _launcher(tasks: int) -> str:
    """Return the command that starts Python as so many MPI ranks."""
    if tasks == 1:
        return shlex.quote(sys.executable)
    beside = Path(sys.executable).with_name("mpiexec")
    mpiexec = str(beside) if beside.exists() else shutil.which("mpiexec")
    if mpiexec is None:
        raise LaunchError("There is no mpiexec here: install an MPI, or use --ntasks-per-node 1.")
    return shlex.join([mpiexec, "-n", str(tasks), sys.executable])


@contextlib.contextmanager
def _deaf_to_the_keyboard() -> Iterator[None]:
    """Start processes that do not hear an interrupt from the keyboard: submitit's would kill the element for it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _stop(jobs: Sequence[submitit.Job[int]]) -> None:
    for job in jobs:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(job.job_id), signal.SIGTERM)  # submitit hands it on


def _code(shard: str, job: submitit.Job[int]) -> int:
    try:
        return job.result()
    except UncompletedJobError as error:
        last = str(error).strip().rpartition("\n")[2]
        raise LaunchError(f"Element {shard} did not run: {last} Its log is {job.paths.stderr}.") from error
