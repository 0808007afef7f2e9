"""Trained parameters, in FILE.weights.h5 beside the store: one flat, preallocated dataset with offsets.

The space of a cell is reserved when the file is laid out and takes no disk until it is written. A row is valid where
its `kept` is not 0 (1: parameters, 2: slices too, 3: and a raster, which only cells of dimension 2 have), which is
written after the rest. Files from before there were zooms (slices close to the worst point) and rasters are read too.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from hpcsweep.errors import StoreError
from hpcsweep.store import checksums, copying, layout, lease
from hpcsweep.store.foreign import refuse
from hpcsweep.store.reading import UNREADABLE, named, open_file, opened
from hpcsweep.study.cells import Cells
from hpcsweep.study.keys import KeyIndex

SLICES = ("slice_x", "slice_target", "slice_model")
ZOOMS = ("zoom_x", "zoom_target", "zoom_model")
PICTURES = (*SLICES, *ZOOMS)
BLOCK = 4096  # rows whose checksums are computed at a time
CHECKED = ("checksum", "picture_checksum")
CHANGING = ("kept", *CHECKED, "parameters", *PICTURES, "raster_error", "digest")  # overwritten in place


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


@contextlib.contextmanager
def opened_weights(store: str | Path) -> Iterator[h5py.File]:
    """Open the weights of a store for reading. Raises `StoreError` if they cannot be read."""
    path = path_of(store)
    try:
        with open_file(path) as file:
            refuse(file, ("key", "offset", "count", "kept", "raster", *CHECKED, *PICTURES))
            yield file
    except UNREADABLE as error:
        raise StoreError(f"{path} cannot be read: {error}; move it away to run without weights.") from error


def parameter_sums(file: h5py.File, rows: np.ndarray) -> np.ndarray:
    """Return the checksums that the parameters of rows of a file should have, (rows,)."""
    keys, offsets, counts = (file[name][:][rows] for name in ("key", "offset", "count"))
    sums, order = checksums.rows({"key": keys}), np.argsort(offsets, kind="stable")
    for start in range(0, len(rows), BLOCK):
        block = order[start : start + BLOCK]
        first = offsets[block[0]]
        values = file["parameters"][first : (offsets[block] + counts[block]).max()]
        for count in np.unique(counts[block]):
            same = block[counts[block] == count]
            taken = values[(offsets[same] - first)[:, None] + np.arange(count)]
            sums[same] += checksums.contribution("parameters", taken)
    return sums


def picture_sums(file: h5py.File, rows: np.ndarray) -> np.ndarray:
    """Return the checksums that the pictures of rows of a file should have, (rows,)."""
    sums, kept, rasters = np.empty(len(rows), np.uint64), file["kept"][:][rows], file["raster"][:][rows]
    for start in range(0, len(rows), BLOCK):
        block = slice(start, start + BLOCK)
        names = [name for name in ("key", *PICTURES) if name in file]
        sums[block] = checksums.rows({name: copying.gathered(file[name], rows[block]) for name in names})
        shown = start + np.flatnonzero(kept[block] == 3)
        if len(shown):
            images = copying.gathered(file["raster_error"], rasters[shown])
            sums[shown] += checksums.contribution("raster_error", images)
    return sums


def missing(store: Path, keys: np.ndarray) -> list[str]:
    """Return which of these finished cells have no parameters."""
    if path_of(store).exists():
        with opened_weights(store) as file:
            keys = np.setdiff1d(keys, file["key"][:][file["kept"][:] != 0])
    return [key.decode() for key in keys.tolist()]


def damaged(store: Path, keys: np.ndarray) -> list[str]:
    """Return which of these finished cells have damaged parameters or pictures."""
    if not path_of(store).exists():
        return []
    with opened_weights(store) as file:
        there = file["key"][:]
        rows = np.flatnonzero((file["kept"][:] != 0) & np.isin(there, keys))
        return [key.decode() for key in there[rows[~intact(file, rows)]].tolist()]


def intact(file: h5py.File, rows: np.ndarray) -> np.ndarray:
    """Return which of these rows, of which something is kept, have the parameters and pictures that were stored.

    (rows,) bool, from the rows alone, however the rest of the file is damaged; files of earlier versions have no
    checksums.
    """
    kept, raster, offset, count = (file[name][:][rows] for name in ("kept", "raster", "offset", "count"))
    good = np.isin(kept, (1, 2, 3)) & (offset >= 0) & (count >= 0) & (offset <= len(file["parameters"]) - count)
    good &= (kept != 3) | (raster >= 0) & (raster < len(file["raster_error"]))
    if "checksum" in file:
        inside = np.flatnonzero(good)
        sound = file["checksum"][:][rows[inside]] == parameter_sums(file, rows[inside])
        good[inside] = sound & _pictures_hold(file, rows[inside])
    return good


def _pictures_hold(file: h5py.File, rows: np.ndarray) -> np.ndarray:
    """Return which rows have the pictures that were stored, (rows,) bool: parameters alone have a checksum of 0."""
    kept, stored = file["kept"][:][rows], file["picture_checksum"][:][rows]
    good, shown = (kept == 0) | (stored == 0), kept >= 2
    good[shown] = stored[shown] == picture_sums(file, rows[shown])
    return good


def pictured(store: Path) -> np.ndarray:
    """Return `kept`, (cells,) integers, of the rows that have a slice and a place for a zoom; 0 of all others.

    That is 0 of all where there are no weights of just these cells, or they are from before there were zooms.
    Raises `StoreError` if the weights cannot be read.
    """
    with opened(store) as file:
        keys = file["key"][:]
    if path_of(store).exists():
        with opened_weights(store) as file:
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
    with opened_weights(store) as file:
        kept = np.append(file["kept"][:], 0)
        rows = KeyIndex(file["key"][:]).rows(np.array([key.encode() for key in keys], "S32"))
        there = np.flatnonzero(kept[rows])
        _require_sound(file, np.unique(rows[there]))
        offset, count = file["offset"][:], file["count"][:]
        vectors: list[np.ndarray | None] = [None] * len(keys)
        for start in range(0, len(there), BLOCK):
            block = there[start : start + BLOCK]
            counts = count[rows[block]]
            values = copying.gathered(file["parameters"], copying.spread(offset[rows[block]], counts))
            for place, vector in zip(block.tolist(), np.split(values, np.cumsum(counts)[:-1]), strict=True):
                vectors[place] = vector
    return vectors


def _require_sound(file: h5py.File, rows: np.ndarray) -> None:
    """Raise `StoreError` if the parameters of rows (ascending) are not those that were stored."""
    if "checksum" in file and len(rows):
        bad = rows[file["checksum"][:][rows] != parameter_sums(file, rows)]
        if len(bad):
            keys = [key.decode() for key in file["key"][:][bad].tolist()]
            raise StoreError(
                f"{file.filename}: the parameters of {named(keys)} are damaged; `run` with --repair trains these cells "
                "again."
            )


def pictures(store: str | Path, key: str) -> Pictures:
    """Return the pictures of a finished cell; none where they are damaged, with a sentence on the standard error.

    Raises `StoreError` if the weights cannot be read.
    """
    with opened(store) as file:
        row = np.flatnonzero(file["key"][:] == key.encode())
        if not len(row) or file["status"][row[0]] not in layout.FINISHED or not path_of(store).exists():
            return Pictures()
    for pause in (0.1, 0.3, 1.0, None):  # they may just be replaced
        with opened_weights(store) as file:
            row = np.flatnonzero(file["key"][:] == key.encode())
            if not len(row):
                return Pictures()
            if "checksum" not in file or _pictures_hold(file, row).all():
                return _pictures(file, row[0])
        if pause is None or lease.holder(Path(store)) is None:
            break
        time.sleep(pause)
    print(f"hpcsweep: the pictures of {key} in {path_of(store)} are damaged, and are not shown.", file=sys.stderr)
    return Pictures()


def _pictures(file: h5py.File, row: int) -> Pictures:
    """Return the pictures of a row of a file of weights."""
    kept = file["kept"][row]
    if kept < 2:
        return Pictures()
    line = np.stack([file[name][row] for name in SLICES])
    zoom = np.stack([file[name][row] for name in ZOOMS]) if ZOOMS[0] in file else np.zeros((3, 2))
    raster = file["raster_error"][file["raster"][row]] if kept == 3 else None
    return Pictures(line, zoom if zoom[0, 0] < zoom[0, -1] else None, raster)
