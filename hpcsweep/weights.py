"""Trained parameters, in FILE.weights.h5 beside the store: one flat, preallocated dataset with offsets.

The space of a cell is reserved when the file is laid out and takes no disk until it is written. Rows are valid where
the store says that the cell is finished: parameters are written, and flushed, before the store's row.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from hpcsweep import layout
from hpcsweep.cells import Cells
from hpcsweep.errors import StoreError
from hpcsweep.rewrite import opened, replacing


def path_of(store: str | Path) -> Path:
    """Return where the weights of a store lie: results.h5 -> results.weights.h5."""
    return Path(store).with_suffix(".weights.h5")


def build(store: Path, cells: Cells, sources: Sequence[Path]) -> None:
    """Lay out the weights of `cells`, with what the weights beside `sources` hold of them. Keeps an equal file."""
    path = path_of(store)
    if path.exists() and _has_keys(path, cells) and list(sources) in ([], [store]):
        return
    with replacing(path) as temporary, h5py.File(temporary, "w", locking=False) as file:
        _lay_out(file, cells)
        for source in sources:
            if path_of(source).exists():
                _copy(source, file)


def _has_keys(path: Path, cells: Cells) -> bool:
    with h5py.File(path, "r", locking=False) as file:
        return np.array_equal(file["key"][:], cells.columns["key"])


def _lay_out(file: h5py.File, cells: Cells) -> None:
    counts = cells.columns["parameters"].astype(np.int64)
    for name, size in {"cell": len(cells), "slice": layout.SLICE, "parameter": int(counts.sum())}.items():
        if name == "parameter":
            file.create_dataset(name, shape=(size,), dtype="i1").make_scale(name)  # a length, never written
        else:
            layout.make_dimension(file, name, size)
    for name, column in layout.WEIGHTS.items():
        layout.make(file, name, column, tuple(len(file[dimension]) for dimension in column.dimensions))
    everything = layout.Column("f8", "parameters of all cells, one after the other", ("parameter",))
    layout.make(file, "parameters", everything, (int(counts.sum()),))
    file["key"][:] = cells.columns["key"]
    file["count"][:] = counts
    file["offset"][:] = np.cumsum(counts) - counts


def _copy(source: Path, new: h5py.File) -> None:
    """Copy the parameters and slices of the cells that the store `source` has finished."""
    with (
        h5py.File(source, "r", locking=False) as store,
        h5py.File(path_of(source), "r", locking=False) as old,
    ):
        finished = store["key"][:][np.isin(store["status"][:], layout.FINISHED)]
        keys = new["key"][:]
        _, rows, origins = np.intersect1d(keys, old["key"][:], return_indices=True)
        wanted = np.isin(keys[rows], finished)
        order = np.argsort(rows[wanted])
        rows, origins = rows[wanted][order], origins[wanted][order]
        ends = {file: np.append(file["offset"][:], len(file["parameters"])) for file in (new, old)}
        for piece in _pieces(rows, origins):
            row, origin, size = rows[piece[0]], origins[piece[0]], len(piece)
            (start, end), (begin, stop) = ends[new][[row, row + size]], ends[old][[origin, origin + size]]
            new["parameters"][start:end] = old["parameters"][begin:stop]
            for name in ("slice_x", "slice_target", "slice_model"):
                new[name][row : row + size] = old[name][origin : origin + size]


def _pieces(rows: np.ndarray, origins: np.ndarray) -> list[np.ndarray]:
    """Split matching rows into pieces that are consecutive in both files, each of at most 4096 rows."""
    index = np.arange(len(rows))
    breaks = (np.diff(rows) != 1) | (np.diff(origins) != 1) | (index[1:] % 4096 == 0)
    return [piece for piece in np.split(index, np.flatnonzero(breaks) + 1) if len(piece)]


class Writer:
    """The weights file of a store, open for overwriting rows."""

    def __init__(self, store: Path, rows: int) -> None:
        self._file = h5py.File(path_of(store), "r+", locking=False)
        if len(self._file["key"]) != rows:
            raise StoreError(f"{path_of(store)} does not belong to {store}; move it away and run again.")
        self._offset = self._file["offset"][:]
        self._count = self._file["count"][:]

    def put(self, rows: Sequence[int], networks: Sequence[tuple[np.ndarray | None, np.ndarray | None]]) -> None:
        """Write (parameters, slice) of these rows and flush; what is None is left unwritten."""
        for row, (parameters, values) in zip(rows, networks, strict=True):
            if parameters is not None:
                start = self._offset[row]
                self._file["parameters"][start : start + self._count[row]] = parameters
            if values is not None:
                for name, line in zip(("slice_x", "slice_target", "slice_model"), values, strict=True):
                    self._file[name][row] = line
        self._file.flush()

    def close(self) -> None:
        """Flush and close."""
        self._file.close()


def read(store: str | Path, key: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return (parameters, slice (3, points)) of a finished cell, or None where none were kept."""
    with opened(store) as file:
        row = np.flatnonzero(file["key"][:] == key.encode())
        if not len(row) or file["status"][row[0]] not in layout.FINISHED or not path_of(store).exists():
            return None
    try:
        return _read(path_of(store), key)
    except OSError as error:
        raise StoreError(f"{path_of(store)} cannot be read: {error}; move it away to do without weights.") from error


def _read(path: Path, key: str) -> tuple[np.ndarray, np.ndarray] | None:
    with h5py.File(path, "r", locking=False) as file:
        rows = np.flatnonzero(file["key"][:] == key.encode())
        if not len(rows):
            return None
        row, start = rows[0], file["offset"][rows[0]]
        parameters = file["parameters"][start : start + file["count"][row]]
        return parameters, np.stack([file[name][row] for name in ("slice_x", "slice_target", "slice_model")])
