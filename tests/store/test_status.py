"""Progress of a store: counts, pace, checkpoints, and how long what is left will take."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from hpcsweep.cluster.progress import Display
from hpcsweep.cluster.sweep import Sweep
from hpcsweep.store import listing, status
from tests.conftest import TINY, fill, open_store, record_of


def test_what_is_left_takes_as_long_as_what_is_finished_took_by_predicted_seconds(tmp_path: Path) -> None:
    """A launch 100 s ago, which has finished two of 18 cells, or 20 of predicted 180 seconds: 800 s are left."""
    with contextlib.closing(open_store(tmp_path / "s.h5", TINY, seconds_ago=100)) as store:
        store.predict(np.full(18, 10.0))
        assert status.summary(store.path)["eta_seconds"] == pytest.approx(180)  # as predicted
        store.put([3, 4], [record_of(store.cells.cell(row)) for row in (3, 4)])
        assert status.summary(store.path)["eta_seconds"] == pytest.approx(800, rel=0.2)
        store.predict(np.where(np.arange(18) < 5, 10.0, 1.0))  # the other cells are predicted to be short
        assert status.summary(store.path)["eta_seconds"] == pytest.approx(100 * 43 / 20, rel=0.2)


def test_status_and_the_bar_of_run_say_the_same(tmp_path: Path) -> None:
    """Before anything is finished, after it, and while cells are running, of which half is taken for done."""
    shown: list[float | None] = []

    class Shown(Display):
        def show(self, finished: int, total: int, eta: float | None, note: str) -> None:
            shown.append(eta)

    with contextlib.closing(open_store(tmp_path / "s.h5", TINY, seconds_ago=1000)) as store:
        sweep = Sweep(None, store, SimpleNamespace(stop=SimpleNamespace(asked=bool)), Shown(), None)
        store.predict(np.arange(1.0, 19.0))
        for step in (lambda: None, lambda: store.start([0, 1, 2]), lambda: None, lambda: store.start([8, 9])):
            step()
            sweep.show()
            assert shown[-1] == pytest.approx(status.summary(store.path)["eta_seconds"], rel=1e-2)
            if len(shown) == 2:
                store.put([0, 2], [record_of(store.cells.cell(row)) for row in (0, 2)])
    assert shown[:2] == [171, 171] and shown[2] == pytest.approx(1000 * (167 - 1) / (4 + 1), rel=1e-2)
    assert shown[3] == pytest.approx(1000 * (167 - 10.5) / (4 + 10.5), rel=1e-2)


def test_keys_are_listed_as_long_as_needed(tmp_path: Path) -> None:
    path = fill(tmp_path / "s.h5", TINY, slice(0, 9))
    heading, *lines = listing.lines(path)
    with h5py.File(path) as file:
        keys = file["key"][:].astype(str).tolist()
    assert heading.split()[:4] == ["key", "status", "sup_lower", "sup_upper"] and len(lines) == 18
    assert [line.split()[0] for line in lines] == [key[:8] for key in keys]
    assert lines[0].split()[1:4:2] == ["done", "inf"] and lines[-1].split()[1] == "pending"
    assert f"keys: {keys[0][:8]}, {keys[1][:8]}" in "\n".join(status.lines(status.summary(path)))
    fill(path.with_name("s.1-of-2.h5"), TINY, slice(6, 12))  # three cells of which are not finished in the main file
    lines = list(listing.lines(path))[1:]
    assert sorted(line.split()[0] for line in lines) == sorted(key[:8] for key in keys)
    assert sum(line.split()[1] == "done" for line in lines) == 12
    alike = np.array([b"0123456789ab", b"0123456789cd", b"0123456789ab"])
    assert listing.prefix_length(alike) == 11


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
