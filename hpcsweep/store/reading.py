"""Reading a store: its cells, its launches and the rows of given keys, also while a run is writing it."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpcsweep.config import Config, TargetConfig
from hpcsweep.errors import StoreError
from hpcsweep.store import layout
from hpcsweep.store.foreign import refuse
from hpcsweep.study.cells import FAMILIES, Cells, Facts

# What HDF5 and NumPy raise at damaged metadata.
UNREADABLE = (OSError, RuntimeError, ValueError, TypeError, LookupError, MemoryError)
_OF_HDF5 = re.compile(r"^['\"]*(Unable to|Can't|Couldn't)|synchronously|failed \(|read failed")  # what its errors say
MOST = 5  # keys that a message names


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
    stopped: str = ""  # why it stopped early; empty if it did not, or was killed


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[h5py.File]:
    """Open a store for reading, also while it is written. Raises `StoreError` if it is none, or is damaged."""
    with open_file(Path(path)) as file:
        looked = False
        try:
            if file.attrs.get("format") != layout.FORMAT:
                raise StoreError(f"{path} is not a store of hpcsweep (expected format {layout.FORMAT!r}).")
            refuse(file, layout.OF_CELLS)
            looked = True
            yield file
        except UNREADABLE as error:  # later ones may be those of whoever reads
            if looked and not (isinstance(error, UnicodeDecodeError) or _OF_HDF5.search(str(error))):
                raise
            raise StoreError(f"{path} is damaged and cannot be read: {error}.") from error


def open_file(path: Path) -> h5py.File:
    """Open a HDF5 file for reading. Raises `StoreError` if it cannot be opened, or is no ordinary file."""
    try:
        if path.exists() and not path.is_file():  # HDF5 would wait for ever for what comes out of a pipe
            raise StoreError(f"{path} cannot be opened: it is a folder or a device, not a file.")
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        if "locking flag" in str(error):  # this process has it open with locking: HDF5 wants the same again
            return h5py.File(path, "r")
        reason = "there is no such file" if not path.exists() else f"it is not a readable HDF5 file ({error})"
        raise StoreError(f"{path} cannot be opened: {reason}.") from error


def read_cells(path: Path) -> Cells:
    """Read the cells of a store. Raises `StoreError` if it is none."""
    with opened(path) as file:
        names = [n for n in layout.COORDINATES if layout.COORDINATES[n].dtype != "S"]
        extra = tuple(str(file.attrs["coordinates"]).split()[len(layout.NAMED) :])
        if foreign := [name for name in extra if "/" in name]:
            raise StoreError(f"{path} was not written by hpcsweep: {foreign[0]!r} is no column of it. It is not read.")
        columns = {name: file[name][:] for name in [*names, *extra]}
        precision, seed = str(file.attrs["precision"]), int(file.attrs["seed"])
        whole = int(file.attrs.get("cells", 0))  # not in older stores
        configs = _configs(file, columns)
        facts = _facts(file, configs, columns) if layout.FACTS.keys() <= set(file) else {}
    return Cells(configs, columns, precision, seed, extra, facts, whole)


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


def launches(started: np.ndarray) -> int:
    """Return how many launches a store knows, from `run_started`; the rows after theirs are for launches to come."""
    return int((~np.isnan(started)).sum())


def read_runs(path: Path) -> list[Run]:
    """Read the launches recorded in a store."""
    with opened(path) as file:
        count = launches(file["run_started"][:])
        names = [field.name for field in fields(Run) if f"run_{field.name}" in file]  # older stores lack some
        columns: list[list[Any]] = [file[f"run_{name}"][:count].tolist() for name in names]
    texts = [[v.decode() if isinstance(v, bytes) else v for v in column] for column in columns]
    return [Run(**dict(zip(names, row, strict=True))) for row in zip(*texts, strict=True)]


def row_of(keys: np.ndarray, key: str, path: Path) -> int:
    """Return the row of the only one of `keys`, (cells,) bytes of the store `path`, that begins with `key`.

    Raises `StoreError` if there is none or several; it names the candidates.
    """
    texts = keys.astype(str)
    matching = np.flatnonzero(np.char.startswith(texts, key)) if key else np.empty(0, int)
    if len(matching) == 1:
        return int(matching[0])
    if len(matching):
        keys_named = named(texts[matching].tolist())
        raise StoreError(
            f"{len(matching)} cells of {path} have keys that begin with {key!r}: {keys_named}; add characters."
        )
    raise StoreError(f"{path} has no cell {key!r}; its keys are {named(texts.tolist())} (status --keys lists all).")


def named(keys: Sequence[str], most: int = MOST) -> str:
    """Return keys for a message: `most` of them, and how many more there are."""
    shown = ", ".join(keys[:most])
    return f"{shown} and {len(keys) - most} more" if len(keys) > most else shown or "none"
