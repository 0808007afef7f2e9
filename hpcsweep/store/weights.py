"""Trained parameters, in FILE.weights.h5 beside the store: one flat, preallocated dataset with offsets.

The space of a cell is reserved when the file is laid out and takes no disk until it is written. A row is valid where
its `kept` is not 0 (1: parameters, 2: slices too, 3: and a raster, which only cells of dimension 2 have), which is
written after the rest. Files from before there were zooms (slices close to the worst point) and rasters are read too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from hpcsweep.errors import StoreError
from hpcsweep.store import deferred_errors, layout
from hpcsweep.store.files import Take, opened, replacing, require_space
from hpcsweep.store.row_writer import Datasets
from hpcsweep.study.cells import Cells

SLICES = ("slice_x", "slice_target", "slice_model")
ZOOMS = ("zoom_x", "zoom_target", "zoom_model")
RASTERS = ("raster", "raster_error")
Kept = tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None, np.ndarray | None]


@dataclass(frozen=True)
class Pictures:
    """What is kept of a network to be looked at, each None where it is not; see `hpcsweep.store.layout.WEIGHTS`."""

    slice: np.ndarray | None = None  # (3, layout.SLICE): coordinate, target, model
    zoom: np.ndarray | None = None  # (3, layout.ZOOM)
    raster: np.ndarray | None = None  # (layout.RASTER, layout.RASTER): target - model; row: first coordinate


def path_of(store: str | Path) -> Path:
    """Return where the weights of a store lie: results.h5 -> results.weights.h5, run.1 -> run.1.weights."""
    name = Path(store).name
    return Path(store).with_name(name.removesuffix(".h5") + (".weights.h5" if name.endswith(".h5") else ".weights"))


def size_of(cells: Cells) -> int:
    """Return about how many bytes the weights of these cells take, once all are written."""
    rasters = int((cells.columns["dimension"] == 2).sum()) * 4 * layout.RASTER**2
    return (
        8 * int(cells.columns["parameters"].sum())
        + len(cells) * (24 * (layout.SLICE + layout.ZOOM) + 57)
        + rasters
        + 2**14
    )


def build(store: Path, cells: Cells, takes: Sequence[Take]) -> None:
    """Lay out the weights of `cells`, with those of the rows `takes`. Keeps a file that is right already.

    Raises `StoreError` if they cannot be written, as when the disk has no room for them.
    """
    path = path_of(store)
    if {take.path for take in takes} <= {store} and _has_keys(path, cells):
        return
    require_space(path.parent, size_of(cells))
    try:
        with replacing(path) as temporary, deferred_errors.written(temporary, "w") as file:
            _lay_out(file, cells)
            for take in takes:
                if path_of(take.path).exists():
                    _copy(take, file)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {deferred_errors.reason(error)}.") from error


def _has_keys(path: Path, cells: Cells) -> bool:
    try:
        with h5py.File(path, "r", locking=False) as file:
            return layout.WEIGHTS.keys() <= set(file) and np.array_equal(file["key"][:], cells.columns["key"])
    except OSError:
        return False


def _lay_out(file: h5py.File, cells: Cells) -> None:
    counts = cells.columns["parameters"].astype(np.int64)
    pictured = cells.columns["dimension"] == 2
    for name in ("first", "second"):
        layout.make_dimension(file, name, layout.RASTER)
    for name, size in {
        "cell": len(cells),
        "slice": layout.SLICE,
        "zoom": layout.ZOOM,
        "picture": int(pictured.sum()),
    }.items():
        layout.make_dimension(file, name, size)
    file.create_dataset("parameter", shape=(int(counts.sum()),), dtype="i1").make_scale("parameter")  # never written
    for name, column in layout.WEIGHTS.items():
        layout.make(file, name, column, tuple(len(file[dimension]) for dimension in column.dimensions))
    file["key"][:] = cells.columns["key"]
    file["count"][:] = counts
    file["offset"][:] = np.cumsum(counts) - counts
    file["raster"][:] = np.where(pictured, np.cumsum(pictured) - 1, -1)


def _copy(take: Take, new: h5py.File) -> None:
    """Copy the parameters and slices of the rows of one store, as far as they were kept."""
    with opened(take.path) as store, h5py.File(path_of(take.path), "r", locking=False) as old:
        keys, kept = store["key"][:][take.origin], old["kept"][:]
        _, where, origins = np.intersect1d(keys, old["key"][:], return_indices=True)
        where, origins = where[kept[origins] > 0], origins[kept[origins] > 0]
        order = np.argsort(take.target[where])
        rows, origins = take.target[where][order], origins[order]
        ends = {file: np.append(file["offset"][:], len(file["parameters"])) for file in (new, old)}
        for piece in _pieces(rows, origins):
            row, origin, size = rows[piece[0]], origins[piece[0]], len(piece)
            (start, end), (begin, stop) = ends[new][[row, row + size]], ends[old][[origin, origin + size]]
            new["parameters"][start:end] = old["parameters"][begin:stop]
            for name in (name for name in (*SLICES, *ZOOMS, "kept") if name in old):
                new[name][row : row + size] = old[name][origin : origin + size]
        _copy_rasters(old, new, origins[kept[origins] == 3], rows[kept[origins] == 3])


def _copy_rasters(old: h5py.File, new: h5py.File, origins: np.ndarray, rows: np.ndarray) -> None:
    """Copy the rasters of rows that have one; a file without them has no such rows."""
    if not len(rows):
        return
    target, source = new["raster"][:][rows], old["raster"][:][origins]
    for piece in _pieces(target, source):
        start, begin, size = target[piece[0]], source[piece[0]], len(piece)
        new["raster_error"][start : start + size] = old["raster_error"][begin : begin + size]


def _pieces(rows: np.ndarray, origins: np.ndarray) -> list[np.ndarray]:
    """Split matching rows into pieces that are consecutive in both files, each of at most 4096 rows."""
    index = np.arange(len(rows))
    breaks = (np.diff(rows) != 1) | (np.diff(origins) != 1) | (index[1:] % 4096 == 0)
    return [piece for piece in np.split(index, np.flatnonzero(breaks) + 1) if len(piece)]


def differing(store: Path, other: Path, keys: np.ndarray) -> set[bytes]:
    """Return which of these cells have something kept in the weights of `other` that those of `store` have not."""
    if not path_of(other).exists() or not len(keys):
        return set()
    if not path_of(store).exists():
        return set(keys.tolist())
    wanted = set(keys.tolist())
    with _opened(path_of(store)) as main, _opened(path_of(other)) as part:
        row_of = {key: row for row, key in enumerate(main["key"][:].tolist())}
        kept = np.flatnonzero(part["kept"][:]).tolist()
        named = zip(part["key"][:][kept].tolist(), kept, strict=True)
        return {key for key, row in named if key in wanted and not _same(main, row_of.get(key), part, row)}


def _opened(path: Path) -> h5py.File:
    return h5py.File(path, "r", locking=False)


def _same(main: h5py.File, row: int | None, part: h5py.File, origin: int) -> bool:
    """Whether what `part` keeps of a cell is in `main` to the bit."""
    if row is None or main["kept"][row] < part["kept"][origin]:
        return False
    (start, begin), count = (file["offset"][at] for file, at in ((main, row), (part, origin))), part["count"][origin]
    names = [name for name in (*SLICES, *ZOOMS) if name in part] if part["kept"][origin] >= 2 else []
    pairs = [(main["parameters"][start : start + count], part["parameters"][begin : begin + count])]
    pairs += [(main[name][row], part[name][origin]) for name in names if name in main]
    if part["kept"][origin] == 3:
        pairs.append((main["raster_error"][main["raster"][row]], part["raster_error"][part["raster"][origin]]))
    return all(ours.tobytes() == theirs.tobytes() for ours, theirs in pairs)


class Writer:
    """The weights file of a store, open for overwriting rows."""

    def __init__(self, store: Path, rows: int) -> None:
        self._data = Datasets(path_of(store), ("offset", "count", "parameters", "kept", *SLICES, *ZOOMS, *RASTERS))
        if self._data.shape("kept") != (rows,):
            raise StoreError(f"{path_of(store)} does not belong to {store}; move it away and run again.")
        self._offset, self._count, self._raster = (self._data[name] for name in ("offset", "count", "raster"))

    def put(self, rows: Sequence[int], networks: Sequence[Kept]) -> None:
        """Write parameters, slice, zoom and raster of these rows (ascending) where they are there, at last `kept`.

        A zoom or a raster without a slice is left out.
        """
        kept, pictured, lines, zooms = [], [], [], []
        for row, (parameters, values, zoom, raster) in zip(rows, networks, strict=True):
            if parameters is not None:
                if parameters.shape != (self._count[row],):
                    raise ValueError(f"{parameters.shape} parameters for a cell of {self._count[row]}")
                shown = values is not None and raster is not None and self._raster[row] >= 0
                kept.append((row, 1 if values is None else 3 if shown else 2))
                self._data.put("parameters", self._offset[row], parameters)
            if values is not None:
                pictured.append(row)
                lines.append(values)
                zooms.append(np.zeros((3, layout.ZOOM)) if zoom is None else zoom)
                if raster is not None and self._raster[row] >= 0:
                    self._data.put("raster_error", int(self._raster[row]), raster[None])
        if pictured:
            self._data.write(pictured, dict(zip(SLICES, np.stack(lines, axis=1), strict=True)))
            self._data.write(pictured, dict(zip(ZOOMS, np.stack(zooms, axis=1), strict=True)))
        self._data.write([row for row, _ in kept], {"kept": [mark for _, mark in kept]})

    def draw(self, kept: Mapping[int, int], lines: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        """Replace slices and zooms of the rows of `kept` (ascending), which is said of them again when all is in place.

        Until then they have no pictures, so that nobody sees a target of one line beside a network of another.
        """
        rows = list(kept)
        self._data.write(rows, {"kept": [1] * len(rows)})
        for names, values in zip((SLICES, ZOOMS), zip(*lines, strict=True), strict=True):
            self._data.write(rows, dict(zip(names, np.stack(values, axis=1), strict=True)))
        self._data.write(rows, {"kept": list(kept.values())})

    def close(self) -> None:
        """Close the file, all that was written on the disk."""
        self._data.close()


def pictured(store: Path) -> np.ndarray:
    """Return `kept`, (cells,) integers, of the rows that have a slice and a place for a zoom; 0 of all others.

    That is 0 of all where there are no weights of just these cells, or they are from before there were zooms.
    Raises `StoreError` if the weights cannot be read.
    """
    with opened(store) as file:
        keys = file["key"][:]
    try:
        if path_of(store).exists():
            with _opened(path_of(store)) as file:
                if ZOOMS[0] in file and np.array_equal(file["key"][:], keys):
                    kept = file["kept"][:]
                    return np.where(kept >= 2, kept, 0)
    except (OSError, KeyError) as error:
        raise StoreError(f"{path_of(store)} cannot be read: {error}; move it away to run without weights.") from error
    return np.zeros(len(keys), np.int8)


def parameters(store: str | Path, keys: Sequence[str]) -> list[np.ndarray | None]:
    """Return the parameters of the cells of these keys, None where none were kept.

    Raises `StoreError` if the weights cannot be read.
    """
    path = path_of(store)
    if not path.exists():
        return [None] * len(keys)
    try:
        with h5py.File(path, "r", locking=False) as file:
            rows = {key: row for row, key in enumerate(file["key"][:].tolist())}
            offset, count, kept = (file[name][:] for name in ("offset", "count", "kept"))
            found = [rows.get(key.encode(), -1) for key in keys]
            data = file["parameters"]
            return [data[offset[row] : offset[row] + count[row]] if row >= 0 and kept[row] else None for row in found]
    except (OSError, KeyError) as error:
        raise StoreError(f"{path} cannot be read: {error}; move it away to run without weights.") from error


def read(store: str | Path, key: str) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Return (parameters, slice (3, points) or None) of a finished cell; None where nothing was kept.

    Raises `StoreError` if the weights cannot be read.
    """
    kept = _read(store, key)
    return None if kept is None else (kept[0], kept[1].slice)


