"""What killed ranks leave: removed where it is ours, old and in nobody's memory, in a job that starts again."""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

from hpcsweep.cluster.shared_memory import remove_abandoned

AGAIN = {"SLURM_RESTART_COUNT": "1"}


def test_only_what_is_old_and_unused_is_removed_and_only_after_a_restart(tmp_path: Path) -> None:
    old, used, young, other = (tmp_path / name for name in ("mpich_shm_1_0", "mpich_shm_2_0", "mpich_shm_3_0", "mine"))
    for path in (old, used, young, other):
        path.write_bytes(b"x" * mmap.PAGESIZE)
    for path in (old, used, other):
        os.utime(path, (0, 0))
    os.utime(young, (time.time() + 60,) * 2)
    with used.open("r+b") as file, mmap.mmap(file.fileno(), 0):
        for environment in ({}, {"SLURM_RESTART_COUNT": "0"}):
            assert remove_abandoned(environment, tmp_path) == []
        assert old.exists()
        assert remove_abandoned(AGAIN, tmp_path) == [old]
        assert {path.name for path in tmp_path.iterdir()} == {used.name, young.name, other.name}
    assert remove_abandoned(AGAIN, tmp_path) == [used]
    assert remove_abandoned(AGAIN, tmp_path / "nowhere") == []
