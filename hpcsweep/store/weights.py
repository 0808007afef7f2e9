"""Trained parameters, in FILE.weights.h5 beside the store: one flat, preallocated dataset with offsets.

The space of a cell is reserved when the file is laid out and takes no disk until it is written. A row is valid where
its `kept` is not 0 (1: parameters, 2: slices too, 3: and a raster, which only cells of dimension 2 have), which is
written after the rest. Files from before there were zooms (slices close to the worst point) and rasters are read too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from hpcsweep.errors import StoreError
from hpcsweep.store import checksums, integrity, layout, write_errors
from hpcsweep.store.foreign import refuse
from hpcsweep.store.reading import named, opened
from hpcsweep.store.rewriting import Take, followed, replacing
from hpcsweep.study.cells import Cells

SLICES = ("slice_x", "slice_target", "slice_model")
ZOOMS = ("zoom_x", "zoom_target", "zoom_model")
PICTURES = (*SLICES, *ZOOMS)
BLOCK = 4096  # rows whose checksums are computed at a time
_CHECKED = ("checksum", "picture_checksum")
CHANGING = ("kept", *_CHECKED, "parameters", *PICTURES, "raster_error", "digest")  # overwritten in place


@dataclass(frozen=True)
class Pictures:
    """The stored pictures of a network, each None where it is missing; see `hpcsweep.store.layout.WEIGHTS`."""

    slice: np.ndarray | None = None  # (3, layout.SLICE): coordinate, target, model
    zoom: np.ndarray | None = None  # (3, layout.ZOOM)
    raster: np.ndarray | None = None  # (layout.RASTER, layout.RASTER): target - model; row: first coordinate


def path_of(store: str | Path) -> Path:
    """Return where the weights of a store lie: results.h5 -> results.weights.h5, run.1 -> run.1.weights."""
    name = Path(store).name
    return Path(store).with_name(name.removesuffix(".h5") + (".weights.h5" if name.endswith(".h5") else ".weights"))


def size_of(cells: Cells) -> int:
    """Return about how many bytes the weights of these cells take, once all are written."""
    parameters = 8 * int(cells.columns["parameters"].sum())
    rasters = int((cells.columns["dimension"] == 2).sum()) * 4 * layout.RASTER**2
    return parameters + len(cells) * (24 * (layout.SLICE + layout.ZOOM) + 57) + rasters + 2**14


def build(store: Path, cells: Cells, takes: Sequence[Take], anew: bool = False) -> None:
    """Lay out the weights of `cells`, with those of the rows `takes`. Keeps a file that is right, unless `anew`.

    Raises `StoreError` if they cannot be written, as when the disk has no room for them.
    """
    path = path_of(store)
    if not anew and {take.path for take in takes} <= {store} and is_laid_out(store, cells):
        return
    _refuse_foreign(path)
    write_errors.require_space(followed(path).parent, size_of(cells))
    with write_errors.explained(f"{path} cannot be written"), replacing(path, like=store) as temporary:
        with write_errors.deferred(temporary, "w") as file:
            _lay_out(file, cells)
            for take in takes:
                if path_of(take.path).exists() and integrity.is_sealed(path_of(take.path), CHANGING):
                    _copy(take, file)
        integrity.seal(temporary, CHANGING)


def _refuse_foreign(path: Path) -> None:
    """Raise `StoreError` if a file is there that is not ours: other programs too call files NAME.weights.h5."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        ours = file.read(8) == b"\x89HDF\r\n\x1a\n"
        with contextlib.suppress(OSError, RuntimeError), h5py.File(path, "r", locking=False) as weights:
            ours = ours and {"key", "offset", "count", "kept"} <= set(weights)  # one that is damaged is replaced
        if not ours:
            raise StoreError(f"{path} was not written by hpcsweep; move it away, or choose another file with -o.")


def is_laid_out(store: Path, cells: Cells) -> bool:
    """Return whether the weights of a store are there, laid out for these cells, and undamaged outside their rows."""
    path = path_of(store)
    try:
        with h5py.File(path, "r", locking=False) as file:
            same = layout.WEIGHTS.keys() <= set(file) and np.array_equal(file["key"][:], cells.columns["key"])
        return same and integrity.is_sealed(path, CHANGING)
    except (OSError, RuntimeError, KeyError, ValueError):
        return False


@contextlib.contextmanager
def _opened(store: str | Path) -> Iterator[h5py.File]:
    """Open the weights of a store for reading. Raises `StoreError` if they cannot be read."""
    path = path_of(store)
    try:
        with h5py.File(path, "r", locking=False) as file:
            refuse(file, ("key", "offset", "count", "kept", "raster", *_CHECKED, *PICTURES))
            yield file
    except (OSError, KeyError) as error:
        raise StoreError(f"{path} cannot be read: {error}; move it away to run without weights.") from error


