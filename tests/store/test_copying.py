"""What is copied in large pieces, and proved by checksums, against what one row after the other says."""

from __future__ import annotations

import contextlib
import itertools
import random
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpcsweep.config import Cell
from hpcsweep.errors import StoreError
from hpcsweep.store import copying, integrity, layout, rewriting, verifying, weights
from hpcsweep.store.merging import merge
from hpcsweep.store.proving import Merged
from hpcsweep.store.reading import opened, read_cells
from hpcsweep.store.store import Record
from tests.conftest import TINY, open_store
from tests.store.conftest import Rows, rows_of

MANY = TINY.replace("replicate = 2", "replicate = 5")
PARTS = 5


@pytest.fixture(params=[(2**25, 2**16, 64), (5000, 700, 2), (96, 40, 2)], ids=["large", "medium", "small"])
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces as they are, and so small that every edge of them occurs."""
    for name, value in zip(("PIECE", "GAP", "AT_ONCE"), request.param, strict=True):
        monkeypatch.setattr(copying, name, value)


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize("seed", range(8))
def test_rows_and_segments_are_copied(tmp_path: Path, seed: int) -> None:
    chance = np.random.default_rng(seed)
    with h5py.File(tmp_path / "file.h5", "w") as file:
        sources = [file.create_dataset(f"old{k}", data=chance.random((40, 3))) for k in range(PARTS)]
        new = file.create_dataset("new", data=chance.random((60, 4)))
        owners = chance.integers(-1, PARTS, 60)
        expected, parts = new[:], []
        for number, old in enumerate(sources):
            target = np.flatnonzero(owners == number)
            origin = chance.permutation(40)[: len(target)]
            parts.append((old, origin, target))
            for row, to in zip(origin.tolist(), target.tolist(), strict=True):
                expected[to, :3] = old[row]
            assert np.array_equal(copying.gathered(old, origin), old[:][origin])
        copying.copy(new, parts)
        assert new[:].tobytes() == expected.tobytes()

        lengths = chance.integers(0, 9, 30)
        starts = np.cumsum(lengths) - lengths
        flat, there = file.create_dataset("flat", data=np.zeros(lengths.sum())), chance.random(lengths.sum())
        origin = file.create_dataset("origin", data=there)
        order, chosen = chance.permutation(30), np.flatnonzero(chance.random(30) < 0.7)
        begins = np.empty(30, np.int64)
        begins[order] = np.cumsum(lengths[order]) - lengths[order]
        result = flat[:]
        for segment in chosen.tolist():
            for entry in range(int(lengths[segment])):
                result[starts[segment] + entry] = there[begins[segment] + entry]
        copying.copy_segments(flat, [(origin, begins[chosen], starts[chosen], lengths[chosen])])
        assert flat[:].tobytes() == result.tobytes()


def test_what_lies_far_between_stays_a_hole(tmp_path: Path) -> None:
    path = tmp_path / "file.h5"
    with h5py.File(path, "w") as file:
        old = file.create_dataset("old", data=np.ones((2, 512)))
        column = layout.Column("f8", "", ("row", "entry"))
        for name, size in (("row", 10**4), ("entry", 512)):
            layout.make_dimension(file, name, size)
        copying.copy(layout.make(file, "new", column, (10**4, 512)), [(old, np.arange(2), np.array([0, 9999]))])
        assert file["new"][0, 0] == file["new"][9999, 0] == 1 and not file["new"][5000].any()
    assert path.stat().st_size > 4e7 and path.stat().st_blocks * 512 < 4e6


def scattered(path: Path, seed: int) -> Path:
    """A store in which some cells are done, failed or running, with values that no other store has."""
    chance = random.Random(seed)
    with contextlib.closing(open_store(path, MANY)) as store:
        rows = chance.sample(range(len(store.cells)), chance.randrange(10, len(store.cells)))
        store.start(rows)
        store.start(rows[::2])
        finished = [row for row in rows if chance.random() < 0.8]
        store.put(finished, [_record(store.cells.cell(row), chance) for row in finished])
    return path


def _record(cell: Cell, chance: random.Random) -> Record:
    status, value = chance.choice(["done", "done", "done", "failed", "diverged"]), chance.random()
    values = {"sup_lower": value, "sup_where": [value] * cell.dimension, "message": f"{value}"}
    if status != "done":
        return Record(status, values)
    line = np.full((3, layout.SLICE), value) if chance.random() < 0.7 else None
    zoom = np.arange(3.0 * layout.ZOOM).reshape(3, -1) * value if line is not None else None
    raster = np.full((layout.RASTER, layout.RASTER), value) if cell.dimension == 2 else None
    return Record(status, values, np.full(cell.parameters, value), line, zoom, raster)


def naive_merge(files: list[Path]) -> Rows:
    """What merging is to give, cell by cell: the first that is finished, a failed one only if no other is."""
    merged: Rows = {}
    for path in files:
        for key, row in rows_of(path).items():
            known = merged.setdefault(key, row)
            counters = {name: max(known[name], row[name]) for name in layout.COUNTERS}
            rank = {layout.PENDING: 0, layout.RUNNING: 0, layout.FAILED: 1}
            better = rank.get(row["status"], 2) > rank.get(known["status"], 2)
            merged[key] = {**(row if better else known), **counters}
    return merged


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize("sizes", [(2**25, 2**16, 64), (5000, 700, 2)], ids=["large", "medium"], indirect=True)
@pytest.mark.parametrize("seed", range(2))
def test_a_merge_is_that_of_dictionaries(tmp_path: Path, seed: int) -> None:
    parts = [scattered(tmp_path / f"{number}.h5", 10 * seed + number) for number in range(PARTS)]
    expected, main = naive_merge(parts), tmp_path / "main.h5"
    merge(main, parts)
    merged = rows_of(main)
    assert list(merged) == list(expected)
    for key, row in expected.items():
        for name, value in row.items():
            unfinished = row["status"] not in layout.FINISHED
            if unfinished and name not in ("status", *layout.COUNTERS):
                continue
            assert merged[key][name] == (layout.PENDING if unfinished and name == "status" else value), (key, name)
    damage = verifying.verify(main)
    assert not (damage.rows or damage.weights or damage.elsewhere or damage.launches)
    before = main.read_bytes()
    merge(main, parts)
    assert len(before) == main.stat().st_size and rows_of(main) == merged


def naive_lacks(main: Path, part: Path) -> set[str]:
    """The finished cells of a store that another one has not with the same bits, cell by cell."""
    ours, theirs, lost = rows_of(main), rows_of(part), set()
    bad = verifying.verify(main)
    for key, row in theirs.items():
        if row["status"] not in layout.FINISHED:
            continue
        here = ours.get(key)
        if here is None or here["status"] not in layout.FINISHED or key in bad.rows:
            lost.add(key)
            continue
        alike = all(here[name] == row[name] for name in row if name not in layout.COUNTERS and name in here)
        if not (alike and key not in bad.weights) and row["status"] != layout.FAILED:
            lost.add(key)
    return lost


def change(path: Path, chance: random.Random) -> None:
    """Change a value of a finished row, its checksums made right again or not."""
    with h5py.File(path, "r+") as file:
        rows = np.flatnonzero(np.isin(file["status"][:], layout.FINISHED))
        row, name = int(chance.choice(rows)), chance.choice(["sup_lower", "sup_where", "history_loss", "message"])
        if name == "message":
            file[name][row] = b"another"
        else:
            values = file[name][row]
            file[name][row] = np.where(np.isnan(values), 1.0, values + 1.0)
        if chance.random() < 0.5:
            file["checksum"][row] = integrity.sums(file, {})[row]


def change_weights(path: Path, chance: random.Random) -> None:
    with h5py.File(weights.path_of(path), "r+") as file:
        rows = np.flatnonzero(file["kept"][:])
        row, kept = int(chance.choice(rows)), "parameters"
        if file["kept"][row] >= 2 and chance.random() < 0.5:
            kept = "slice_model"
            file[kept][row, 5] += 1.0
        else:
            file[kept][file["offset"][row]] += 1.0
        if chance.random() < 0.5:
            file["checksum"][row] = weights.parameter_sums(file, np.array([row]))[0]
            file["picture_checksum"][row] = weights.picture_sums(file, np.array([row]))[0]


@pytest.mark.parametrize("seed", range(3))
def test_what_is_proved_is_what_every_bit_says(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    main = tmp_path / "main.h5"
    parts = [scattered(tmp_path / f"{number}.h5", 10 * seed + number) for number in range(2)]
    merge(main, parts)
    for _ in range(6):
        for part in parts:
            assert set(Merged(main).lacks(part)) == naive_lacks(main, part)
        chance.choice([change, change_weights])(main, chance)
    assert naive_lacks(main, parts[0]) | naive_lacks(main, parts[1])


@pytest.mark.parametrize("name", ["sup_where", "l2_error", "status", "history_step"])
def test_a_row_that_was_measured_again_is_not_proved(tmp_path: Path, name: str) -> None:
    """Its checksum is right, and one value is another."""
    main, part = tmp_path / "main.h5", scattered(tmp_path / "part.h5", 3)
    merge(main, [part])
    with h5py.File(main, "r+") as file:
        row = np.flatnonzero(file["status"][:] == layout.DONE)[0]
        file[name][row] = layout.DIVERGED if name == "status" else 0.125 if name != "history_step" else 7
        file["checksum"][row] = integrity.sums(file, {})[row]
        key = file["key"][row].decode()
    assert not verifying.look(main).rows and Merged(main).lacks(part) == [key]


def test_a_row_that_changes_while_it_is_copied_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a point too, whose axes may be fewer in the old file."""
    part = scattered(tmp_path / "part.h5", 3)
    whole = rewriting.assign
    for name, rows in itertools.product(("sup_where", "l2_error", "message", "status"), (1, 2)):

        def changed(*given: object, name: str = name, rows: int = rows) -> list[rewriting.Take]:
            takes = whole(*given)  # type: ignore[arg-type]
            with h5py.File(part, "r+") as file:
                row = np.flatnonzero(file["status"][:] == layout.DONE)[rows]
                file[name][row] = layout.DIVERGED if name == "status" else b"x" if name == "message" else 0.125
            return takes

        monkeypatch.setattr(rewriting, "assign", changed)
        before = part.read_bytes()
        with pytest.raises(StoreError, match="was changed while it was copied"):
            merge(tmp_path / "main.h5", [part])
        part.write_bytes(before)
        monkeypatch.undo()
    merge(tmp_path / "main.h5", [part])
    with opened(tmp_path / "main.h5") as file:
        assert len(file["key"]) == len(read_cells(part))
