"""A dataset over the axes of its study, several stores as one, and tables for other programs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas
import pytest

from hpcsweep.__main__ import commands
from hpcsweep.config import Cell
from hpcsweep.errors import StoreError
from hpcsweep.findings import dataset, grids
from hpcsweep.findings.export import export, readable
from hpcsweep.findings.report import report
from hpcsweep.store.store import Record
from tests.findings.stores import STUDY, Maker, cells_of, error, record

UNION = """
title = "Union"
[[grid]]
target = "wave"
dimension = [1, 2]
width = [4, 8]
samples = [{ per_parameter = 2.0 }]
optimizer = ["adam", "sgd"]
replicate = 2
[[grid]]
target = "bumps"
dimension = 1
width = 4
samples = [{ per_parameter = 2.0 }]
optimizer = "adam"
replicate = 2
[training.sgd]
learning_rate = 0.5
"""


def test_every_cell_is_in_its_place(full: Path) -> None:
    unstacked = grids.unstacked(dataset.read(full))
    axes = {"target": 2, "dimension": 2, "width": 3, "samples": 2, "optimizer": 2, "replicate": 3}
    assert dict(zip(unstacked["sup_lower"].dims, unstacked["sup_lower"].shape, strict=True)) == axes
    assert not unstacked["missing"].any() and unstacked["depth"].item() == 1
    for cell in cells_of(STUDY)[1]:
        coordinates = {"target": cell.target["name"], "dimension": cell.dimension, "width": cell.model["hidden"][0]}
        further = {"samples": cell.samples, "optimizer": cell.optimizer["name"], "replicate": cell.replicate}
        chosen = unstacked.sel(**coordinates, **further)
        assert chosen["sup_lower"].item() == error(cell) and chosen["parameters"].item() == cell.parameters
        assert chosen["sup_where"].values[0] == 0.3


def test_a_union_of_grids_has_missing_places(make_store: Maker) -> None:
    read = dataset.read(
        make_store(UNION, lambda cell: None if cell.replicate and cell.dimension == 2 else record(cell))
    )
    unstacked = grids.unstacked(read)
    # Samples go with the parameters and the learning rate with the optimizer: neither is an axis.
    assert unstacked["missing"].dims == ("target", "dimension", "width", "optimizer", "replicate")
    assert int((~unstacked["missing"]).sum()) == 8 + 4 + 2
    bumps = unstacked.sel(target="bumps")
    assert (bumps["status"] == -1).sum() == 14 and np.isnan(bumps["sup_lower"].sel(dimension=2)).all()
    pending = unstacked.sel(target="wave", dimension=2, replicate=1)
    assert (pending["status"] == 0).all() and pending["missing"].all()
    cell = unstacked.sel(target="wave", dimension=1, width=8, optimizer="sgd", replicate=0)
    assert cell["samples"].item() == 2 * cell["parameters"].item() and cell["learning_rate"].item() == 0.5


def test_what_is_far_from_a_grid_is_refused(make_store: Maker) -> None:
    grids_of = "".join(f'[[grid]]\ntarget = "t{i}"\nwidth = {i + 1}\nsamples = {i + 10}\n' for i in range(9))
    text = 'title = "Sparse"\n' + grids_of.replace("\ntarget", "\ndimension = 1\noptimizer = 'adam'\ntarget")
    read = dataset.read(make_store(text, lambda cell: Record("done", {"sup_lower": 1.0})))
    assert grids.unstacked(read)["missing"].dims == ("target",)  # one axis tells all
    with pytest.raises(StoreError, match="200 cells do not fill a grid of 200 width x 200 samples"):
        grids._refuse_sparse(200, ["width", "samples"], (200, 200))


def test_hidden_widths_behind_one_label_make_an_axis(make_store: Maker) -> None:
    text = STUDY.replace("depth     = [1]\n", "").replace(
        "width     = [4, 8, 16]", "model = [{ hidden = [4, 8] }, { hidden = [8, 4] }]"
    )
    unstacked = grids.unstacked(dataset.read(make_store(text)))
    assert unstacked.sizes["model_id" if "model_id" in unstacked.dims else "model"] == 2
    assert not unstacked["missing"].any()


@pytest.fixture
def parts(make_store: Maker) -> list[Path]:
    """A main file and two shards: of the first, cells have failed; of the second, half is pending."""

    def main(cell: Cell) -> Record | None:
        return Record("failed", {"message": "lost"}) if cell.replicate == 0 else None

    def second(cell: Cell) -> Record | None:
        return record(cell) if cell.replicate == 0 else None

    def third(cell: Cell) -> Record | None:
        return record(cell, message="third") if cell.replicate < 2 else None

    stores = [make_store(STUDY, main), make_store(STUDY, second, "results.1-of-2.h5")]
    return [*stores, make_store(STUDY.replace("[1, 2]", "[1, 2, 3]"), third, "results.2-of-2.h5")]


def test_shards_are_found_and_read_as_one(parts: list[Path]) -> None:
    assert dataset.files(parts[0]) == parts
    read = dataset.read(parts)
    names = [cell.key for cell in cells_of(STUDY.replace("[1, 2]", "[1, 2, 3]"))[1]]
    assert sorted(read["key"].values) == sorted(names) and read.sizes["axis"] == 3 and read.sizes["run"] == 1
    expected = {cell.key: error(cell) for cell in cells_of(STUDY.replace("[1, 2]", "[1, 2, 3]"))[1]}
    replicate, first = read["replicate"].values, read["dimension"].values < 3
    assert (read["status"].values == np.where(replicate < 2, 2, 0)).all()
    for key, value in zip(read["key"].values, read["sup_lower"].values, strict=True):
        assert np.isnan(value) or value == expected[key]
    assert (read["message"].values[first & (replicate == 0)] == "").all()  # the second comes before the third
    assert (read["message"].values[first & (replicate == 1)] == "third").all()
    targets = [read["choice_label"].values[i] for i in read["target_id"].values]
    assert targets == read["target"].values.tolist()


def test_a_report_reads_the_shards_alone(parts: list[Path], tmp_path: Path) -> None:
    parts[0].unlink()
    assert dataset.files(parts[0]) == parts[1:]
    written = report.write(parts[0], tmp_path / "page")
    assert "144 done" in written[0].read_text() and any("picture_1" in path.name for path in written)


def test_stores_of_different_studies_are_not_mixed(make_store: Maker, full: Path) -> None:
    other = make_store(STUDY.replace("Weights", "Other"))
    with pytest.raises(StoreError, match="differ in 'title'"):
        dataset.read([full, other])


def test_a_table_has_every_cell_to_the_bit(full: Path, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "table.csv"
    assert commands(["report", str(full), "--export", str(path)], standalone_mode=False) == 0
    assert not full.with_name("results-report").exists()
    rows = pandas.read_csv(path, keep_default_na=True)
    cells = list(cells_of(STUDY)[1])
    assert rows["key"].tolist() == [cell.key for cell in cells]
    assert rows["sup_lower"].tolist() == [error(cell) for cell in cells]  # read back to the same bits
    assert rows["sup_where_1"].eq(0.3).all() and rows["sup_upper"].eq(np.inf).all() and set(rows["status"]) == {"done"}
    assert {"sup_where_2", "quantile_error_0.99"} <= set(rows) and not {"target_id", "history_loss"} & set(rows)


def test_other_endings_are_refused(full: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"\.csv or \.parquet, not '\.xlsx'"):
        export(full, tmp_path / "table.xlsx")


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is not None, reason="pyarrow is installed")
def test_parquet_names_its_extra(full: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"hpcsweep\[parquet\]"):
        export(full, tmp_path / "table.parquet")


def test_parquet_has_the_same_columns(full: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    read = dataset.read(full)
    assert export(full, tmp_path / "table.parquet") == 144
    pandas.testing.assert_frame_equal(
        pandas.read_parquet(tmp_path / "table.parquet"), readable(grids.frame(read)), check_dtype=False
    )
