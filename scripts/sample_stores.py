"""Stores of made-up results, as large as a benchmark wants them, written column by column."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import numpy as np

from hpcsweep.store import checksums, integrity, layout, weights
from hpcsweep.store.reading import Run
from hpcsweep.store.row_writer import Datasets
from hpcsweep.store.store import Store
from hpcsweep.study.cells import Cells
from hpcsweep.study.parsing import Study

BLOCK = 2**14  # rows written at a time


def filled(path: Path, study: Study, cells: Cells, finished: float = 1.0) -> Path:
    """Make a store of these cells, of which the first part is finished, with weights if the study keeps them."""
    Store.open(path, study, cells, Run("host", "", 1, "cpu", "versions", time.time())).close()
    count = round(finished * len(cells))
    with contextlib.closing(Datasets(path, integrity.CHANGING)) as data:
        for start in range(0, count, BLOCK):
            rows = np.arange(start, min(count, start + BLOCK))
            columns = {name: _values(name, data.shape(name), rows) for name in layout.RESULTS if name != "checksum"}
            columns["checksum"] = checksums.rows({"key": cells.columns["key"][rows], **columns})
            for name, values in columns.items():
                data.put(name, start, values)
    if study.weights:
        _fill_weights(path, cells, count)
    return path


def _values(name: str, shape: tuple[int, ...], rows: np.ndarray) -> np.ndarray:
    """Return values of some rows of a column that differ from row to row."""
    column = layout.RESULTS[name]
    if name == "status":
        return np.full(len(rows), layout.DONE, np.int8)
    if name == "sup_upper":
        return np.full(len(rows), np.inf)
    if name == "message":
        return np.full(len(rows), b"nothing", column.dtype)
    scale = 1.0 if column.dtype == "f8" else 0.0  # numbers of the small types stay small
    values = 1 + scale * np.sqrt(rows) + np.zeros((*shape[1:], 1))
    return np.moveaxis(values, -1, 0).astype(column.dtype)


def _fill_weights(path: Path, cells: Cells, count: int) -> None:
    """Write parameters, slices and zooms; every cell has as many parameters as the first."""
    size = int(cells.columns["parameters"][0])
    with contextlib.closing(Datasets(weights.path_of(path), weights.CHANGING)) as data:
        for start in range(0, count, BLOCK):
            rows = np.arange(start, min(count, start + BLOCK))
            key = {"key": cells.columns["key"][rows]}
            parameters = rows[:, None] + np.linspace(0, 1, size)
            lines = {name: rows[:, None] + np.linspace(0, 1, data.shape(name)[1]) for name in weights.PICTURES}
            data.put("parameters", start * size, parameters.reshape(-1))
            sums = {
                "checksum": checksums.rows({**key, "parameters": parameters}),
                "picture_checksum": checksums.rows({**key, **lines}),
                "kept": np.full(len(rows), 2),
            }
            for name, values in {**lines, **sums}.items():
                data.put(name, start, values)
