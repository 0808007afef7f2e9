"""The store: laid out once, filled row by row, extended and merged by key, readable at any moment."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray

from hpcsweep.errors import StoreError
from hpcsweep.store import layout, lease, status, weights
from hpcsweep.store.merging import merge
from hpcsweep.store.opening import first_difference
from hpcsweep.store.reading import opened, read_cells, read_runs
from hpcsweep.store.store import Record
from tests.conftest import TINY, fill, open_store, record_of

WIDER = TINY.replace("width = [4, 8]", "width = [2, 8, 16]")


def contents(path: Path) -> dict[str, tuple[float | None, int]]:
    """The value and the status of every cell by key, after checking that finished rows are whole and right."""
    cells = read_cells(path)
    with opened(path) as file:
        columns = {name: file[name][:] for name in layout.RESULTS}
    stored, values, lines = weights.parameters(path, [cell.key for cell in cells]), {}, {}
    done = cells.columns["key"][columns["status"] == layout.DONE]
    if len(done):
        with weights.opened_weights(path) as file:
            pictures = np.stack([file[name][:] for name in weights.SLICES], axis=1)  # (cells, 3, layout.SLICE)
            lines = dict(zip(file["key"][:].tolist(), pictures, strict=True))
        assert not weights.damaged(path, done) and not weights.missing(path, done)
        assert np.array_equal(weights.pictures(path, done[-1].decode()).slice, lines[done[-1]])
    for row, cell in enumerate(cells):
        state = columns["status"][row]
        value = float(columns["sup_lower"][row])
        values[cell.key] = (None if np.isnan(value) else value, int(state))
        if state == layout.DONE:
            expected = record_of(cell)
            number = expected.values["sup_lower"]
            assert columns["sup_lower"][row] == number
            assert columns["sup_where"][row, : cell.dimension].tolist() == [number] * cell.dimension
            assert np.isnan(columns["sup_where"][row, cell.dimension :]).all()
            assert columns["steps"][row] == int(number * 1000)
            assert columns["history_loss"][row, :3].tolist() == [number] * 3
            assert np.isnan(columns["history_loss"][row, 3:]).all()
            assert columns["message"][row].decode() == f"value {number}"
            assert stored[row].tolist() == [number] * cell.parameters
            assert (lines[cell.key.encode()] == number).all()
        else:
            assert np.isnan(columns["sup_lower"][row]) or state == layout.RUNNING
    return values


def test_a_new_store_is_laid_out_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "new.h5"
    open_store(path, TINY).close()
    with opened(path) as file:
        for name, column in {**layout.COORDINATES, **layout.RESULTS}.items():
            dataset = file[name]
            assert dataset.chunks is None and dataset.maxshape == dataset.shape, f"{name} is not contiguous"
            assert [dataset.dims[i][0].name[1:] for i in range(dataset.ndim)] == list(column.dimensions)
        assert (file["status"][:] == layout.PENDING).all()
        assert np.isnan(file["sup_lower"][:]).all() and (file["points"][:] == -1).all()
        assert set(file["message"][:].tolist()) == {b""}
        assert file.attrs["study"] == TINY


def test_it_is_a_valid_netcdf_file(finished_store: Path) -> None:
    with xarray.open_dataset(finished_store) as dataset:
        assert {"cell", "checkpoint", "axis"} <= set(dataset.sizes)
        assert {"key", "target", "dimension", "width", "optimizer", "learning_rate"} <= set(dataset.coords)
        assert dataset["history_loss"].dims == ("cell", "checkpoint")
        assert dataset["sup_where"].dims == ("cell", "axis")


def test_a_file_that_this_process_has_open_already_can_be_read(finished_store: Path) -> None:
    with xarray.open_dataset(finished_store), opened(finished_store) as file:
        assert len(file["key"]) == 18


def test_damaged_weights_are_a_sentence(finished_store: Path) -> None:
    weights.path_of(finished_store).write_text("hello")
    with pytest.raises(StoreError, match=r"cannot be (read|opened)"):
        weights.pictures(finished_store, read_cells(finished_store).cell(0).key)


def test_rows_in_any_order_and_pieces(tmp_path: Path) -> None:
    with contextlib.closing(open_store(tmp_path / "s.h5", TINY)) as store:
        rows = [7, 2, 3, 15, 0, 8]
        store.put(rows, [record_of(store.cells.cell(row)) for row in rows])
    done = [row for row, (_, state) in enumerate(contents(tmp_path / "s.h5").values()) if state == layout.DONE]
    assert done == sorted(rows)


def test_extension_keeps_finished_cells_and_their_weights(tmp_path: Path) -> None:
    path = fill(tmp_path / "s.h5", TINY, slice(0, 12))
    before = {key: value for key, value in contents(path).items() if value[1] == layout.DONE}
    with contextlib.closing(open_store(path, TINY)) as store:
        assert store.pending().tolist() == list(range(12, 18))
    assert before.items() <= contents(path).items() and len(read_runs(path)) == 2
    with contextlib.closing(open_store(path, WIDER)) as store:
        assert len(store.cells) == store.planned + 8  # width 4 is no longer asked for, but finished
        assert len(store.pending()) == store.planned - 4
    after = contents(path)
    assert before.items() <= after.items()


def test_extension_to_more_axes(tmp_path: Path) -> None:
    path = fill(tmp_path / "s.h5", TINY[: TINY.rindex("[[grid]]")] + TINY[TINY.index("[training]") :])
    before = contents(path)
    after = contents(fill(path, TINY))
    assert len(after) == 18 and before.items() <= after.items()


def test_interrupted_attempts_are_counted_over_launches(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    for attempt in range(3):
        with contextlib.closing(open_store(path, TINY)) as store:
            assert store.attempts.tolist() == [attempt] * 18
            store.start(range(18))


def test_a_launch_that_finished_nothing_tells_how_long_it_took(tmp_path: Path) -> None:
    with contextlib.closing(open_store(tmp_path / "s.h5", TINY)) as store:
        store.put([], [])
        store.start(range(18))
        time.sleep(0.05)
    assert 0.05 <= read_runs(tmp_path / "s.h5")[-1].seconds < 60


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("steps = 40", "steps = 50"), "training.steps is 40 in the store and 50 in the study"),
        (("seed = 7", "seed = 8"), "seed is 7 in the store and 8 in the study"),
        (('title = "tiny"', 'title = "other"'), "title is 'tiny' in the store and 'other' in the study"),
    ],
)
def test_a_store_of_another_study_is_refused_and_left_alone(
    tmp_path: Path, change: tuple[str, str], expected: str
) -> None:
    path = fill(tmp_path / "s.h5", TINY, slice(0, 3))
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another study") as caught:
        open_store(path, TINY.replace(*change))
    assert expected in str(caught.value)
    assert path.read_bytes() == before
    assert lease.holder(path) is None


def test_something_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (path := tmp_path / "s.h5").write_text("hello")
    with pytest.raises(StoreError, match=r"s\.h5 .*not a readable HDF5 file"):
        open_store(path, TINY)
    with h5py.File(path, "w") as file:
        file["x"] = 1
    with pytest.raises(StoreError, match=r"s\.h5 is not a store of hpcsweep"):
        open_store(path, TINY)
    with pytest.raises(StoreError, match=r"none\.h5 .*no such file"):
        status.summary(tmp_path / "none.h5")
    with pytest.raises(StoreError, match="cannot be made"):
        open_store(path / "s.h5", TINY)  # in a file


def test_long_messages_are_cut_at_a_whole_character(tmp_path: Path) -> None:
    with contextlib.closing(open_store(tmp_path / "s.h5", TINY)) as store:
        store.put([0], [Record("failed", {"message": "ä" * 500})])
    [failure] = status.summary(tmp_path / "s.h5")["failures"]
    assert failure["message"] == "ä" * (layout.MESSAGE_BYTES // 2)


def test_a_second_driver_is_refused_and_a_dead_one_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    store = open_store(path, TINY)
    with pytest.raises(StoreError, match=f"being written by process {os.getpid()}"):
        open_store(path, TINY)
    store.close()
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=_take_and_die, args=(path,))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL and lease.lease_path(path).exists()
    open_store(path, TINY).close()


def _take_and_die(path: Path) -> None:
    lease.Lease(path)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_lease_of_another_host_goes_stale(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    lease.lease_path(path).write_text('{"host": "elsewhere", "process": 1, "created": 0, "job": ""}')
    assert lease.holder(path) == "process 1 on elsewhere"
    long_ago = time.time() - lease.STALE - 1
    os.utime(lease.lease_path(path), (long_ago, long_ago))
    assert lease.holder(path) is None


def test_reading_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    with contextlib.closing(open_store(path, TINY)) as store:
        for row in range(6):
            store.put([row], [record_of(store.cells.cell(row))])
            store.settle()
            code = f"import xarray; print(int((xarray.open_dataset({str(path)!r}).status == 2).sum()))"
            seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
            assert int(seen) == row + 1


def test_merge_copies_by_key_and_is_harmless_twice(tmp_path: Path) -> None:
    main = fill(tmp_path / "main.h5", TINY, slice(0, 6))
    shard = fill(tmp_path / "shard.h5", WIDER, slice(3, None))
    ours = contents(main)
    new, finished = merge(main, [shard])
    once = contents(main)
    assert finished == sum(state == layout.DONE for _, state in once.values()) == 6 + new
    assert {k: v for k, v in ours.items() if v[1] == layout.DONE}.items() <= once.items()
    assert {k: v for k, v in contents(shard).items() if v[1] == layout.DONE}.items() <= once.items()
    assert merge(main, [shard, main])[0] == 0
    assert contents(main) == once


def test_merge_into_a_new_file(tmp_path: Path) -> None:
    shard = fill(tmp_path / "shard.h5", TINY)
    merge(tmp_path / "main.h5", [shard])
    assert contents(tmp_path / "main.h5") == contents(shard)


@pytest.mark.parametrize("small_disk", [1], indirect=True)
def test_a_disk_that_fills_up_is_an_error_and_the_old_file_stays(small_disk: Path) -> None:
    path = fill(small_disk / "s.h5", TINY, slice(0, 4))
    before = contents(path)
    with pytest.raises(StoreError, match="MiB free and the store cannot be written"):
        open_store(path, TINY.replace("replicate = 2", "replicate = 400"))
    assert contents(path) == before


def test_first_difference_speaks_of_grids_last() -> None:
    other = TINY.replace("width = [4, 8]", "width = [4]").replace("tile = 256", "tile = 512")
    assert first_difference(TINY, other) == "sup_norm.tile is 256 in the store and 512 in the study"
