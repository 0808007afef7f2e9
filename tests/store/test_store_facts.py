"""What a store says of its targets, the pictures beside it, and stores from before there were either."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import pickle
import shutil
from pathlib import Path

import h5py
import numpy as np

from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.config import Cell, ModelConfig, OptimizerConfig, TargetConfig
from hpcsweep.findings import scaling, series
from hpcsweep.findings.dataset import read
from hpcsweep.store import layout, weights
from hpcsweep.store.merging import merge
from hpcsweep.store.proving import Merged
from hpcsweep.store.reading import read_cells
from hpcsweep.store.store import Record
from hpcsweep.study.cells import Facts
from hpcsweep.study.expansion import expand
from hpcsweep.study.parsing import parse
from scripts.store_attacks import model
from tests.conftest import open_store, record_of
from tests.findings.test_gallery import as_of_old

STUDY = """
title = "facts"
[[grid]]
target = ["exp_cos", "absolute", "mine.py:Mine"]
dimension = [1, 2]
width = [4]
depth = 1
samples = [10]
replicate = {replicates}
"""
MINE = """
from hpcsweep.approx.targets import Target
class Mine(Target):
    smoothness = 1
    @property
    def domain(self):
        return ((0.0, 1.0), (-2.0, 3.0))[: self.dimension]
    def __call__(self, points):
        return points[:, 0]
