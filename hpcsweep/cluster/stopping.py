"""When to end early: signals, the end of the walltime, or the word of rank 0. They set a flag, and whoever works looks.

The walltime is that of Slurm (``SLURM_JOB_END_TIME``), or what the user says. An early end takes a margin: work in
flight has to come to a point where it can be saved, and to be written.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
LEAST_MARGIN = 60.0  # seconds before the end of the walltime
LONGEST_TASK = 20.0  # seconds of a task that cannot be interrupted, about
# Share of the margin that is waited for those who work. Of the least margin, more than the longest task, and less than
# the 30 s that Slurm leaves between SIGTERM and SIGKILL.
PATIENCE = 0.45
LEAST_PATIENCE = 1.0  # seconds, of a walltime that is a matter of seconds
_asked = threading.Event()
_bells: list[Callable[[], bool]] = []
_end = math.inf  # of the walltime, Unix time
_margin = LEAST_MARGIN
_moment = math.inf  # when to stop, whatever the walltime
_since = math.inf  # when it was first seen that an early end was asked for, by the monotonic clock


class Stuck(Exception):
    """Asked to stop, some did not come to an end: a plugin that hangs, a node that stands still. Says which."""


def listen() -> None:
    """Let the signals set the flag, in this process, from now on. A second interrupt from the keyboard kills."""
    for number in SIGNALS:
        signal.signal(number, _ask)


def _ask(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _asked.set()


def reset() -> None:
    """Forget all that asked, or would have asked, for an early end: another run may begin in this process."""
    global _end, _margin, _moment, _since
    _asked.clear()
    _bells.clear()
    _end, _margin, _moment, _since = math.inf, LEAST_MARGIN, math.inf, math.inf


def ask() -> None:
    """Ask this process for an early end, as a signal would."""
    _asked.set()


def also_when(rings: Callable[[], bool]) -> None:
    """Let `asked` also look whether somebody else asks: rank 0, by a message."""
    _bells.append(rings)


def before(end: float) -> None:
    """Let `asked` say so in time before the walltime ends (Unix time); of a short one at most a quarter is lost."""
    global _end, _margin
    _end, _margin = end, min(LEAST_MARGIN, max(0.0, end - time.time()) / 4)


def at(moment: float) -> None:
    """Let `asked` say so from this moment on (Unix time)."""
    global _moment
    _moment = moment


def walltime(environment: Mapping[str, str] = os.environ) -> float:
    """Return when Slurm will end this job (Unix time); infinite where nobody says.

    Older ones do not tell in the environment, and are asked: once, by rank 0.
    """
    told, job = environment.get("SLURM_JOB_END_TIME", ""), job_of(environment)
    if told.isdigit() or not job:
        return float(told) if told.isdigit() else math.inf
    try:
        asked = subprocess.run(["squeue", "-h", "-j", job, "-o", "%L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return math.inf
    return time.time() + duration(asked.stdout.strip())


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


def learn(saving: float) -> None:
    """Widen the margin by what a checkpoint took, in seconds."""
    global _margin
    if saving > LEAST_MARGIN / 10:
        _margin = max(_margin, LONGEST_TASK + 3 * saving)


def asked() -> bool:
    """Whether an early end was asked for; looked at some 40 times a second by those who work."""
    global _since
    late = time.time() > min(_moment, _end - _margin)
    if not _asked.is_set() and (late or any(rings() for rings in _bells)):
        _asked.set()
    if _asked.is_set():
        _since = min(_since, time.monotonic())
    return _asked.is_set()


def overdue() -> bool:
    """Whether an early end was asked for so long ago that whoever has not come to one is not waited for."""
    return asked() and time.monotonic() - _since > max(LEAST_PATIENCE, PATIENCE * _margin)


def still_running(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this Slurm job is neither being cancelled nor requeued by Slurm itself; yes where Slurm does not say.

    A preempted job goes back into the queue by itself, and one that somebody cancels must not.
    """
    job = job_of(environment)
    try:
        asked = subprocess.run(["squeue", "-h", "-j", job, "-o", "%T"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return True
    return asked.stdout.strip() == "RUNNING" if asked.returncode == 0 else True


def requeue(environment: Mapping[str, str] = os.environ) -> str:
    """Ask Slurm to put this job, or array element, into its queue again; return what became of that, in a sentence."""
    job = job_of(environment)
    if not job:
        return "Not requeued: this is no Slurm job."
    if not still_running(environment):
        return f"Job {job} is not requeued: it is being cancelled, or Slurm does so itself."
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"Job {job} is not requeued: {error}."
    return f"Job {job} is requeued." if done.returncode == 0 else f"Job {job} is not requeued: {done.stderr.strip()}."
