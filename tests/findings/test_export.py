"""Tables written part by part, against the whole dataset in memory at once."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas
import pytest

from hpcsweep.config import Cell
from hpcsweep.findings import dataset, export, grids
from hpcsweep.store import layout, shards
from hpcsweep.store.shards import Shard
from hpcsweep.store.store import Record
from tests.findings.stores import Maker, record

FEW = """
title = "few"
[[grid]]
target = ["wave", "bumps"]
dimension = 1
width = [4, 8]
samples = [10]
replicate = 5
"""
MORE = (
    FEW
    + """
[[grid]]
target = ["wave"]
dimension = 3
width = [4]
samples = [10]
activation = ["relu"]
replicate = 3
"""
)
TEXTS = ("=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'quoted", "''", "plain = +1", "", "a,b", 'a"b', "a\nb", " =1")


def odd(cell: Cell) -> Record:
    """A record with a message that a spreadsheet may take for something else, and numbers of both signs."""
    number = int(cell.key[:4], 16)
    whole = record(cell)
    changes = {"message": TEXTS[number % len(TEXTS)], "sup_where": [-0.3] * cell.dimension}
    return dataclasses.replace(whole, values={**whole.values, **changes})


def some(cell: Cell) -> Record | None:
    return odd(cell) if int(cell.key[-1], 16) % 3 else None


def failing(cell: Cell) -> Record | None:
    return Record("failed", {"message": "=cmd"}) if int(cell.key[-1], 16) % 2 else None


@pytest.fixture
def stores(make_store: Maker, tmp_path: Path) -> list[Path]:
    """A store and two shards, which share cells and have different columns and numbers of axes."""
    make_store(FEW, failing, "r.h5")
    make_store(MORE, some, Shard(2, 1).path(Path("r.h5")).name)
    make_store(FEW, odd, Shard(2, 2).path(Path("r.h5")).name)
    return dataset.files(tmp_path / "r.h5")


def naive(files: list[Path]) -> str:
    """The table of all cells at once, its texts escaped one by one."""
    table = grids.frame(dataset.read(files)).astype(object)
    rows = [[text(value, name) for name, value in zip(table, row, strict=True)] for row in table.to_numpy().tolist()]
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([list(table), *rows])
    return written.getvalue()


def text(value: Any, name: str) -> object:
    if name in ("certificate", "boundary"):
        return "" if value != value else (layout.CERTIFICATES if name == "certificate" else ["no", "yes"])[int(value)]
    if name in ("boxes", "pieces", "averaged", "points", "nonfinite", "steps", "threads") and value == value:
        return int(value)
    if isinstance(value, str):
        return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r", "'") and value else value
    return "" if value != value else value


@pytest.mark.parametrize("block", [1, 4, 2**14])
@pytest.mark.parametrize("count", [1, 3])
def test_a_table_in_parts_is_that_of_the_whole(
    stores: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, count: int
) -> None:
    assert len(stores) == 3
    monkeypatch.setattr(export, "BLOCK", block)
    files, path = stores[3 - count :], tmp_path / "table.csv"
    whole = dataset.read(files)
    assert export.export(files, path) == whole.sizes["cell"]
    assert path.read_bytes().decode() == naive(files)


def test_what_was_escaped_is_read_back(stores: list[Path], tmp_path: Path) -> None:
    """As docs/store.md says."""
    path = tmp_path / "table.csv"
    export.export(stores, path)
    with path.open(newline="") as file:
        for row in csv.reader(file):
            for cell in row:
                assert cell[:1] not in ("=", "+", "@", "\t", "\r")
                assert not cell.startswith("-") or np.isfinite(float(cell)), "a number, and no text"
    table = pandas.read_csv(path, keep_default_na=False, na_values={"sup_lower": [""], "sup_where_1": [""]})
    texts = table.select_dtypes(exclude="number").columns
    table[texts] = table[texts].apply(lambda column: column.str.removeprefix("'"))
    whole = dataset.read(stores)
    assert table["message"].tolist() == whole["message"].values.tolist()
    assert set(table["message"]) == {*TEXTS, "=cmd"} - ({*TEXTS, "=cmd"} - set(whole["message"].values))
    assert {"=1+1", "'quoted", "plain = +1"} <= set(table["message"]) or len(set(table["message"])) > 8
    assert np.array_equal(table["sup_where_1"], whole["sup_where"].values[:, 0], equal_nan=True)


def test_the_row_that_counts_is_the_first_of_the_best() -> None:
    chance = np.random.default_rng(1)
    for _ in range(50):
        keys = chance.integers(0, 12, 40).astype("S32")
        status = chance.integers(0, len(layout.STATUS), 40)
        best: dict[bytes, int] = {}
        for row, (key, code) in enumerate(zip(keys.tolist(), status.tolist(), strict=True)):
            if key not in best or shards.BETTER[code] > shards.BETTER[status[best[key]]]:
                best[key] = row
        assert shards.counting(keys, status).tolist() == list(best.values())


def test_names_of_columns_are_texts_too(stores: list[Path], tmp_path: Path) -> None:
    """A store may come from anybody."""
    with h5py.File(stores[0], "r+") as file:
        del file["digest"]
        file.copy("width", "=1+1")
        file.attrs["coordinates"] = f"{file.attrs['coordinates']} =1+1"
    export.export(stores[:1], tmp_path / "table.csv")
    names = (tmp_path / "table.csv").read_text().split("\n")[0].split(",")
    assert "'=1+1" in names and "=1+1" not in names and "sup_lower" in names
