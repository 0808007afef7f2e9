"""Shared memory that killed ranks leave on a node, and that keeps the next start of the same job from beginning.

MPICH names its shared memory in /dev/shm after job and step, and removes it when the ranks end. If they are killed it
stays; a requeued job has the same number, finds it on the same node and dies in MPI_Init ("Message truncated").
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

SHARED_MEMORY = Path("/dev/shm")
NAMES = "mpich_shm_*"
_PATIENCE = 60.0  # seconds that a rank waits for others of its node that look


def abandoned(folder: Path = SHARED_MEMORY, before: float = math.inf) -> list[Path]:
    """Return MPICH's files that are ours, older than `before` (Unix time) and used by no process, as far as we see."""
    old = [path for path in folder.glob(NAMES) if _is_ours(path, before)]
    used = _used() if old else ""
    return [path for path in old if str(path) not in used]


def remove_abandoned(environment: Mapping[str, str] = os.environ, folder: Path = SHARED_MEMORY) -> list[Path]:
    """Remove, in a requeued Slurm job and before MPI begins, what is left of its earlier starts; return what that was.

    Nothing is removed that is younger than this step: its other ranks may be in MPI_Init already.
    """
    if environment.get("SLURM_RESTART_COUNT", "0") == "0" or not folder.is_dir():
        return []
    with _alone(folder):
        left = abandoned(folder, psutil.Process(os.getppid()).create_time())
        for path in left:
            path.unlink(missing_ok=True)
    return left


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let the ranks of this node look and remove one after the other.

    Else one that has looked, and is slow, removes the new file of another that is in MPI_Init by then: both would wait
    there for ever. Whoever may lock the folder and stands still is not waited for.
    """
    descriptor, end = os.open(folder, os.O_RDONLY), time.monotonic() + _PATIENCE
    try:
        while time.monotonic() < end:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def _is_ours(path: Path, before: float) -> bool:
    with contextlib.suppress(OSError):
        status = path.stat()
        return status.st_uid == os.getuid() and status.st_mtime < before
    return False


def _used() -> str:
    """Return what the processes of this node have in their memory, as far as we may look."""
    maps = []
    for path in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):  # over, or somebody else's
            maps.append(path.read_text(errors="replace"))
    return "\n".join(maps)
