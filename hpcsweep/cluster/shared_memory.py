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
_PATIENCE = 60.0  # seconds that a rank waits for its turn


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
    with _locked(folder) as locked:
        left = abandoned(folder, psutil.Process(os.getppid()).create_time()) if locked else []
        for path in left:
            path.unlink(missing_ok=True)
    return left


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Let the ranks of this node look for abandoned files one after the other; yield whether it is this one's turn.

    Without the lock, a slow rank could remove a file that another rank has just made under the same name in MPI_Init,
    where both would then wait for ever. If somebody holds the lock for too long, this rank removes nothing.
    """
    descriptor, end = os.open(folder, os.O_RDONLY), time.monotonic() + _PATIENCE
    try:
        locked = _lock(descriptor)
        while not locked and time.monotonic() < end:
            time.sleep(0.05)
            locked = _lock(descriptor)
        yield locked
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


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
