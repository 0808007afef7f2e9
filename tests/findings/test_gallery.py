"""Pictures of what is kept of networks: the glitch gallery, maps of the error, and the samples drawn again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpcsweep.config import Cell
from hpcsweep.findings import stored_pictures
from hpcsweep.findings.dataset import read
from hpcsweep.findings.figures import gallery, maps
from hpcsweep.sampling import grid, samples
from hpcsweep.store import layout
from hpcsweep.store.store import Record
from hpcsweep.store.weights import path_of
from tests.findings.stores import STUDY, Maker, cells_of, error, make, record

WHERE = 0.3  # of `record`


def pictured(cell: Cell) -> Record:
    """A record with all pictures: a bump of the error, its zoom, and a raster that is its coordinates' difference."""
    plain = record(cell, sample_distance=0.0123, boundary=0)
    x = np.linspace(WHERE - 0.02, WHERE + 0.02, layout.ZOOM)
    zoom = np.stack([x, np.zeros_like(x), error(cell) * (1 - np.abs(x - WHERE) / 0.02)])
    side = np.linspace(-1, 1, layout.RASTER)
    raster = side[:, None] - 2 * side[None, :] if cell.dimension == 2 else None
    return dataclasses.replace(plain, zoom=zoom, raster=raster)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with all pictures."""
    return make(tmp_path_factory.mktemp("pictured") / "results.h5", STUDY, pictured)


def test_the_worst_of_each_method_come_first(path: Path) -> None:
    cells = {cell.key: cell for cell in cells_of(STUDY)[1]}
    chosen = [cells[key] for key in gallery.choose(read(path), path)]
    assert len({(cell.target["name"], cell.optimizer["name"]) for cell in chosen}) == 4
    errors = [error(cell) for cell in chosen]
    assert errors == sorted(errors, reverse=True) and errors[0] == max(map(error, cells.values()))
    for cell in chosen:
        kin = [c for c in cells.values() if (c.target, c.optimizer) == (cell.target, cell.optimizer)]
        assert error(cell) == max(map(error, kin))
    assert len(gallery.choose(read(path), path, most=7)) == 7  # methods repeat where they run out


def test_samples_are_those_of_the_training_to_the_bit(path: Path) -> None:
    dataset, cells = read(path), cells_of(STUDY)[1]
    for row in (0, 20, 100, len(cells) - 1):
        cell = cells.cell(row)
        expected = samples(cell.data_seed, cell.samples, [(-1.0, 1.0)] * cell.dimension)
        points = stored_pictures.samples(dataset.isel(cell=row), stored_pictures.pictures(path, cell.key))
        assert points is not None and points.tobytes() == expected.tobytes()


def test_samples_follow_their_method_or_are_not_known(path: Path) -> None:
    dataset = read(path)
    row = int(np.flatnonzero((dataset["dimension"].values == 2) & (dataset["samples"].values == 100))[0])
    cell, expected = dataset.isel(cell=row), grid(100, [(-1.0, 1.0)] * 2)
    stored = stored_pictures.pictures(path, str(cell["key"].item()))
    number, texts = int(cell["optimizer_id"]), cell["choice_text"].values.tolist()
    for further, there in (({"sampling": "grid"}, True), ({"resample": 2}, False), ({"resample": 0}, True)):
        changed = json.dumps({**json.loads(texts[number]), **further})
        other = cell.assign(choice_text=("choice", [*texts[:number], changed, *texts[number + 1 :]]))
        points = stored_pictures.samples(other, stored)
        assert (points is not None) == there
        assert points is None or np.array_equal(points, expected) == ("sampling" in further)


def _ticks(axes: object) -> list[np.ndarray]:
    """The (2, 2) ends of the ticks of samples in a panel."""
    return list(axes.collections[0].get_segments())  # type: ignore[attr-defined]


def test_a_row_shows_the_slice_the_zoom_and_the_error(make_store: Maker) -> None:
    text = STUDY.replace("[1, 2]", "1")
    path = make_store(text, pictured)
    figure = gallery.glitches(read(path), path, most=1)
    assert figure is not None
    whole, near, below = figure.axes
    (key, found), *_ = gallery.choose(read(path), path, most=1).items()
    cell = next(cell for cell in cells_of(text)[1] if cell.key == key)
    assert found.slice is not None and found.zoom is not None
    assert np.array_equal(whole.lines[1].get_ydata(), found.slice[2])
    assert np.array_equal(near.lines[0].get_xdata(), found.zoom[0]) and near.get_xlim() == pytest.approx((0.28, 0.32))
    assert f"error {error(cell):.3g}" in whole.get_title(loc="left")
    assert "x = 0.3" in near.get_title(loc="left") and "0.012 from the nearest sample" in near.get_title(loc="left")
    assert below.lines[-1].get_xydata().tolist() == [[WHERE, error(cell)]]
    expected = np.sort(samples(cell.data_seed, cell.samples, [(-1.0, 1.0)])[:, 0])
    assert np.array_equal(np.sort([tick[0, 0] for tick in _ticks(whole)]), expected)
    inside = expected[(expected >= near.get_xlim()[0]) & (expected <= near.get_xlim()[1])]
    assert np.array_equal(np.sort([tick[0, 0] for tick in _ticks(near)]), inside)


def test_in_two_dimensions_ticks_are_longer_the_nearer_the_samples(make_store: Maker) -> None:
    text = STUDY.replace("[1, 2]", "2")
    path = make_store(text, pictured)
    cells = {cell.key: cell for cell in cells_of(text)[1] if cell.samples == 100}
    dataset = read(path)
    dataset = dataset.isel(cell=np.flatnonzero(dataset["samples"].values == 100))
    figure = gallery.glitches(dataset, path, most=1)
    assert figure is not None
    cell = cells[next(iter(gallery.choose(dataset, path, most=1)))]
    points = samples(cell.data_seed, 100, [(-1.0, 1.0)] * 2)
    distance = {point[0]: abs(point[1] - WHERE) for point in points}
    drawn = {tick[0, 0]: tick[1, 1] for tick in _ticks(figure.axes[0])}
    ranked = sorted(drawn, key=drawn.__getitem__, reverse=True)
    assert 10 < len(drawn) < 40  # of 100: a strip of twice the mean spacing, 0.4 of a height of 2
    assert [distance[x] for x in ranked] == sorted(distance.values())[: len(ranked)]


def test_maps_show_the_raster_the_samples_and_the_worst_point(path: Path) -> None:
    figure = maps.error_maps(read(path), path)
    assert figure is not None
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 4  # 2 targets, 2 methods
    side = np.linspace(-1, 1, layout.RASTER)
    for axes in panels:
        shown = np.asarray(axes.images[0].get_array())  # (second, first): upwards is the second coordinate
        assert shown == pytest.approx(np.abs(side[None, :] - 2 * side[:, None]), rel=1e-6)
        assert axes.images[0].origin == "lower" and tuple(axes.images[0].get_extent()) == (-1, 1, -1, 1)
        assert axes.lines[-1].get_xydata().tolist() == [[WHERE, WHERE]]
        assert len(axes.lines[0].get_xdata()) == 100
    cells, chosen = list(cells_of(STUDY)[1]), maps.choose(read(path), path)
    best = [cell for cell in cells if cell.key in chosen]
    assert len(best) == 4
    for cell in best:
        kin = [c for c in cells if (c.target, c.optimizer, c.dimension) == (cell.target, cell.optimizer, 2)]
        assert error(cell) == min(map(error, kin))


def test_without_pictures_there_are_none(make_store: Maker) -> None:
    path = make_store(STUDY + "[store]\nweights = false\n", pictured)
    assert gallery.glitches(read(path), path) is None and maps.error_maps(read(path), path) is None
    path = make_store(STUDY, record)
    assert gallery.glitches(read(path), path) is not None and maps.error_maps(read(path), path) is None


CHECKS = ("checksum", "picture_checksum", "digest")


def as_of_old(path: Path) -> None:
    """Take from a store and its weights what was not stored before there were facts, zooms, rasters and checksums."""
    with h5py.File(path, "r+", locking=False) as file:
        for name in (*layout.FACTS, "choice_about", *layout.FILE, "checksum", "run_checksum"):
            del file[name]
    with h5py.File(path_of(path), "r+", locking=False) as file:
        file["kept"][:] = np.minimum(file["kept"][:], 2)
        for name in ("zoom_x", "zoom_target", "zoom_model", "raster", "raster_error", *CHECKS):
            del file[name]


def test_old_stores_are_drawn_with_what_they_have(make_store: Maker) -> None:
    path = make_store(STUDY, pictured)
    as_of_old(path)
    dataset = read(path)
    figure = gallery.glitches(dataset, path)
    assert figure is not None and maps.error_maps(dataset, path) is None
    for dimension in (1, 2):
        row = int(np.flatnonzero(dataset["dimension"].values == dimension)[-1])
        cell = cells_of(STUDY)[1].cell(row)
        stored = stored_pictures.pictures(path, cell.key)
        points = stored_pictures.samples(dataset.isel(cell=row), stored)
        assert stored.zoom is None and stored.raster is None
        assert (points is None) == (dimension == 2)  # in one dimension the ends of the slice tell the domain
        assert points is None or np.array_equal(points, samples(cell.data_seed, cell.samples, [(-1.0, 1.0)]))