def _lay_out(file: h5py.File, cells: Cells) -> None:
    counts = cells.columns["parameters"].astype(np.int64)
    pictured = cells.columns["dimension"] == 2
    sizes = {"file": 1, "first": layout.RASTER, "second": layout.RASTER, "slice": layout.SLICE, "zoom": layout.ZOOM}
    for name, size in {**sizes, "cell": len(cells), "picture": int(pictured.sum())}.items():
        layout.make_dimension(file, name, size)
    file.create_dataset("parameter", shape=(int(counts.sum()),), dtype="i1").make_scale("parameter")  # never written
    for name, column in layout.WEIGHTS.items():
        layout.make(file, name, column, tuple(len(file[dimension]) for dimension in column.dimensions))
    file["key"][:] = cells.columns["key"]
    file["count"][:] = counts
    file["offset"][:] = np.cumsum(counts) - counts
    file["raster"][:] = np.where(pictured, np.cumsum(pictured) - 1, -1)


def _copy(take: Take, new: h5py.File) -> None:
    """Copy the parameters and pictures of the rows of one store, as far as they were kept."""
    with opened(take.path) as store, _opened(take.path) as old:
        keys, kept = store["key"][:][take.origin], old["kept"][:]
        _, where, origins = np.intersect1d(keys, old["key"][:], return_indices=True)
        order = np.argsort(take.target[where])
        order = order[kept[origins[order]] > 0]
        rows, origins = take.target[where[order]], origins[order]
        ends = {file: np.append(file["offset"][:], len(file["parameters"])) for file in (new, old)}
        for row, origin, size in _pieces(rows, origins):
            (start, end), (begin, stop) = ends[new][[row, row + size]], ends[old][[origin, origin + size]]
            new["parameters"][start:end] = old["parameters"][begin:stop]
            for name in (name for name in (*PICTURES, *_CHECKED, "kept") if name in old):
                new[name][row : row + size] = old[name][origin : origin + size]
        if (pictured := kept[origins] == 3).any():  # a file without rasters has no such rows
            rasters = new["raster"][:][rows[pictured]], old["raster"][:][origins[pictured]]
            for row, origin, size in _pieces(*rasters):
                new["raster_error"][row : row + size] = old["raster_error"][origin : origin + size]
        if "checksum" not in old and len(rows):  # which is from before there were checksums
            new["checksum"][rows] = _parameter_sums(new, rows)
            new["picture_checksum"][rows] = _picture_sums(new, rows)


