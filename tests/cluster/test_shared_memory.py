"""What killed ranks leave: removed where it is ours, old and in nobody's memory, in a job that starts again."""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
import time
from pathlib import Path

import pytest

from hpcsweep.cluster import shared_memory
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


def test_a_rank_that_is_slow_to_look_does_not_remove_what_another_has_made_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other is in MPI_Init by then, with a file of the same name, and both would wait there for ever."""
    path, waits, look = tmp_path / "mpich_shm_1_0", [1.0], shared_memory._used
    path.touch()
    os.utime(path, (0, 0))
    looking = threading.Event()

    def slowly() -> str:
        looking.set()
        time.sleep(waits.pop() if waits else 0.0)
        return look()

    monkeypatch.setattr(shared_memory, "_used", slowly)
    slow = threading.Thread(target=remove_abandoned, args=(AGAIN, tmp_path))
    slow.start()
    assert looking.wait(10)
    remove_abandoned(AGAIN, tmp_path)
    path.write_text("new")
    slow.join()
    assert path.read_text() == "new"


def test_a_rank_whose_turn_does_not_come_removes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mpich_shm_1_0"
    path.touch()
    os.utime(path, (0, 0))
    monkeypatch.setattr(shared_memory, "_PATIENCE", 0.1)
    holder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    assert remove_abandoned(AGAIN, tmp_path) == [] and path.exists()
    os.close(holder)
    assert remove_abandoned(AGAIN, tmp_path) == [path]
