"""Writing a whole store anew: the only way in which its structure ever changes.

`build` lays out a file for given cells and copies into it, by key, what other stores hold of them. Creating, resuming,
extending and merging are this one function.
"""

from __future__ import annotations

import contextlib
import glob
import json
import math
import os
import shutil
import textwrap
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpcsweep.config import Config, TargetConfig
from hpcsweep.errors import StoreError
from hpcsweep.store import deferred_errors, layout
from hpcsweep.study.cells import FAMILIES, Cells, Facts

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
class Take:
    """Finished rows to copy from one store: row `origin[i]` there becomes row `target[i]`."""

    path: Path
    origin: np.ndarray
    target: np.ndarray


def assign(cells: Cells, sources: Sequence[Path]) -> list[Take]:
    """Decide once, for results and weights alike, from which store each finished cell is copied.

    The first store that has it finished; but one that has failed yields to a store where it has not.
    """
    seen = [_snapshot(path) for path in sources]
    free = np.ones(len(cells), dtype=bool)
    takes = []
    for failed in (False, True):
        for path, (keys, status) in zip(sources, seen, strict=True):
            _, target, origin = np.intersect1d(cells.columns["key"], keys, return_indices=True)
            chosen = free[target] & np.isin(status[origin], layout.FINISHED)
            chosen &= (status[origin] == layout.FAILED) == failed
            order = np.argsort(target[chosen])
            takes.append(Take(path, origin[chosen][order], target[chosen][order]))
            free[target[chosen]] = False
    return [take for take in takes if len(take.target)]


def _snapshot(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return keys and status of a store, which may be growing."""
    with opened(path) as file:
        return file["key"][:], file["status"][:]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path; when the block ends well, its file is on disk and takes the place of `path`.

    A kill inside the block leaves the temporary file; the next run sweeps it up (`sweep`).
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(path: Path) -> None:
    """Remove what killed runs left of unfinished new files of `path`; only for the holder of its lease."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.new"):
        left.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Force a file, or the entries of a folder, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def build(
    path: Path,
    cells: Cells,
    title: str,
    text: str,
    runs: list[Run],
    takes: Sequence[Take],
    sources: Sequence[Path],
    killed: np.ndarray,
) -> None:
    """Write the store of `cells` to `path`, with the finished rows `takes`, and the attempts known to `sources`.

    The cells with the keys `killed` were killed once more than these know.
    """
    with deferred_errors.written(path, "w") as file:
        _lay_out(file, cells, len(runs))
        for name, values in zip([f"run_{field.name}" for field in fields(Run)], _transposed(runs), strict=True):
            file[name][:] = values
        file.attrs["coordinates"] = " ".join([*layout.NAMED, *cells.extra])
        known = {"format": layout.FORMAT, "title": title, "study": text}
        file.attrs.update({**known, "precision": cells.precision, "seed": cells.seed})
        for source in sources:
            _copy_counters(source, file, cells)
        file["kills"][:] += np.isin(cells.columns["key"], killed)
        for take in takes:
            with opened(take.path) as old:
                for name in layout.RESULTS:
                    if name not in layout.COUNTERS and name in old:
                        _copy_column(old[name], file[name], take.origin, take.target)


def size_of(cells: Cells) -> int:
    """Return about how many bytes the store of these cells takes."""
    shape = {
        "cell": 1,
        "axis": int(cells.columns["dimension"].max(initial=1)),
        "checkpoint": layout.CHECKPOINTS,
        "quantile": len(layout.QUANTILES),
    }
    sizes = [np.dtype(c.dtype).itemsize * math.prod(shape[d] for d in c.dimensions) for c in layout.RESULTS.values()]
    coordinates = [values.dtype.itemsize for values in cells.coordinates().values()]
    facts = 8 * (1 + 2 * shape["axis"])
    return len(cells) * (sum(sizes) + sum(coordinates) + facts + 8 * len(cells.extra)) + 2**16