def _pieces(rows: np.ndarray, origins: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Yield (row, origin, size) of pieces that are consecutive in both files, each of at most 4096 rows."""
    index = np.arange(len(rows))
    breaks = (np.diff(rows) != 1) | (np.diff(origins) != 1) | (index[1:] % 4096 == 0)
    for piece in np.split(index, np.flatnonzero(breaks) + 1):
        if len(piece):
            yield int(rows[piece[0]]), int(origins[piece[0]]), len(piece)


def _parameter_sums(file: h5py.File, rows: np.ndarray) -> np.ndarray:
    """Return the checksums that the parameters of rows (ascending) of a file should have, (rows,)."""
    sums, (offsets, counts) = np.empty(len(rows), np.uint64), (file[name][:][rows] for name in ("offset", "count"))
    keys = file["key"][:][rows]
    for start in range(0, len(rows), BLOCK):
        block = slice(start, start + BLOCK)
        first, count_of = offsets[block].min(), counts[block]
        values = file["parameters"][first : (offsets[block] + count_of).max()]
        sums[block] = checksums.rows({"key": keys[block]})
        for count in np.unique(count_of):
            same = start + np.flatnonzero(count_of == count)
            taken = values[(offsets[same] - first)[:, None] + np.arange(count)]
            sums[same] += checksums.contribution("parameters", taken)
    return sums


def _picture_sums(file: h5py.File, rows: np.ndarray) -> np.ndarray:
    """Return the checksums that the pictures of rows (ascending) of a file should have, (rows,)."""
    sums, kept, rasters = np.empty(len(rows), np.uint64), file["kept"][:][rows], file["raster"][:][rows]
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        lines = {name: file[name][block] for name in PICTURES if name in file}
        sums[start : start + BLOCK] = checksums.rows({"key": file["key"][block], **lines})
    for place in np.flatnonzero(kept == 3).tolist():
        image = file["raster_error"][rasters[place]][None]
        sums[place : place + 1] += checksums.contribution("raster_error", image)
    return sums


def missing(store: Path, keys: np.ndarray) -> list[str]:
    """Return which of these finished cells have no parameters."""
    if path_of(store).exists():
        with _opened(store) as file:
            keys = np.setdiff1d(keys, file["key"][:][file["kept"][:] != 0])
    return [key.decode() for key in keys.tolist()]


def damaged(store: Path, keys: np.ndarray) -> list[str]:
    """Return which of these finished cells have damaged parameters or pictures."""
    if not path_of(store).exists():
        return []
    with _opened(store) as file:
        kept = file["kept"][:]
        rows = np.flatnonzero((kept != 0) & np.isin(file["key"][:], keys))
        there = file["key"][:][rows]
        bad = ~np.isin(kept[rows], (1, 2, 3))
        if "checksum" in file and len(rows):
            bad |= file["checksum"][:][rows] != _parameter_sums(file, rows)
            pictured = np.flatnonzero(kept[rows] >= 2)
            shown = rows[pictured]
            bad[pictured] |= file["picture_checksum"][:][shown] != _picture_sums(file, shown)
    return [key.decode() for key in there[bad].tolist()]


def differing(store: Path, other: Path, keys: np.ndarray) -> set[bytes]:
    """Return which of these cells have something kept in the weights of `other` that those of `store` have not."""
    asked = set(keys.tolist())
    if not path_of(other).exists() or not asked:
        return set()
    if not path_of(store).exists():
        return asked
    with _opened(store) as main, _opened(other) as part:
        row_of = {key: row for row, key in enumerate(main["key"][:].tolist())}
        kept = np.flatnonzero(part["kept"][:]).tolist()
        named = zip(part["key"][:][kept].tolist(), kept, strict=True)
        return {key for key, row in named if key in asked and not _has(main, row_of.get(key), part, row)}


def _has(main: h5py.File, row: int | None, part: h5py.File, origin: int) -> bool:
    """Whether `main` has in a row what `part` keeps of the cell, to the bit."""
    if row is None or main["kept"][row] < part["kept"][origin]:
        return False
    ours, theirs = ([parameters, *vars(kept).values()] for parameters, kept in (_kept(main, row), _kept(part, origin)))
    pairs = zip(ours, theirs, strict=True)
    return all(b is None or (a is not None and a.tobytes() == b.tobytes()) for a, b in pairs)


def pictured(store: Path) -> np.ndarray:
    """Return `kept`, (cells,) integers, of the rows that have a slice and a place for a zoom; 0 of all others.

    That is 0 of all where there are no weights of just these cells, or they are from before there were zooms.
    Raises `StoreError` if the weights cannot be read.
    """
    with opened(store) as file:
        keys = file["key"][:]
    if path_of(store).exists():
        with _opened(store) as file:
            if ZOOMS[0] in file and np.array_equal(file["key"][:], keys):
                kept = file["kept"][:]
                return np.where(kept >= 2, kept, 0)
    return np.zeros(len(keys), np.int8)


def parameters(store: str | Path, keys: Sequence[str]) -> list[np.ndarray | None]:
    """Return the parameters of the cells of these keys, None where none were kept.

    Raises `StoreError` if the weights cannot be read.
    """
    if not path_of(store).exists():
        return [None] * len(keys)
    with _opened(store) as file:
        row_of = {key: row for row, key in enumerate(file["key"][:].tolist())}
        offset, count, kept = (file[name][:] for name in ("offset", "count", "kept"))
        rows, data = [row_of.get(key.encode(), -1) for key in keys], file["parameters"]
        rows = [row if row >= 0 and kept[row] else -1 for row in rows]
        _require_sound(file, np.unique([row for row in rows if row >= 0]).astype(np.int64))
        return [data[offset[row] : offset[row] + count[row]] if row >= 0 else None for row in rows]


def _require_sound(file: h5py.File, rows: np.ndarray) -> None:
    """Raise `StoreError` if the parameters of rows (ascending) are not those that were stored."""
    if "checksum" in file and len(rows):
        bad = rows[file["checksum"][:][rows] != _parameter_sums(file, rows)]
        if len(bad):
            keys = [key.decode() for key in file["key"][:][bad].tolist()]
            raise StoreError(
                f"{file.filename}: the parameters of {named(keys)} are damaged; `run` with --repair trains these cells "
                "again."
            )


def pictures(store: str | Path, key: str) -> Pictures:
    """Return the pictures of a finished cell. Raises `StoreError` if the weights cannot be read."""
    with opened(store) as file:
        row = np.flatnonzero(file["key"][:] == key.encode())
        if not len(row) or file["status"][row[0]] not in layout.FINISHED or not path_of(store).exists():
            return Pictures()
    with _opened(store) as file:
        row = np.flatnonzero(file["key"][:] == key.encode())
        if "checksum" in file and (file["picture_checksum"][:][row] != _picture_sums(file, row)).any():
            return Pictures()  # damaged, or just being replaced
        return _kept(file, row[0])[1] if len(row) else Pictures()


def _kept(file: h5py.File, row: int) -> tuple[np.ndarray, Pictures]:
    """Return the parameters and the pictures of a row of a file of weights."""
    start, kept = file["offset"][row], file["kept"][row]
    parameters = file["parameters"][start : start + file["count"][row]]
    if kept < 2:
        return parameters, Pictures()
    line = np.stack([file[name][row] for name in SLICES])
    zoom = np.stack([file[name][row] for name in ZOOMS]) if ZOOMS[0] in file else np.zeros((3, 2))
    raster = file["raster_error"][file["raster"][row]] if kept == 3 else None
    return parameters, Pictures(line, zoom if zoom[0, 0] < zoom[0, -1] else None, raster)
