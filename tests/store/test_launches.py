"""What a launch writes and reads of a store that is there: little, and what a repair cannot know is set aside."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import hpcsweep
from hpcsweep.cluster import replay
from hpcsweep.errors import StoreError
from hpcsweep.findings import dataset
from hpcsweep.store import layout, lease, reading, status, verifying, weights
from hpcsweep.store.reading import opened, read_cells
from hpcsweep.store.row_writer import Datasets
from hpcsweep.store.shards import Shard
from tests.conftest import TINY, fill, open_store

WIDE = TINY.replace("replicate = 2", "replicate = 60")


def written_so_far() -> int:
    """Bytes that this process has written by system calls."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])


def test_a_launch_that_changes_no_layout_writes_one_row(tmp_path: Path) -> None:
    """In the same files, as many bytes in a large store as in a small one."""
    costs = {}
    for text in (TINY, WIDE):
        path = fill(tmp_path / "s.h5", text, slice(0, 12))
        with contextlib.closing(open_store(path, text)) as store:
            predicted = np.where(store.status == layout.PENDING, 2.0, np.nan)
            store.predict(predicted)
            store.start([12, 13])
        os.sync()
        before = path.stat().st_ino, weights.path_of(path).stat().st_ino
        written = written_so_far()
        with contextlib.closing(open_store(path, text)) as store:
            assert store.kills.sum() == 2 and not (store.status == layout.RUNNING).any()
            store.predict(predicted)
        costs[text] = written_so_far() - written
        assert (path.stat().st_ino, weights.path_of(path).stat().st_ino) == before
        path.unlink()
        weights.path_of(path).unlink()
    assert 0 < costs[WIDE] < costs[TINY] + 100 < 6000


def test_the_more_launches_there_were_the_more_rows_are_spare(tmp_path: Path) -> None:
    path, files = fill(tmp_path / "s.h5", TINY), set()
    for _ in range(70):
        open_store(path, TINY).close()
        files.add(path.stat().st_ino)
        with opened(path) as file:
            files.add((len(file["run_started"]), "rows"))
    assert {rows for rows in files if isinstance(rows, tuple)} == {(17, "rows"), (36, "rows"), (74, "rows")}


def test_a_start_looks_at_the_lease_once_and_before_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    check = lease.Lease.check
    monkeypatch.setattr(lease.Lease, "check", lambda held, new=False: (looks.append(held), check(held, new)))
    with contextlib.closing(open_store(tmp_path / "s.h5", TINY)) as store:
        looks.clear()
        store.start([7, 3])
        assert len(looks) == 1 and np.flatnonzero(store.status == layout.RUNNING).tolist() == [3, 7]
        before = store.path.read_bytes(), weights.path_of(store.path).read_bytes()
        with monkeypatch.context() as patch, pytest.raises(StoreError, match="lost"):
            patch.setattr(lease.Lease, "check", _lost)
            store.start([4])
        assert (store.path.read_bytes(), weights.path_of(store.path).read_bytes()) == before
        assert store.attempts[4] == 0 and store.status[4] == layout.PENDING


def _lost(_: lease.Lease) -> None:
    raise StoreError("lost")


@pytest.mark.parametrize("look", [verifying.look, status.summary, status.everything])
def test_a_look_opens_a_store_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: Callable[[Path], object]
) -> None:
    path, count = fill(tmp_path / "s.h5", TINY, slice(0, 5)), []
    shard = Shard(2, 1).path(path)
    if look is status.everything:
        shutil.copy(path, shard)
    whole = reading.open_file
    monkeypatch.setattr(reading, "open_file", lambda path: (count.append(path), whole(path))[1])
    look(path)
    assert count == ([path, shard] if look is status.everything else [path])


