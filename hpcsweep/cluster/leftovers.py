"""What ranks that were killed leave on a node, and what keeps the next start of the same job from beginning.

MPICH names its shared memory in /dev/shm after job and step, and removes it when the ranks end. If they are killed it
stays; a requeued job has the same number, finds it on the same node and dies in MPI_Init ("Message truncated").
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import psutil

SHARED_MEMORY = Path("/dev/shm")
NAMES = "mpich_shm_*"


def sweep(environment: Mapping[str, str] = os.environ, folder: Path = SHARED_MEMORY) -> list[Path]:
    """Remove, in a requeued Slurm job and before MPI begins, what is left of its earlier starts; return what that was.

    That is what is ours, is older than this step and is used by no process.
    """
    if environment.get("SLURM_RESTART_COUNT", "0") == "0":
        return []
    begun = psutil.Process(os.getppid()).create_time()  # of the step: its other ranks may be in MPI_Init already
    old = [path for path in folder.glob(NAMES) if _is_ours(path, begun)]
    used = _used() if old else ""
    left = [path for path in old if str(path) not in used]
    for path in left:
        path.unlink(missing_ok=True)  # the other ranks of this node do the same
    return left


def _is_ours(path: Path, before: float) -> bool:
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_uid == os.getuid() and found.st_mtime < before
    return False


def _used() -> str:
    """Return what the processes of this node have in their memory, as far as we may look."""
    maps = []
    for path in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):  # over, or somebody else's
            maps.append(path.read_text(errors="replace"))
    return "\n".join(maps)
