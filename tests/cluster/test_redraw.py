"""Slices of stored networks follow the worst point when a later measurement moves it."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpcsweep.cluster import redraw, remeasure
from hpcsweep.errors import StoreError
from hpcsweep.findings import dataset
from hpcsweep.store import remeasured, row_writer, weights
from hpcsweep.store.keyed_rows import KeyedRows
from hpcsweep.store.lease import Lease
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
    ((keys, networks), *_) = [group for group in remeasure._groups(store, []) if group[1][0].dimension == 2]
    values = {key: {"sup_where": (0.25, -0.5)} for key in keys}
    with Lease(store) as lease, contextlib.closing(KeyedRows(store)) as rows:
        drawing = redraw.Redrawing(store, rows)
        moved = drawing.moved(values)
        assert moved == dict.fromkeys(keys, 3)
        remeasured.write(store, values, lease, rows)
        assert drawing.moved(values) == {}
        whole = row_writer.Datasets.put

        def full(self: row_writer.Datasets, name: str, row: int, given: np.ndarray) -> None:
            if name == "slice_model":
                raise OSError(errno.ENOSPC, "full")
            whole(self, name, row, given)

        monkeypatch.setattr(row_writer.Datasets, "put", full)
        with pytest.raises(StoreError, match="free space"):
            drawing.draw(dict(zip(keys, networks, strict=True)), moved, store.parent)
        assert [weights.pictures(store, key) for key in keys] == [weights.Pictures()] * 2
        monkeypatch.undo()
        drawing.draw(dict(zip(keys, networks, strict=True)), moved, store.parent)
        drawing.close()
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
    key = str(dataset.read(store)["key"].values[0])
    with contextlib.closing(KeyedRows(store)) as rows:
        assert redraw.Redrawing(store, rows).moved({key: {"sup_where": (0.5,)}}) == {}