"""


def record(cell: Cell) -> Record:
    """A made-up record with all pictures, every value a function of the key."""
    plain = record_of(cell)
    number = plain.parameters[0]
    zoom = np.stack([np.linspace(0, 1, layout.ZOOM), *np.full((2, layout.ZOOM), number)])
    raster = np.full((layout.RASTER, layout.RASTER), number) if cell.dimension == 2 else None
    return dataclasses.replace(plain, zoom=zoom, raster=raster)


def write(path: Path, replicates: int = 2, rows: slice = slice(None)) -> Path:
    """Write or go on with a store, its own target beside it, some of the pending rows done."""
    path.with_name("mine.py").write_text(MINE)
    with contextlib.closing(open_store(path, STUDY.format(replicates=replicates))) as store:
        pending = store.pending()[rows].tolist()
        store.put(pending, [record(store.cells.cell(row)) for row in pending])
    return path


def facts(path: Path) -> dict[tuple[str, int], tuple[float, list[float]]]:
    """Smoothness and ends of the domain by target and dimension, as the dataset has them."""
    found, dataset = {}, read(path)
    ends = np.stack([dataset["domain_low"].values, dataset["domain_high"].values], axis=2)  # (cells, axes, 2)
    for target, dimension, smoothness, box in zip(
        *(dataset[name].values.tolist() for name in ("target", "dimension", "smoothness")), ends, strict=True
    ):
        assert np.isnan(box[dimension:]).all()
        found[target, dimension] = (smoothness, box[:dimension].ravel().tolist())
    return found


EXPECTED = {
    **{("exp_cos", d): (math.inf, [-1, 1] * d) for d in (1, 2)},
    **{("absolute", d): (1.0, [-1, 1] * d) for d in (1, 2)},
    ("mine.py:Mine", 1): (1.0, [0, 1]),
    ("mine.py:Mine", 2): (1.0, [0, 1, -2, 3]),
}


def test_a_store_says_how_smooth_its_targets_are_and_where_they_live(tmp_path: Path) -> None:
    path = write(tmp_path / "s.h5")
    assert facts(path) == EXPECTED
    assert series.table(read(path)).smoothness == {name: n for (name, _), (n, _) in EXPECTED.items()}


ABOUTS = {"exp_cos": "exp(-(1 / (8 d)) sum_i cos x_i)", "absolute": "(1/d) sum_i |x_i|", "mine.py:Mine": ""}


def test_a_store_says_what_its_targets_are(tmp_path: Path) -> None:
    dataset = read(write(tmp_path / "s.h5"))
    for target, about in ABOUTS.items():
        row = int(dataset["target_id"].values[dataset["target"].values == target][0])
        stored = dataset["choice_about"].values[row]
        assert stored.startswith(about) and "\n" not in stored and (stored == "") == (about == "")
    others = np.setdiff1d(np.arange(dataset.sizes["choice"]), dataset["target_id"].values)
    assert len(others) and set(dataset["choice_about"].values[others]) == {""}


def test_facts_survive_reading_and_writing_again(tmp_path: Path) -> None:
    path = write(tmp_path / "s.h5")
    catalogue = Catalogue(tmp_path)
    expected = expand(parse(STUDY.format(replicates=2), catalogue), catalogue).facts
    assert read_cells(path).facts == expected
    assert expected[next(key for key in expected if key[0].name == "absolute" and key[1] == 2)] == Facts(
        1.0, ((-1, 1), (-1, 1)), "(1/d) sum_i |x_i|: the kink; a ReLU network can have it exactly."
    )


def pictures(path: Path) -> dict[str, weights.Pictures]:
    """What is kept of the finished cells of a store."""
    dataset = read(path)
    done = dataset["status"].values == layout.DONE
    return {key: weights.pictures(path, key) for key in dataset["key"].values[done]}


def test_zooms_and_rasters_are_kept_extended_and_merged(tmp_path: Path) -> None:
    path = write(tmp_path / "s.h5", rows=slice(0, 7))
    shard = shutil.copy(path, tmp_path / "other.h5")
    shutil.copy(weights.path_of(path), weights.path_of(shard))
    write(path, replicates=3, rows=slice(0, 4))  # extended: rows move
    write(Path(shard))
    merge(path, [shard])
    stored = pictures(path)
    assert len(stored) > 12
    for row, cell in enumerate(read_cells(path)):
        if cell.key in stored:
            expected, kept = record(cell), stored[cell.key]
            assert kept.zoom is not None and np.array_equal(kept.zoom, expected.zoom), row
            assert (kept.raster is None) == (cell.dimension == 1)
            if kept.raster is not None:
                assert np.array_equal(kept.raster, expected.raster.astype(np.float32))
    twice = set(Merged(path).lacks(Path(shard)))  # computed in both, at different times
    with h5py.File(weights.path_of(path), "r+", locking=False) as file:
        file["raster_error"][0, 3, 4] += 1
    assert len(set(Merged(path).lacks(Path(shard))) - twice) == 1


def test_an_old_store_opens_and_goes_on(tmp_path: Path) -> None:
    path = write(tmp_path / "s.h5", rows=slice(0, 5))
    before = pictures(path)
    as_of_old(path)
    dataset = read(path)
    assert "smoothness" not in dataset and series.table(dataset).smoothness == {}
    assert scaling.laws(series.table(dataset)) == [] and read_cells(path).facts == {}
    write(path)  # the same command again
    assert facts(path)["absolute", 2] == (1.0, [-1, 1, -1, 1])
    after = pictures(path)
    assert len(after) == 12
    for key, kept in after.items():
        assert (kept.zoom is None) == (key in before)
        if key in before:
            assert kept.slice is not None and np.array_equal(kept.slice, before[key].slice)


def test_cells_of_stores_united_are_those_of_the_study(tmp_path: Path) -> None:
    """Also those whose configurations stand in the first of the stores, where no cell has them."""
    study, cells = model.study_of()
    for number, rows in enumerate(([0], range(len(cells)))):
        model.work(tmp_path / f"{number}.h5", study, cells.take(np.array(rows)), 0)
    united = read_cells(tmp_path / "0.h5").union(read_cells(tmp_path / "1.h5"))
    kinds = TargetConfig, ModelConfig, OptimizerConfig
    assert {cell.key for cell in united} == {cell.key for cell in cells}
    assert all(tuple(map(type, (cell.target, cell.model, cell.optimizer))) == kinds for cell in united)


def test_configurations_cannot_be_changed_from_outside() -> None:
    cell = next(iter(model.study_of()[1]))
    cell.model["hidden"].append(99)
    assert 99 not in cell.model["hidden"] and pickle.loads(pickle.dumps(cell)).model == cell.model
