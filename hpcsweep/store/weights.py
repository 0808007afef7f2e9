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
from hpcsweep.store import checksums, copying, integrity, layout, lease, write_errors
from hpcsweep.store.foreign import refuse
from hpcsweep.store.reading import named, opened
from hpcsweep.store.rewriting import Take, followed, replacing
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


def build(store: Path, cells: Cells, takes: Sequence[Take], anew: bool = False) -> None:
    """Lay out the weights of `cells`, with those of the rows `takes`. Keeps a file that is right, unless `anew`.

    Raises `StoreError` if they cannot be written, as when the disk has no room for them.
    """
    path = path_of(store)
    others = {take.path for take in takes if len(take.target)} - {store}
    if not anew and not others and is_laid_out(store, cells):
        return
    _refuse_foreign(path)
    write_errors.require_space(followed(path).parent, size_of(cells))
    with write_errors.explained(f"{path} cannot be written"), replacing(path, like=store) as temporary:
        with write_errors.deferred(temporary, "w") as file:
            _lay_out(file, cells)
            for start in range(0, len(takes), copying.AT_ONCE):
                _copy(takes[start : start + copying.AT_ONCE], file, cells.columns["key"])
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
            return same and integrity.is_sealed(file, CHANGING)
    except (OSError, RuntimeError, KeyError, ValueError):
        return False


@contextlib.contextmanager
def opened_weights(store: str | Path) -> Iterator[h5py.File]:
    """Open the weights of a store for reading. Raises `StoreError` if they cannot be read."""
    path = path_of(store)
    try:
        with h5py.File(path, "r", locking=False) as file:
            refuse(file, ("key", "offset", "count", "kept", "raster", *CHECKED, *PICTURES))
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


def _copy(takes: Sequence[Take], new: h5py.File, keys: np.ndarray) -> None:
    """Copy the parameters and pictures of rows of some stores, as far as they were kept.

    `keys` are those of the new rows. A file that is damaged outside its rows has none.
    """
    starts, pictured = new["offset"][:], new["raster"][:]
    rows, segments, rasters, unsealed = [], [], [], []
    with contextlib.ExitStack() as stack:
        for take in takes:
            if not (len(take.target) and path_of(take.path).exists()):
                continue
            old = stack.enter_context(opened_weights(take.path))
            if not integrity.is_sealed(old, CHANGING):
                continue
            origin, kept = KeyIndex(old["key"][:]).rows(keys[take.target]), old["kept"][:]
            there = (origin >= 0) & (kept[origin] > 0)
            origin, target = origin[there], take.target[there]
            rows.append((old, origin, target))
            segments.append((old["parameters"], old["offset"][:][origin], starts[target], old["count"][:][origin]))
            if (shown := kept[origin] == 3).any():  # a file without rasters has no such rows
                rasters.append((old["raster_error"], old["raster"][:][origin[shown]], pictured[target[shown]]))
            if "checksum" not in old:  # which is from before there were checksums
                unsealed.append(target)
        copying.copy_segments(new["parameters"], segments)
        for name in (*PICTURES, *CHECKED, "kept"):
            copying.copy(new[name], [(old[name], origin, target) for old, origin, target in rows if name in old])
        copying.copy(new["raster_error"], rasters)
    for target in unsealed:
        new["checksum"][target] = parameter_sums(new, target)
        new["picture_checksum"][target] = picture_sums(new, target)


def parameter_sums(file: h5py.File, rows: np.ndarray) -> np.ndarray:
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


def picture_sums(file: h5py.File, rows: np.ndarray) -> np.ndarray:
    """Return the checksums that the pictures of rows (ascending) of a file should have, (rows,)."""
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
        kept = file["kept"][:]
        rows = np.flatnonzero((kept != 0) & np.isin(file["key"][:], keys))
        there = file["key"][:][rows]
        bad = ~np.isin(kept[rows], (1, 2, 3))
        if "checksum" in file and len(rows):
            bad |= file["checksum"][:][rows] != parameter_sums(file, rows)
            pictured = np.flatnonzero(kept[rows] >= 2)
            shown = rows[pictured]
            bad[pictured] |= file["picture_checksum"][:][shown] != picture_sums(file, shown)
    return [key.decode() for key in there[bad].tolist()]


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
            if not len(row) or file["kept"][row[0]] < 2:
                return Pictures()
            if "checksum" not in file or (file["picture_checksum"][:][row] == picture_sums(file, row)).all():
                return _kept(file, row[0])[1]
        if pause is None or lease.holder(Path(store)) is None:
            break
        time.sleep(pause)
    print(f"hpcsweep: the pictures of {key} in {path_of(store)} are damaged, and are not shown.", file=sys.stderr)
    return Pictures()


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
