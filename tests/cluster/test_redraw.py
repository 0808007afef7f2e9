"""Slices of stored networks follow the worst point when a later measurement moves it."""

from __future__ import annotations

import errno
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpcsweep.cluster import redraw, remeasure
from hpcsweep.errors import StoreError
from hpcsweep.findings import dataset
from hpcsweep.store import row_writer, weights
from tests.cluster.test_remeasure import MORE, columns
from tests.conftest import Run


def test_slices_follow_the_worst_point(hpcsweep: Run, store: Path) -> None:
    before, keys = columns(store)["sup_where"], dataset.read(store)["key"].values
    old = [weights.pictures(store, key) for key in keys]
    assert hpcsweep("measure", store, *MORE).returncode == 0
    after = columns(store)["sup_where"]
    moved = [row for row in (2, 3) if not np.array_equal(before[row], after[row])]
    assert moved  # in two dimensions, where a slice is through one point only
    for row in moved:
        kept = weights.pictures(store, keys[row])
        assert kept.slice is not None and kept.zoom is not None and kept.raster is not None
        for line in (kept.slice, kept.zoom):
            expected = np.exp(-(np.cos(line[0]) + np.cos(after[row, 1])) / 16)
            assert line[1] == pytest.approx(expected, rel=1e-14)
        assert kept.zoom[0, 0] <= after[row, 0] <= kept.zoom[0, -1]
        assert not np.array_equal(kept.slice, old[row].slice)
        assert kept.raster.tobytes() == old[row].raster.tobytes()
    content = weights.path_of(store).read_bytes()
    assert hpcsweep("measure", store, "--points", 256, "--certificate", "off", "--uniform", 0).returncode == 0
    assert weights.path_of(store).read_bytes() == content  # nothing has moved


def test_a_slice_that_is_half_drawn_is_not_shown(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ((rows, networks), *_) = [group for group in remeasure._groups(store, []) if group[1][0].dimension == 2]
    keys = [str(dataset.read(store)["key"].values[row]) for row in rows]
    values = {row: {"sup_where": (0.25, -0.5)} for row in rows}
    moved = redraw.moved(store, values)
    assert moved == dict.fromkeys(rows, 3)
    whole = row_writer.Datasets.put

    def full(self: row_writer.Datasets, name: str, row: int, given: np.ndarray) -> None:
        if name == "slice_model":
            raise OSError(errno.ENOSPC, "full")
        whole(self, name, row, given)

    monkeypatch.setattr(row_writer.Datasets, "put", full)
    with pytest.raises(StoreError, match="free space"):
        redraw.draw(store, dict(zip(rows, networks, strict=True)), values, moved, store.parent)
    assert [weights.pictures(store, key) for key in keys] == [weights.Pictures()] * 2
    monkeypatch.undo()
    redraw.draw(store, dict(zip(rows, networks, strict=True)), values, moved, store.parent)
    for key in keys:
        kept = weights.pictures(store, key)
        assert kept.slice is not None and kept.zoom is not None and kept.raster is not None
        assert kept.slice[1] == pytest.approx(np.exp(-(np.cos(kept.slice[0]) + np.cos(0.5)) / 16), rel=1e-14)


def test_weights_of_other_cells_are_left_alone(store: Path) -> None:
    assert weights.pictured(store).tolist() == [2, 2, 3, 3]
    with h5py.File(weights.path_of(store), "r+", locking=False) as file:
        file["key"][0] = b"x" * 32
    assert weights.pictured(store).tolist() == [0] * 4
    weights.path_of(store).unlink()
    assert redraw.moved(store, {0: {"sup_where": (0.5,)}}) == {}
