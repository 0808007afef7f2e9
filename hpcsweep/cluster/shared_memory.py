"""Shared memory that killed ranks leave on a node, and that keeps the next start of the same job from beginning.

MPICH names its shared memory in /dev/shm after job and step, and removes it when the ranks end. If they are killed it
stays; a requeued job has the same number, finds it on the same node and dies in MPI_Init ("Message truncated").
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping
from pathlib import Path

import psutil

SHARED_MEMORY = Path("/dev/shm")
NAMES = "mpich_shm_*"


def abandoned(folder: Path = SHARED_MEMORY, before: float = math.inf) -> list[Path]:
    """Return MPICH's files that are ours, older than `before` (Unix time) and used by no process, as far as we see."""
    old = [path for path in folder.glob(NAMES) if _is_ours(path, before)]
    used = _used() if old else ""
    return [path for path in old if str(path) not in used]


def remove_abandoned(environment: Mapping[str, str] = os.environ, folder: Path = SHARED_MEMORY) -> list[Path]:
    """Remove, in a requeued Slurm job and before MPI begins, what is left of its earlier starts; return what that was.

    Nothing is removed that is younger than this step: its other ranks may be in MPI_Init already.
    """
    if environment.get("SLURM_RESTART_COUNT", "0") == "0":
        return []
    left = abandoned(folder, psutil.Process(os.getppid()).create_time())
    for path in left:
        path.unlink(missing_ok=True)  # the other ranks of this node do the same
    return left


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
