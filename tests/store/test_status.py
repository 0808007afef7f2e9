"""Progress of a store: counts, pace, checkpoints, and how long what is left will take."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

from hpcsweep.store import status
from tests.conftest import TINY, fill, open_store, record_of


def test_what_is_left_takes_as_long_as_what_is_finished_took_by_predicted_seconds(tmp_path: Path) -> None:
    """A launch 100 s ago, which has finished two of 18 cells, or 20 of predicted 180 seconds: 800 s are left."""
    with contextlib.closing(open_store(tmp_path / "s.h5", TINY, seconds_ago=100)) as store:
        store.predict(np.full(18, 10.0))
        assert status.summary(store.path)["eta_seconds"] is None
        store.put([3, 4], [record_of(store.cells.cell(row)) for row in (3, 4)])
        assert status.summary(store.path)["eta_seconds"] == pytest.approx(800, rel=0.2)
        store.predict(np.where(np.arange(18) < 5, 10.0, 1.0))  # the other cells are predicted to be short
        assert status.summary(store.path)["eta_seconds"] == pytest.approx(100 * 43 / 20, rel=0.2)


def test_a_summary_counts_by_status_and_tells_of_checkpoints(tmp_path: Path) -> None:
    path = fill(tmp_path / "s.h5", TINY, slice(0, 9))
    before = status.summary(path)
    assert (before["cells"], before["done"], before["pending"], before["running"]) == (18, 9, 9, 0)
    assert before["live"] is None and before["eta_seconds"] is None and before["cells_per_second"] > 0
    assert "9 pending" in "\n".join(status.lines(before))
    with contextlib.closing(open_store(path, TINY)) as store:
        store.start([9, 10])
        live = status.summary(path)
        assert live["running"] == 2 and "process" in live["live"]
    (saved := tmp_path / "s.h5.checkpoints" / "ab").mkdir(parents=True)
    (saved / ".x.new").touch()
    assert status.summary(path)["checkpoints"] == {"packs": 0, "seconds": None}
    (saved / "x").touch()
    assert "1 unfinished pack(s) have checkpoints, the newest " in "\n".join(status.lines(status.summary(path)))
