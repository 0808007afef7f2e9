"""Writing a whole store anew: the only way in which its structure ever changes.

`build` lays out a file for given cells and copies into it, by key, what other stores hold of them. Creating, resuming,
extending and merging are this one function.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import h5py
import numpy as np

from hpcsweep import layout
from hpcsweep.cells import Cells
from hpcsweep.errors import StoreError

BLOCK = 2**15  # rows copied at a time


@dataclass(frozen=True)
class Run:
    """Provenance of one launch."""

    host: str
    job: str
    ranks: int
    devices: str
    versions: str
    started: float
    seconds: float = float("nan")


@dataclass(frozen=True)
class Source:
    """A store from which finished rows are copied."""

    path: Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path; when the block ends well, its file is on disk and takes the place of `path`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Force a file, or the entries of a folder, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def build(path: Path, cells: Cells, title: str, text: str, runs: list[Run], sources: list[Source]) -> None:
    """Write the store of `cells` to `path`, with the finished rows of `sources`, earlier sources first.

    Raises `StoreError` if the disk has no room for it.
    """
    _require_space(path.parent, size_of(cells))
    with h5py.File(path, "w", locking=False) as file:
        _lay_out(file, cells, len(runs))
        for name, values in zip([f"run_{field.name}" for field in fields(Run)], _transposed(runs), strict=True):
            file[name][:] = values
        file.attrs["coordinates"] = " ".join([*layout.NAMED, *cells.extra])
        known = {"format": layout.FORMAT, "title": title, "study": text}
        file.attrs.update({**known, "precision": cells.precision, "seed": cells.seed})
        for source in sources:
            with h5py.File(source.path, "r", locking=False) as old:
                _copy(old, file, cells)


def size_of(cells: Cells) -> int:
    """Return about how many bytes the store of these cells takes."""
    shape = {"cell": 1, "axis": int(cells.columns["dimension"].max(initial=1)), "checkpoint": layout.CHECKPOINTS}
    sizes = [np.dtype(c.dtype).itemsize * math.prod(shape[d] for d in c.dimensions) for c in layout.RESULTS.values()]
    coordinates = [values.dtype.itemsize for values in cells.coordinates().values()]
    return len(cells) * (sum(sizes) + sum(coordinates) + 8 * len(cells.extra)) + 2**16


def _require_space(folder: Path, size: int) -> None:
    """Ask before writing: a disk that fills up under HDF5 leaves it unable to close the file."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise StoreError(
            f"{folder} has {free / 2**20:.3g} MiB free and the store cannot be written in less than "
            f"{size / 2**20:.3g} MiB; make room, or give a file elsewhere with -o."
        )


def _transposed(runs: list[Run]) -> list[list[object]]:
    rows = [[v.encode() if isinstance(v, str) else v for v in astuple(run)] for run in runs]
    return [list(column) for column in zip(*rows, strict=True)]


def _lay_out(file: h5py.File, cells: Cells, runs: int) -> None:
    """Create every dataset and write the coordinates."""
    axes = int(cells.columns["dimension"].max(initial=1))
    sizes = {"cell": len(cells), "checkpoint": layout.CHECKPOINTS, "axis": axes}
    for name, size in {**sizes, "choice": len(cells.choices), "run": runs}.items():
        layout.make_dimension(file, name, size)
    coordinates = cells.coordinates()
    for name, column in {**layout.COORDINATES, **layout.RESULTS, **layout.RUNS}.items():
        shape = tuple(len(file[dimension]) for dimension in column.dimensions)
        values = coordinates.get(name)
        layout.make(file, name, column, shape, values.dtype.itemsize if values is not None else 1)
        if values is not None:
            file[name][:] = values
    for name in cells.extra:
        values = cells.columns[name]
        column = layout.Column("S" if values.dtype.kind == "S" else "f8", "further axis of the study")
        layout.make(file, name, column, values.shape, values.dtype.itemsize)[:] = values
    for name, texts in {"choice_text": cells.choices, "choice_label": cells.labels}.items():
        encoded = np.array([text.encode() for text in texts])
        layout.make(file, name, layout.CHOICES[name], encoded.shape, encoded.dtype.itemsize)[:] = encoded


