"""How commands end: with 0 only if all that they were to do is done, and on the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import hpcsweep
from hpcsweep.cluster import scheduling
from hpcsweep.cluster.checkpoints import CheckpointDir
from hpcsweep.cluster.sweep import Sweep
from hpcsweep.errors import StoreError
from hpcsweep.store import layout, lease, status, store
from hpcsweep.store.reading import opened
from tests.conftest import TINY, fill


def after_the_packs(patch: pytest.MonkeyPatch, event: Callable[[Path], None]) -> None:
    """Let something happen when the packs of a run are over, and finished rows are not marked yet."""
    run = Sweep.run

    def running(sweep: Sweep, packs: list[object]) -> None:
        run(sweep, packs)  # type: ignore[arg-type]
        event(sweep.store.path)

    patch.setattr(store, "SETTLED", 1000.0)
    patch.setattr(Sweep, "run", running)


def test_a_run_whose_lease_is_taken_before_its_rows_are_marked_is_no_success(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(path: Path) -> None:
        lease.lease_path(path).write_text('{"host": "elsewhere", "process": 1}')

    after_the_packs(monkeypatch, taken)
    with pytest.raises(StoreError, match="taken over"):
        hpcsweep.run(tiny, tmp_path / "s.h5")
    with opened(tmp_path / "s.h5") as file:
        assert (file["status"][:] == layout.RUNNING).any(), "every row was marked before the lease was taken"


def test_a_mistake_of_ours_is_not_told_as_one_of_the_disk(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path) -> None:
        raise RuntimeError("the culprit")

    after_the_packs(monkeypatch, fails)
    with pytest.raises(RuntimeError, match="the culprit"):
        hpcsweep.run(tiny, tmp_path / "s.h5")


def test_a_store_that_knows_no_launch_is_read(tmp_path: Path) -> None:
    path = fill(tmp_path / "s.h5", TINY, slice(0, 4))
    with h5py.File(path, "r+") as file:
        file["run_started"][:] = np.nan
    assert scheduling.saved_since_launch(path, CheckpointDir.beside(path)) == set()
    assert "last launch unknown" in "\n".join(status.lines(status.summary(path)))
