"""A study whose every result is a function of its key, so that a wrong one shows; and all that writes a store."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.store import journal, layout, opening, remeasured, weights
from hpcsweep.store.lease import Lease
from hpcsweep.store.merging import merge
from hpcsweep.store.reading import Run, opened
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
BATCH = 4  # rows that are stored together


def study_of(samples: str = "[10, 20]", replicates: int = 3, text: str = TEXT) -> tuple[Study, Cells]:
    """Return a study, and its cells."""
    study = parse(text.format(samples=samples, replicates=replicates), Catalogue())
    return study, expand(study, Catalogue())


def record(cell: Cell, better: float = 0.0) -> Record:
    """Return made-up results of a cell, functions of its key; `better`: what a later measurement adds to the bound."""
    numbers = np.random.default_rng(int(cell.key, 16))
    values: dict[str, object] = {name: float(numbers.random()) for name in MEASURED if _is_plain(name)}
    values |= {name: int(numbers.integers(1000)) for name in ("steps", "points", "boxes", "averaged", "nonfinite")}
    values |= {"sup_where": tuple(numbers.random(cell.dimension).tolist()), "quantile_error": numbers.random(4)}
    values |= {"history_loss": numbers.random(64), "history_step": numbers.integers(9, size=64), "certificate": 1}
    values |= {"message": f"of {cell.key}", "sup_lower": float(values["sup_lower"]) + better}  # type: ignore[arg-type]
    lines = numbers.random((3, layout.SLICE)), numbers.random((3, layout.ZOOM))
    raster = numbers.random((layout.RASTER, layout.RASTER)).astype(np.float32) if cell.dimension == 2 else None
    return Record("done", values, numbers.random(cell.parameters), *lines, raster)


def _is_plain(name: str) -> bool:
    column = layout.RESULTS[name]
    return column.dtype == "f8" and column.dimensions == ("cell",)


def work(path: Path, study: Study, cells: Cells, most: int | None = None, repair: bool = False) -> None:
    """Do what `run` does with a store, up to so many cells."""
    run = Run("host", "", 1, "cpu", "versions", time.time())
    with contextlib.closing(Store.open(path, study, cells, run, repair=repair)) as store:
        pending = store.pending().tolist()[:most]
        for start in range(0, len(pending), BATCH):
            rows = pending[start : start + BATCH]
            store.start(rows)
            store.put(rows, [record(store.cells.cell(row)) for row in rows])


def measure(path: Path, better: float) -> None:
    """Do what `measure` does with a store: raise the lower bounds of all finished cells, and redraw their slices."""
    with Lease(path, opening.last_lease(path)) as lease:
        journal.replay(path)
        with opened(path) as file:
            keys, done = file["key"][:], np.flatnonzero(file["status"][:] == layout.DONE).tolist()
        cells = dict(zip(done, _cells(path, done), strict=True))
        for start in range(0, len(done), BATCH):
            rows = done[start : start + BATCH]
            changed = {keys[row].decode(): {"sup_lower": _lower(cells[row], better), "points": 7} for row in rows}
            remeasured.write(path, changed, lease)
            with contextlib.closing(Writer(path, len(keys))) as writer:
                records = [record(cells[row]) for row in rows]
                kept = {row: 3 if cells[row].dimension == 2 else 2 for row in rows}
                writer.draw(kept, [(one.slice, one.zoom) for one in records])  # type: ignore[misc]


def _cells(path: Path, rows: list[int]) -> list[Cell]:
    from hpcsweep.store.reading import read_cells

    cells = read_cells(path)
    return [cells.cell(row) for row in rows]


def _lower(cell: Cell, better: float) -> float:
    return float(record(cell, better).values["sup_lower"])  # type: ignore[arg-type]


def shards(path: Path, study: Study, cells: Cells, count: int = 3) -> list[Path]:
    """Write the finished shards of a study."""
    files = [path.with_name(f"{path.stem}.{number + 1}-of-{count}.h5") for number in range(count)]
    for number, file in enumerate(files):
        work(file, study, cells.take(np.arange(number, len(cells), count)))
    return files


def merging(path: Path, files: list[Path]) -> Callable[[], object]:
    """Return what merges shards."""
    return lambda: merge(path, files)


def wrong(path: Path, better: tuple[float, ...] = (0.0,)) -> tuple[set[str], list[str]]:
    """Return the keys of finished cells, and what is wrong with them, as a reader sees it that verifies nothing.

    better: what later measurements may have added to the bounds.
    """
    finished, mistakes = set(), []
    with h5py.File(path, "r", locking=False) as file:
        columns = {name: file[name][:] for name in ("key", "target", "dimension", "parameters", *layout.RESULTS)}
    rows = np.flatnonzero(np.isin(columns["status"], layout.FINISHED)).tolist()
    for row in rows:
        key = columns["key"][row].decode()
        cell = _Named(key, int(columns["dimension"][row]), int(columns["parameters"][row]))
        finished.add(key)
        if not any(_is_right(columns, row, record(cell, more), more) for more in better):  # type: ignore[arg-type]
            mistakes.append(key)
    return finished, mistakes + _wrong_weights(path, {key for key in finished if key not in mistakes}, columns)


class _Named:
    """As much of a cell as `record` needs."""

    def __init__(self, key: str, dimension: int, parameters: int) -> None:
        self.key, self.dimension, self.parameters = key, dimension, parameters


def _is_right(columns: dict[str, np.ndarray], row: int, expected: Record, more: float) -> bool:
    for name, value in expected.values.items():
        if name == "points" and more:
            continue
        stored = columns[name][row]
        wanted = value.encode() if isinstance(value, str) else np.asarray(value)
        size = len(wanted) if isinstance(wanted, np.ndarray) and wanted.ndim else None
        if not np.array_equal(stored[:size] if size is not None else stored, wanted):
            return False
    return bool(columns["status"][row] == layout.DONE)


def _wrong_weights(path: Path, keys: set[str], columns: dict[str, np.ndarray]) -> list[str]:
    sizes = {
        key.decode(): (int(dimension), int(count))
        for key, dimension, count in zip(columns["key"], columns["dimension"], columns["parameters"], strict=True)
    }
    ordered = sorted(keys)
    stored = weights.parameters(path, ordered)
    mistakes = []
    for key, parameters in zip(ordered, stored, strict=True):
        expected = record(_Named(key, *sizes[key]))  # type: ignore[arg-type]
        pictures = weights.pictures(path, key)
        same = parameters is not None and np.array_equal(parameters, expected.parameters)  # type: ignore[arg-type]
        for kept, wanted in (
            (pictures.slice, expected.slice),
            (pictures.raster, expected.raster),
        ):
            same = same and (kept is None or np.array_equal(kept, wanted))  # type: ignore[arg-type]
        if not same:
            mistakes.append(f"{key} (weights)")
    return mistakes