def pictures(store: str | Path, key: str) -> Pictures:
    """Return what there is to be looked at of a finished cell. Raises `StoreError` if the weights cannot be read."""
    kept = _read(store, key)
    return Pictures() if kept is None else kept[1]


def _read(store: str | Path, key: str) -> tuple[np.ndarray, Pictures] | None:
    with opened(store) as file:
        row = np.flatnonzero(file["key"][:] == key.encode())
        if not len(row) or file["status"][row[0]] not in layout.FINISHED or not path_of(store).exists():
            return None
    try:
        with _opened(path_of(store)) as file:
            rows = np.flatnonzero(file["key"][:] == key.encode())
            return _kept(file, rows[0]) if len(rows) and file["kept"][rows[0]] else None
    except (OSError, KeyError) as error:
        raise StoreError(f"{path_of(store)} cannot be read: {error}; move it away to run without weights.") from error


def _kept(file: h5py.File, row: int) -> tuple[np.ndarray, Pictures]:
    start, kept = file["offset"][row], file["kept"][row]
    parameters = file["parameters"][start : start + file["count"][row]]
    if kept < 2:
        return parameters, Pictures()
    line = np.stack([file[name][row] for name in SLICES])
    zoom = np.stack([file[name][row] for name in ZOOMS]) if ZOOMS[0] in file else np.zeros((3, 2))
    raster = file["raster_error"][file["raster"][row]] if kept == 3 else None
    return parameters, Pictures(line, zoom if zoom[0, 0] < zoom[0, -1] else None, raster)