def require_space(folder: Path, size: int) -> None:
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
    sizes = {"cell": len(cells), "checkpoint": layout.CHECKPOINTS, "quantile": len(layout.QUANTILES), "axis": axes}
    for name, size in {**sizes, "choice": len(cells.configs), "run": runs}.items():
        layout.make_dimension(file, name, size)
    coordinates = {**cells.coordinates(), **cells.fact_columns()}
    for name, column in {**layout.COORDINATES, **layout.FACTS, **layout.RESULTS, **layout.RUNS}.items():
        shape = tuple(len(file[dimension]) for dimension in column.dimensions)
        values = coordinates.get(name)
        layout.make(file, name, column, shape, values.dtype.itemsize if values is not None else 1)
        if values is not None:
            file[name][:] = values
    for name in cells.extra:
        values = cells.columns[name]
        column = layout.Column("S" if values.dtype.kind == "S" else "f8", "further axis of the study")
        layout.make(file, name, column, values.shape, values.dtype.itemsize)[:] = values
    described = zip(*((config.canonical(), config.label) for config in cells.configs), strict=True)
    for (name, column), texts in zip(layout.CHOICES.items(), (*described, cells.abouts()), strict=True):
        encoded = np.array([text.encode() for text in texts])
        layout.make(file, name, column, encoded.shape, encoded.dtype.itemsize)[:] = encoded


def _copy_counters(source: Path, new: h5py.File, cells: Cells) -> None:
    with opened(source) as old:
        _, target, origin = np.intersect1d(cells.columns["key"], old["key"][:], return_indices=True)
        for name in layout.COUNTERS:
            counts = new[name][:]
            counts[target] = np.maximum(counts[target], old[name][:][origin])
            new[name][:] = counts


def _copy_column(old: h5py.Dataset, new: h5py.Dataset, origin: np.ndarray, target: np.ndarray) -> None:
    """Copy rows `origin` of one dataset to rows `target` (ascending) of another, block by block of the new one."""
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
        names = [n for n in layout.COORDINATES if layout.COORDINATES[n].dtype != "S"]
        extra = tuple(str(file.attrs["coordinates"]).split()[len(layout.NAMED) :])
        columns = {name: file[name][:] for name in [*names, *extra]}
        precision, seed = str(file.attrs["precision"]), int(file.attrs["seed"])
        configs = _configs(file, columns)
        facts = _facts(file, configs, columns) if layout.FACTS.keys() <= set(file) else {}
    return Cells(configs, columns, precision, seed, extra, facts)


def _configs(file: h5py.File, columns: dict[str, np.ndarray]) -> list[Config]:
    """Return the configurations of a store; one that no cell refers to is read like a target, which may be anything."""
    kinds = {number: kind for name, kind in FAMILIES.items() for number in np.unique(columns[f"{name}_id"]).tolist()}
    described = zip(file["choice_text"][:], file["choice_label"][:], strict=True)
    return [
        kinds.get(i, TargetConfig).of(json.loads(text), label.decode()) for i, (text, label) in enumerate(described)
    ]


def _facts(file: h5py.File, configs: list[Config], columns: dict[str, np.ndarray]) -> dict[tuple[Config, int], Facts]:
    """Return what a store says of each target in each dimension."""
    pairs = np.stack([columns["target_id"].astype(np.int64), columns["dimension"]], axis=1)
    kinds, rows = np.unique(pairs, axis=0, return_index=True)
    smoothness, low, high = (file[name][:][rows] for name in layout.FACTS)
    abouts = file["choice_about"][:] if "choice_about" in file else np.full(len(configs), b"")  # not in older stores
    facts = {}
    for (target, axes), n, *ends in zip(kinds.tolist(), smoothness.tolist(), low.tolist(), high.tolist(), strict=True):
        domain = tuple(zip(*(end[:axes] for end in ends), strict=True))
        known = () if np.isnan(domain).any() else domain
        facts[configs[target], axes] = Facts(n, known, abouts[target].decode())
    return facts


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
        columns: list[list[Any]] = [file[f"run_{field.name}"][:].tolist() for field in fields(Run)]
    texts = [[v.decode() if isinstance(v, bytes) else v for v in column] for column in columns]
    return [Run(*row) for row in zip(*texts, strict=True)]


def common_keys(cells: Cells, others: Cells) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows, in each of two sets of cells, of those that both have."""
    _, rows, other_rows = np.intersect1d(cells.columns["key"], others.columns["key"], return_indices=True)
    return rows, other_rows


def first_difference(old: str, new: str) -> str:
    """Say in words how two study texts differ, outside their grids where possible."""
    before, after = (_flatten(tomllib.loads(text)) for text in (old, new))
    differing = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
    for key in [k for k in differing if not k.startswith("grid")] or differing:
        there, here = (textwrap.shorten(repr(texts.get(key, "unset")), 80) for texts in (before, after))
        return f"{key} is {there} there and {here} here"
    return "a plugin or the version of hpcsweep has changed since"


def _flatten(table: dict[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in table.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