def _copy(old: h5py.File, new: h5py.File, cells: Cells) -> None:
    """Copy the rows that are finished in `old` and not in `new`; of the others, the attempts."""
    _, target, origin = np.intersect1d(cells.columns["key"], old["key"][:], return_indices=True)
    if not len(target):
        return
    attempts = new["attempts"][:]
    attempts[target] = np.maximum(attempts[target], old["attempts"][:][origin])
    new["attempts"][:] = attempts
    finished = np.isin(old["status"][:][origin], layout.FINISHED)
    fresh = ~np.isin(new["status"][:][target], layout.FINISHED)
    chosen = finished & fresh
    target, origin = target[chosen], origin[chosen]
    for name in layout.RESULTS:
        if name != "attempts" and name in old:
            _copy_column(old[name], new[name], origin, target)


def _copy_column(old: h5py.Dataset, new: h5py.Dataset, origin: np.ndarray, target: np.ndarray) -> None:
    """Copy rows `origin` of one dataset to rows `target` of another, block by block of the new one."""
    order = np.argsort(target)
    origin, target = origin[order], target[order]
    width = tuple(slice(0, size) for size in old.shape[1:])  # the new file may have more axes, never fewer
    for start in range(0, len(new), BLOCK):
        first, last = np.searchsorted(target, [start, start + BLOCK])
        if first == last:
            continue
        source = origin[first:last]
        lowest = source.min()
        taken = old[lowest : source.max() + 1][source - lowest]
        block = new[start : start + BLOCK]
        block[(target[first:last] - start, *width)] = taken
        new[start : start + BLOCK] = block


def read_cells(path: Path) -> Cells:
    """Read the cells of a store. Raises `StoreError` if it is none."""
    with opened(path) as file:
        choices, labels = ([text.decode() for text in file[name][:]] for name in layout.CHOICES)
        names = [n for n in layout.COORDINATES if layout.COORDINATES[n].dtype != "S"]
        extra = tuple(str(file.attrs["coordinates"]).split()[len(layout.NAMED) :])
        columns = {name: file[name][:] for name in [*names, *extra]}
        precision, seed = str(file.attrs["precision"]), int(file.attrs["seed"])
    return Cells(choices, labels, columns, precision, seed, extra)


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[h5py.File]:
    """Open a store for reading, also while it is written. Raises `StoreError` if it is none."""
    with _open(Path(path)) as file:
        if file.attrs.get("format") != layout.FORMAT:
            raise StoreError(f"{path} is not a store of hpcsweep (expected format {layout.FORMAT!r}).")
        yield file


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        if "locking flag" in str(error):  # this process has it open with locking: HDF5 wants the same again
            return h5py.File(path, "r")
        reason = "there is no such file" if not path.exists() else f"it is not a readable HDF5 file ({error})"
        raise StoreError(f"{path} cannot be opened: {reason}.") from error


def read_runs(path: Path) -> list[Run]:
    """Read the launches recorded in a store."""
    with opened(path) as file:
        columns = [file[f"run_{field.name}"][:].tolist() for field in fields(Run)]
    return [Run(*(v.decode() if isinstance(v, bytes) else v for v in row)) for row in zip(*columns, strict=True)]


def common_keys(cells: Cells, others: Cells) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows, in each of two sets of cells, of those that both have."""
    _, rows, other_rows = np.intersect1d(cells.columns["key"], others.columns["key"], return_indices=True)
    return rows, other_rows


def first_difference(old: str, new: str) -> str:
    """Say in words how two study texts differ, outside their grids where possible."""
    before, after = (_flatten(tomllib.loads(text)) for text in (old, new))
    differing = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
    for key in [k for k in differing if not k.startswith("grid")] or differing:
        return f"{key} is {before.get(key, 'unset')!r} there and {after.get(key, 'unset')!r} here"
    return "its cells come from another version of hpcsweep"


def _flatten(table: dict[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in table.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
