"""Columns of numbers in data files: places and values, read once in a process, and the digest of their numbers.

Formats: `.csv` (separated by commas, semicolons, tabs or blanks; the first line names the columns), `.npz`, HDF5
(`.h5`, `.hdf5`: data sets by their paths) and netCDF (`.nc`: variables, which may be a grid over their coordinates).
"""

from __future__ import annotations

import functools
import hashlib
import os
import socket
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from hpcsweep.errors import PluginChanged, PluginError, unknown

_WIDEST_LINE = 2**20  # bytes in which the names of columns stand
_SHOWN = 16  # digits of a digest in a sentence


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a data file in ascending order of their places, whatever their order in the file.

    Attributes
    ----------
    places : (rows, inputs) float64, all different
    values : (rows,) float64
    digest : SHA-256 of these numbers, hexadecimal: of equal rows in files of other names and formats too
    """

    places: np.ndarray
    values: np.ndarray
    digest: str


_by_digest: WeakValueDictionary[str, Rows] = WeakValueDictionary()
_by_file: dict[tuple[Any, ...], tuple[tuple[int, ...], Rows]] = {}  # state and rows of files, by path and columns


def read(path: Path, inputs: Sequence[str], output: str, digest: str = "") -> Rows:
    """Return the rows of a file: the columns `inputs` are places, and `output` values.

    Parameters
    ----------
    digest : what the rows must have; rows of it that this process has read are returned whatever became of the file

    Raises
    ------
    PluginError : in one sentence, for a file that cannot be read, and for columns from which nothing can be learned
    PluginChanged : where a `digest` is given, for a file that cannot be read or has another one
    """
    if (rows := _by_digest.get(digest)) is not None:
        return rows
    try:
        rows = _read(path, tuple(inputs), output)
    except OSError as error:
        problem = (
            f"the data file {str(path)!r} cannot be read on {socket.gethostname()}: {error.strerror or error}; its "
            "path is relative to the folder of the study, and every rank must be able to read it."
        )
        raise PluginChanged(problem) if digest else PluginError(problem) from error
    if digest and rows.digest != digest:
        raise PluginChanged(
            f"the data file {str(path)!r} has changed since the study was read: the SHA-256 digest of its rows was "
            f"{digest[:_SHOWN]}… and is {rows.digest[:_SHOWN]}… now; put it back as it was to continue, or run the "
            "study with the new file into another store (-o)."
        )
    return rows


def _read(path: Path, inputs: tuple[str, ...], output: str) -> Rows:
    status = os.stat(path)
    place = path.resolve(), inputs, output
    state = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    if place not in _by_file or _by_file[place][0] != state:
        rows = _checked(path, _columns(path, (*inputs, output)), inputs, output)
        _by_file[place] = state, _by_digest.setdefault(rows.digest, rows)
    return _by_file[place][1]


def _columns(path: Path, names: tuple[str, ...]) -> Mapping[str, np.ndarray]:
    """Return arrays of a file by their names. Raises OSError and PluginError."""
    if not path.is_file():
        raise OSError(None, "there is no such file" if not path.exists() else "it is not an ordinary file")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise PluginError(unknown(f"target data: the ending of {path.name!r}", path.suffix, _READERS))
    try:
        return reader(path, names)
    except (PluginError, MemoryError):
        raise
    except Exception as error:  # libraries raise many kinds at a file that is damaged, or is something else
        if isinstance(error, OSError) and error.errno:
            raise
        said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise PluginError(f"{str(path)!r} is damaged, or is no {path.suffix} file: {said}.") from error


def _require(path: Path, names: Sequence[str], present: Sequence[str]) -> None:
    for name in names:
        if name not in present:
            first = " The first line of a .csv file names its columns." if path.suffix.lower() == ".csv" else ""
            raise PluginError(unknown(f"columns of {path.name!r}", name, present) + first)


def _csv(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    import pandas

    with path.open("rb") as file:
        line = file.readline(_WIDEST_LINE)
        header = line.lstrip(b"\xef\xbb\xbf# ")  # NumPy writes it as a comment
        separator = max(",;\t", key=lambda mark: header.count(mark.encode()))
        separator = separator if separator.encode() in header else r"\s+"
        exact = {} if _version(pandas) >= (3, 1) else {"float_precision": "round_trip"}  # later it always is

        def table(decimal: str) -> Any:
            file.seek(len(line) - len(header))
            told = {"sep": separator, "decimal": decimal, "skipinitialspace": True, "low_memory": False, **exact}
            with warnings.catch_warnings(action="error", category=pandas.errors.ParserWarning):  # rows too long
                return pandas.read_csv(file, index_col=False, **told).rename(columns=str.strip)

        found = table(".")
        _require(path, names, list(found.columns))
        if separator != "," and not all(pandas.api.types.is_numeric_dtype(found[name]) for name in names):
            found = table(",")
    columns = {}
    for name in names:
        numbers = pandas.to_numeric(found[name], errors="coerce")
        if len(texts := found[name][numbers.isna() & found[name].notna()]):
            raise PluginError(
                f"the column {name!r} of {path.name!r} must hold numbers; row {texts.index[0] + 1} has "
                f"{str(texts.iloc[0])!r}."
            )
        columns[name] = numbers.to_numpy(np.float64)
    return columns


def _version(module: Any) -> tuple[int, ...]:
    return tuple(int(part) for part in module.__version__.split(".")[:2])


def _npz(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):
        raise PluginError(f"{str(path)!r} is no .npz file, as numpy.savez writes it.")
    with np.load(path, allow_pickle=False) as archive:
        _require(path, names, archive.files)
        return {name: archive[name] for name in names}


def _hdf5(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    import h5py

    with h5py.File(path, "r", locking=False) as file:
        present: list[str] = []
        file.visititems(lambda name, item: present.append(name) if isinstance(item, h5py.Dataset) else None)
        _require(path, [name.strip("/") for name in names], present)
        return {name: file[name][()] for name in names}


def _netcdf(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    import xarray

    with xarray.open_dataset(path, decode_times=False) as dataset:
        _require(path, names, [str(name) for name in dataset.variables])
        *inputs, output = (dataset[name] for name in names)
        for column in inputs:
            if not set(column.dims) <= set(output.dims):
                raise PluginError(
                    f"the variable {column.name!r} of {path.name!r} is over {', '.join(map(str, column.dims))}, of "
                    f"which {output.name!r} knows nothing: it is over {', '.join(map(str, output.dims)) or 'nothing'}."
                )
        spread = xarray.broadcast(*inputs, output)
        dims = spread[-1].dims
        return {name: column.transpose(*dims).values.ravel() for name, column in zip(names, spread, strict=True)}


_READERS: dict[str, Callable[[Path, tuple[str, ...]], Mapping[str, np.ndarray]]] = {
    ".csv": _csv,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".nc": _netcdf,
    ".npz": _npz,
}


def _checked(path: Path, columns: Mapping[str, np.ndarray], inputs: tuple[str, ...], output: str) -> Rows:
    """Return columns as rows; raise PluginError where they make none, or nothing can be learned from them."""
    listed = {name: _numbers(path, name, columns[name]) for name in (*inputs, output)}
    if len({len(column) for column in listed.values()}) > 1 or listed[output].shape[1] != 1:
        shapes = ", ".join(f"{name} {np.shape(columns[name])}" for name in listed)
        raise PluginError(f"the columns of {path.name!r} must have one entry for each row, but have shapes {shapes}.")
    places = np.concatenate([listed[name] for name in inputs], axis=1)
    rows = np.concatenate([places, listed[output]], axis=1) + 0.0  # no negative zeros
    if len(bad := np.flatnonzero(~np.isfinite(rows).all(1))):
        raise PluginError(
            f"{len(bad)} of {len(rows)} rows of {path.name!r} contain NaN, an infinite number or nothing, the first of "
            f"them row {bad[0] + 1}; remove these rows."
        )
    if len(rows) < 2:
        raise PluginError(f"{path.name!r} has {len(rows)} row(s); at least two are needed.")
    names = [*(name for name in inputs for _ in range(listed[name].shape[1])), output]
    for name, column in zip(names, rows.T, strict=True):
        if column.min() == column.max():
            what = "it is no variable" if name != output else "there is nothing to learn"
            raise PluginError(f"the column {name!r} of {path.name!r} is {column[0]:g} in all rows: {what}.")
    rows = rows[np.lexsort(rows.T[-2::-1])]
    if len(same := np.flatnonzero((rows[1:, :-1] == rows[:-1, :-1]).all(1))):
        place = ", ".join(f"{x:g}" for x in rows[same[0], :-1])
        raise PluginError(
            f"{path.name!r} has {len(same)} row(s) whose place another row has already, such as ({place}); a function "
            "has one value there: average these rows first."
        )
    digest = hashlib.sha256(f"{rows.shape}".encode())
    digest.update(np.ascontiguousarray(rows, "<f8").data)
    return Rows(np.ascontiguousarray(rows[:, :-1]), rows[:, -1].copy(), digest.hexdigest())


def _numbers(path: Path, name: str, column: np.ndarray) -> np.ndarray:
    """Return a column of numbers as float64 (rows, entries)."""
    array = np.asarray(column)
    if array.dtype.kind not in "biuf":
        kind = "complex numbers" if array.dtype.kind == "c" else "texts, dates or records"
        raise PluginError(f"the column {name!r} of {path.name!r} must hold numbers, not {kind} ({array.dtype}).")
    if array.ndim not in (1, 2):
        raise PluginError(
            f"the column {name!r} of {path.name!r} must have the shape (rows,) or (rows, entries), not {array.shape}."
        )
    return array.astype(np.float64)[:, None] if array.ndim == 1 else array.astype(np.float64)


@functools.lru_cache(maxsize=16)
def split(rows: int, held_out: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the rows to learn from and of those that are held out, each in ascending order.

    `round(held_out * rows)` rows are held out, whatever their order in the file.
    """
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(rows)
    count = round(held_out * rows)
    return np.sort(order[count:]), np.sort(order[:count])
