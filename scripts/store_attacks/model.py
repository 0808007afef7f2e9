"""A study whose every result is a function of its key, so that a wrong one shows; and all that writes a store."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.cluster.checkpoints import CheckpointDir
from hpcsweep.cluster.tightening import Tightening
from hpcsweep.store import layout, opening, weights, write_errors
from hpcsweep.store.merging import merge
from hpcsweep.store.reading import Run, opened, read_cells
from hpcsweep.store.store import MEASURED, Record, Store
from hpcsweep.store.weights_writer import Writer
from hpcsweep.study.cells import Cell, Cells
from hpcsweep.study.expansion import expand
from hpcsweep.study.parsing import Study, parse

TEXT = """
title = "attacked"
[[grid]]
target = "exp_cos"
dimension = [1, 2]
width = [3, 5]
samples = {samples}
replicate = {replicates}
[training]
steps = 1
"""
NOW = 1.8e9  # Unix time of all launches
BATCH = 2  # rows that are stored, or measured, together
BETTER, POINTS = 2.0, 7  # what the first measurement adds to the lower bound, and each one to the points


def study_of(samples: str = "[10, 20]", replicates: int = 1, text: str = TEXT) -> tuple[Study, Cells]:
    """Return a study, and its cells."""
    study = parse(text.format(samples=samples, replicates=replicates), Catalogue())
    return study, expand(study, Catalogue())


def record(cell: Cell, measured: int = 0) -> Record:
    """Return made-up results of a cell, functions of its key, after so many later measurements."""
    return _record(cell.key, cell.dimension, cell.parameters, measured)


@functools.lru_cache(1024)
def _record(key: str, dimension: int, parameters: int, measured: int) -> Record:
    numbers = np.random.default_rng(int(key, 16))
    values: dict[str, Any] = {name: float(numbers.random()) for name in MEASURED if _is_plain(name)}
    values |= {name: int(numbers.integers(1000)) for name in ("steps", "points", "boxes", "averaged", "nonfinite")}
    values |= {"sup_where": tuple(numbers.random(dimension).tolist()), "quantile_error": numbers.random(4)}
    values |= {"history_loss": numbers.random(64), "history_step": numbers.integers(9, size=64), "certificate": 1}
    values |= {"message": f"of {key}", "boundary": 0}
    values |= dict.fromkeys(("sup_upper", "solution_upper"), values["sup_lower"] + 2 * BETTER)
    values |= {
        "sup_lower": values["sup_lower"] + BETTER * bool(measured),
        "points": values["points"] + POINTS * measured,
    }
    lines = numbers.random((3, layout.SLICE)), numbers.random((3, layout.ZOOM))
    raster = numbers.random((layout.RASTER, layout.RASTER)).astype(np.float32) if dimension == 2 else None
    return Record("done", values, numbers.random(parameters), *lines, raster)


def _is_plain(name: str) -> bool:
    column = layout.RESULTS[name]
    return column.dtype == "f8" and column.dimensions == ("cell",)


def state(keys: Sequence[str], step: int) -> dict[str, object]:
    """Return what a pack of these cells saves after a step."""
    numbers = np.random.default_rng([int(keys[0], 16), step])
    return {"step": step, "array": numbers.random(300), "tensor": torch.from_numpy(numbers.random((20, 30)))}


def wrong_states(path: Path) -> list[str]:
    """Return the checkpoints beside a store that are taken for good, and are not what was saved."""
    checkpoints = CheckpointDir.beside(path)
    return [keys[0] for keys in checkpoints.packs() if not is_state(keys, checkpoints.saver(keys).load())]


def is_state(keys: Sequence[str], saved: Any) -> bool:
    """Return whether a checkpoint of these cells is what was saved, or none."""
    if saved is None:
        return True
    expected: dict[str, Any] = state(keys, saved["step"])
    return np.array_equal(saved["array"], expected["array"]) and torch.equal(saved["tensor"], expected["tensor"])


def work(path: Path, study: Study, cells: Cells, most: int | None = None, repair: bool = False) -> None:
    """Do what `run` does with a store and its checkpoints, up to so many cells. Raises `StoreError` as it does."""
    checkpoints = CheckpointDir.beside(path)
    with (
        contextlib.closing(Store.open(path, study, cells, run_of(), repair=repair)) as store,
        write_errors.explained(f"{path} can no longer be written"),
    ):
        checkpoints.sweep(store.finished())
        pending = store.pending().tolist()
        for saved in checkpoints.packs():
            if not set(saved) <= set(store.keys(pending)):  # as `packs_in_order` does
                checkpoints.clear(saved)
        pending = pending[:most]
        for start in range(0, len(pending), BATCH):
            rows = pending[start : start + BATCH]
            keys = store.keys(rows)
            store.start(rows)
            for step in (1, 2):
                checkpoints.saver(keys).save(state(keys, step))
            store.put(rows, [record(store.cells.cell(row)) for row in rows], functools.partial(checkpoints.clear, keys))
            store.settle(now=start == 0)  # as if a second had passed, once


def run_of() -> Run:
    """Return the description of a launch."""
    return Run("host", "", 1, "cpu", "versions", NOW)


def measure(path: Path) -> None:
    """Do what `measure` does with a store: raise the lower bounds of all finished cells, and redraw their slices."""
    with opening.leased(path) as lease:
        stored = read_cells(path)
        with opened(path) as file:
            done = np.flatnonzero(file["status"][:] == layout.DONE).tolist()
        explained = write_errors.explained("The weights cannot be written", KeyError)
        with (
            explained,
            contextlib.closing(Tightening(path, lease, "0", path.parent)) as tightening,
            contextlib.closing(Writer(path, len(stored))) as writer,
        ):
            saver = tightening.saver()
            first = (saver.load() or {"done": 0})["done"]
            for group, start in enumerate(range(0, len(done), BATCH)):
                if group >= first:
                    cells = {row: stored.cell(row) for row in done[start : start + BATCH]}
                    tightening.write(group, {}, functools.partial(_measured, list(cells.values())))
                    records = [record(cell) for cell in cells.values()]
                    kept = {row: 3 if cell.dimension == 2 else 2 for row, cell in cells.items()}
                    writer.draw(kept, [(one.slice, one.zoom) for one in records])  # type: ignore[misc]
                    saver.save({"done": group + 1})
                    tightening.forget(group)
            tightening.forget()


def _measured(cells: Sequence[Cell]) -> dict[str, dict[str, Any]]:
    """Return what another measurement says of some cells."""
    values = {cell.key: dict(record(cell, 1).values) for cell in cells}
    names = {"steps", "message", "history_loss", "history_step", "train_rmse", "train_seconds"}
    return {
        key: {name: value for name, value in row.items() if name not in names}
        | {"points": POINTS, "boxes": 0, "nonfinite": 0}
        for key, row in values.items()
    }


def shards(path: Path, study: Study, cells: Cells, count: int = 3) -> None:
    """Write the finished shards of a study."""
    for number in range(count):
        file = path.with_name(f"{path.stem}.{number + 1}-of-{count}.h5")
        work(file, study, cells.take(np.arange(number, len(cells), count)))


def merged(path: Path) -> None:
    """Do what `merge` does."""
    merge(path, sorted(path.parent.glob(f"{path.stem}.*-of-*[0-9].h5")))


def wrong(path: Path, measured: Sequence[int] = (0,)) -> tuple[dict[str, int], list[str]]:
    """Return finished cells, by key with the number of later measurements that their values are of, and what is wrong.

    As a reader sees it that verifies nothing. measured: the numbers of later measurements that are right.
    """
    finished, mistakes = dict[str, int](), []
    with h5py.File(path, "r", locking=False) as file:
        columns = {name: file[name][:] for name in ("key", "dimension", "parameters", *layout.RESULTS)}
    kept = _kept(path)
    for row in np.flatnonzero(np.isin(columns["status"], layout.FINISHED)).tolist():
        key, size, count = (columns[name][row] for name in ("key", "dimension", "parameters"))
        key, expected = key.decode(), functools.partial(_record, key.decode(), int(size), int(count))
        right = [times for times in measured if _is_right(columns, row, expected(times))]
        finished[key] = right[0] if right else -1
        if not right:
            mistakes.append(key)
        elif not _are_kept(path, key, kept.get(key), expected(0)):
            mistakes.append(f"{key} (weights)")
    return finished, mistakes


def _is_right(columns: dict[str, np.ndarray], row: int, expected: Record) -> bool:
    for name, value in expected.values.items():
        stored = columns[name][row]
        right = value.encode() if isinstance(value, str) else np.asarray(value)
        size = len(right) if isinstance(right, np.ndarray) and right.ndim else None
        if not np.array_equal(stored[:size] if size is not None else stored, right):
            return False
    return bool(columns["status"][row] == layout.DONE)


def without_pictures(path: Path) -> list[str]:
    """Return the keys of finished cells that have lost their pictures."""
    with opened(path) as file:
        finished = file["key"][:][file["status"][:] == layout.DONE].tolist()
    return [key.decode() for key in finished if weights.pictures(path, key.decode()).slice is None]


def _kept(path: Path) -> dict[str, list[Any]]:
    """Return, by key, the parameters that the weights of a store hold, the slice, the raster, and how much of it."""
    with h5py.File(weights.path_of(path), "r", locking=False) as file:
        columns = {name: file[name][:] for name in ("key", "offset", "count", "kept", "raster", *weights.SLICES)}
        parameters, rasters = file["parameters"][:], file["raster_error"][:]
    return {
        key.decode(): [
            columns["kept"][row],
            parameters[(start := columns["offset"][row]) : start + columns["count"][row]],
            np.stack([columns[name][row] for name in weights.SLICES]),
            rasters[columns["raster"][row]] if columns["raster"][row] >= 0 else None,
        ]
        for row, key in enumerate(columns["key"])
    }


def _are_kept(path: Path, key: str, stored: list[Any] | None, expected: Record) -> bool:
    """Return whether parameters and pictures are right; pictures that are not may be there if nobody gets them."""
    if stored is None or not stored[0] or not np.array_equal(stored[1], expected.parameters):  # type: ignore[arg-type]
        return False
    lines = stored[0] < 2 or np.array_equal(stored[2], expected.slice)  # type: ignore[arg-type]
    raster = stored[0] < 3 or np.array_equal(stored[3], expected.raster)  # type: ignore[arg-type]
    return (lines and raster) or weights.pictures(path, key).slice is None