def test_a_repair_sets_aside_what_it_cannot_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Coordinates are damaged: those of cells of the study are known from it, those of others are not."""
    path = fill(tmp_path / "s.h5", TINY)
    narrow = TINY.replace("width = [4, 8]", "width = [4]")
    with h5py.File(path, "r+") as file:
        file["width"][3] += 1
    outside = {cell.key for cell in read_cells(path) if cell.model["hidden"] == [8]}
    damaged = path.read_bytes()
    with contextlib.closing(open_store(path, narrow, repair=True)) as store:
        assert not len(store.pending()) and len(store.cells) == 18 - len(outside)
    assert f"{len(outside)} finished cell(s) are left out" in capsys.readouterr().err
    assert not verifying.verify(path) and not outside & set(dataset.read(path)["key"].values)
    aside = tmp_path / "s.h5.damaged"
    assert aside.read_bytes() == damaged and weights.path_of(aside).exists()
    with contextlib.closing(open_store(aside, TINY, repair=True)) as store:
        assert not len(store.pending()) and len(store.cells) == 18
    assert not verifying.verify(aside) and outside <= set(dataset.read(aside)["key"].values)


def test_a_damaged_row_outside_the_study_is_set_aside_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = fill(tmp_path / "s.h5", TINY)
    narrow = TINY.replace("width = [4, 8]", "width = [4]")
    [row, *others] = [row for row, cell in enumerate(read_cells(path)) if cell.model["hidden"] == [8]]
    with h5py.File(path, "r+") as file:
        file["l2_error"][row] += 1
        key = file["key"][row].decode()
    with contextlib.closing(open_store(path, narrow, repair=True)) as store:
        assert not len(store.pending()) and len(store.cells) == 17 and others
    told = capsys.readouterr().err
    assert "1 finished cell(s) are left out" in told and key in told
    with h5py.File(path, "r+") as file:
        file["l2_error"][0] += 1
    with contextlib.closing(open_store(path, narrow, repair=True)) as store:
        assert len(store.pending()) == 1, "a cell of the study is trained again, and nothing is set aside"


def test_damaged_pictures_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = fill(tmp_path / "s.h5", TINY)
    with h5py.File(weights.path_of(path), "r+") as file:
        file["slice_model"][4, 9] += 1
        keys = [key.decode() for key in file["key"][3:5]]
    assert weights.pictures(path, keys[0]).slice is not None and not capsys.readouterr().err
    assert weights.pictures(path, keys[1]) == weights.Pictures()
    assert f"the pictures of {keys[1]} in {weights.path_of(path)} are damaged" in capsys.readouterr().err


@pytest.mark.parametrize("read", ["rows", "pictures"])
def test_what_is_just_written_is_read_again_also_when_its_writer_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = fill(tmp_path / "s.h5", TINY)
    file_of = {"rows": path, "pictures": weights.path_of(path)}[read]
    before = file_of.read_bytes()
    with h5py.File(file_of, "r+") as file:
        file["l2_error" if read == "rows" else "slice_model"][4] += 1
        key = file["key"][4].decode()
    holders = ["a writer", None, None, None] if read == "pictures" else [None] * 4

    def gone(_: Path) -> str | None:
        file_of.write_bytes(before)  # its writer completes the row, and ends
        return holders.pop(0)

    monkeypatch.setattr(lease, "holder", gone)
    if read == "rows":
        assert dataset.read(path).sizes["cell"] == 18
    else:
        assert weights.pictures(path, key).slice is not None
    assert not capsys.readouterr().err


@pytest.mark.parametrize("column", ["l2_error", "history_loss"])
@pytest.mark.parametrize("writer", [False, True])
def test_what_is_returned_is_what_was_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str, writer: bool
) -> None:
    """A measurement begins to change a row between the first look at a store and the reading of its columns."""
    path = fill(tmp_path / "s.h5", TINY)
    before, opening, looks = dataset.read(path), dataset._open, []

    with contextlib.closing(Datasets(path, (column,))) as data:
        old = data.row(column, 4)

    def put(row: np.ndarray) -> None:
        with contextlib.closing(Datasets(path, (column,))) as data:
            data.put(column, 4, row)

    def holder(_: Path) -> str | None:
        looks.append(path)
        if len(looks) == 2 and writer:  # it has come to its end
            put(old)
        return "a writer" if writer else None

    monkeypatch.setattr(lease, "holder", holder)
    monkeypatch.setattr(dataset, "_open", lambda path: (put(old + 1), opening(path))[1])
    if writer:
        assert dataset.read(path).identical(before)
    else:
        with pytest.raises(StoreError, match=r"is damaged.*values are not those"):
            dataset.read(path)


def test_a_cell_that_may_be_another_one_is_not_used(tmp_path: Path) -> None:
    path = fill(tmp_path / "s.h5", TINY)
    with h5py.File(path, "r+") as file:
        key = file["key"][0].decode()
        file["replicate"][0] += 1
    for use in (hpcsweep.network, replay.replay):
        with pytest.raises(StoreError, match="damaged outside the results of its cells"):
            use(path, key)
