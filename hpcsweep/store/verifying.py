"""Whether a store is what was written: its rows, its weights, and everything that never changes."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from hpcsweep.errors import StoreError
from hpcsweep.store import integrity, journal, layout, weights
from hpcsweep.store.reading import UNREADABLE, launches, named, opened


@dataclass
class Damage:
    """What of a store is not what was written.

    rows: finished cells whose values are not those that were stored.
    weights: finished cells whose parameters, or pictures, are not those that were stored.
    missing: finished cells without parameters, in a store that keeps them.
    elsewhere: sentences about what belongs to no cell, and makes the store unusable as it is.
    launches: sentences about the descriptions of launches, which do not.
    """

    rows: list[str] = field(default_factory=list)
    weights: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    launches: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(vars(self).values())

    def lines(self, most: int = 10) -> list[str]:
        """Return sentences for people, which name `most` cells of each kind."""
        sentences = [*self.elsewhere, *self.launches]
        for keys, what in (
            (self.rows, "finished cell(s) are damaged: their values are not those that were stored"),
            (self.weights, "finished cell(s) have damaged weights or pictures"),
            (self.missing, "finished cell(s) have no weights, though this store keeps them"),
        ):
            if keys:
                sentences.append(f"{len(keys)} {what}: {named(keys, most)}")
        if self.rows or self.weights or self.missing:
            sentences.append("`run` with --repair trains these cells again, and touches nothing else")
        elif self.elsewhere:
            sentences.append("`run` with --repair writes a new file of what is whole")
        return sentences or ["no damage found"]


def _outside(path: Path, file: h5py.File) -> list[str]:
    """Say whether a store is damaged outside its rows."""
    if integrity.is_sealed(file, integrity.CHANGING):
        return []
    return [f"{path} is damaged outside the results of its cells (metadata or coordinates)"]


def require_cells(path: Path) -> None:
    """Raise `StoreError` if a store is damaged outside its rows: a cell may be another one than it says."""
    with opened(path) as file, readable(path):
        if outside := _outside(path, file):
            raise _refused(path, Damage(elsewhere=outside))


def look(path: Path) -> Damage:
    """Return what of a store, without its weights, is damaged. Raises `StoreError` if it cannot be read at all."""
    damage = Damage()
    with opened(path) as file, readable(path):
        damage.elsewhere = _outside(path, file)
        damage.rows = _keys(file, integrity.damaged(file))
        if integrity.damaged_runs(file, launches(file["run_started"][:])):
            damage.launches.append(f"{path}: the description of a launch is damaged, or was cut off")
    return damage


def require(path: Path) -> None:
    """Raise `StoreError` if a store is damaged, without a look at its weights."""
    damage = look(path)
    if damage.rows and journal.path_of(path).exists():
        raise StoreError(
            f"{path}: a measurement was cut off while it changed {named(damage.rows)}; the next `run`, `measure` or "
            "`merge` completes this."
        )
    if damage.rows or damage.elsewhere:
        raise _refused(path, damage)


def _refused(path: Path, damage: Damage) -> StoreError:
    return StoreError(f"{path} is damaged, and is left as it is. {'; '.join(damage.lines())}.")


def verify(path: Path) -> Damage:
    """Return everything that is damaged in a store and in its weights. Raises `StoreError` if they cannot be read."""
    damage = look(path)
    kept = weights.path_of(path)
    with readable(kept), opened(path) as file:
        keys = _measured(file)
        if kept.exists() and not _is_sealed(path):
            damage.elsewhere.append(f"{kept} is damaged outside the weights of its cells")
        damage.weights = weights.damaged(path, keys)
        damage.missing = weights.missing(path, keys) if _keeps_weights(file) else []
    return damage


def _is_sealed(store: Path) -> bool:
    with weights.opened_weights(store) as file:
        return integrity.is_sealed(file, weights.CHANGING)


def without_weights(path: Path) -> list[str]:
    """Return the keys of the finished cells whose parameters are not there, though the store keeps parameters."""
    with opened(path) as file:
        return weights.missing(path, _measured(file)) if _keeps_weights(file) else []


def _measured(file: h5py.File) -> np.ndarray:
    """Return the keys of the finished cells that have parameters where these are kept."""
    return file["key"][:][np.isin(file["status"][:], (layout.DONE, layout.OUT_OF_BUDGET))]


def _keeps_weights(file: h5py.File) -> bool:
    """Return whether the study of a store wants parameters to be kept."""
    return bool(tomllib.loads(str(file.attrs["study"])).get("store", {}).get("weights", True))


def _keys(file: h5py.File, rows: np.ndarray) -> list[str]:
    return [key.decode() for key in file["key"][:][rows].tolist()]


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what HDF5 and NumPy raise at damaged metadata into a sentence."""
    try:
        yield
    except UNREADABLE as error:
        raise StoreError(f"{path} is damaged and cannot be read: {error}.") from error
