"""Whether everything that a store has finished is in another one too: before it is deleted."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from hpcsweep.errors import StoreError
from hpcsweep.store import integrity, layout, verifying, weights
from hpcsweep.store.reading import opened
from hpcsweep.study.keys import KeyIndex, among


class Merged:
    """A store that was compared with its own checksums, against which those of its shards are held."""

    def __init__(self, path: Path) -> None:
        """Raises `StoreError` if the store cannot be read, or is damaged outside its rows."""
        damage = verifying.verify(path)
        if damage.elsewhere:
            raise StoreError(f"{'; '.join(damage.elsewhere)}; nothing is deleted.")
        self.path = path
        with opened(path) as file:
            self._keys, status = KeyIndex(file["key"][:]), file["status"][:]
            sums = _stored(file)
        self._rows = integrity.Rows(self._column, sums)
        bad = among(self._keys.keys, [key.encode() for key in damage.rows])
        self._finished = np.isin(status, layout.FINISHED) & ~bad
        self._weights = _Weights(path, {key.encode() for key in damage.weights})

    def _column(self, name: str) -> np.ndarray:
        with opened(self.path) as file:
            return file[name][:]

    def lacks(self, part: Path) -> list[str]:
        """Return the keys of the finished cells of another store that are not here with the same bits.

        These are values, status, parameters and pictures, but not how often a cell was started. A cell that has failed
        there and is finished here is not lost. Raises `StoreError` if the other store cannot be read.
        """
        with opened(part) as file:
            keys, status = file["key"][:], file["status"][:]
            finished = np.flatnonzero(np.isin(status, layout.FINISHED))
            rows = self._keys.rows(keys[finished])
            there = np.flatnonzero(rows >= 0)
            there = there[self._finished[rows[there]]]
            good = np.zeros(len(finished), bool)
            same = self._rows.same(rows[there], file, _stored(file), finished[there])
            good[there] = same | (status[finished[there]] == layout.FAILED)
            known = keys[finished]
            measured = there[same]
        good[measured] &= ~self._weights.lack(part, known[measured])
        return [key.decode() for key in known[~good].tolist()]


def _stored(file: h5py.File) -> np.ndarray:
    """Return the checksums of rows, (cells,), worked out where a store is from before there were any."""
    return file["checksum"][:] if "checksum" in file else integrity.sums(file, {})


class _Weights:
    """The weights of a merged store."""

    def __init__(self, store: Path, damaged: set[bytes]) -> None:
        """`damaged`: the cells whose weights are not what was stored."""
        self._rows, self._known = KeyIndex(np.empty(0, "S32")), np.empty((0, 3), np.uint64)
        if weights.path_of(store).exists():
            with weights.opened_weights(store) as file:
                keys = file["key"][:]
                self._known = _known(file, np.arange(len(keys)))
            self._known[among(keys, damaged)] = 0
            self._rows = KeyIndex(keys)

    def lack(self, other: Path, keys: np.ndarray) -> np.ndarray:
        """Return which of these cells, (cells,) bool, have something in the weights of another store, and not here."""
        lost = np.zeros(len(keys), bool)
        if weights.path_of(other).exists():
            with weights.opened_weights(other) as file:
                if not integrity.is_sealed(file, weights.CHANGING):
                    raise StoreError(f"{weights.path_of(other)} is damaged outside the weights of its cells.")
                origin = KeyIndex(file["key"][:]).rows(keys)
                here = np.flatnonzero(origin >= 0)
                theirs = _known(file, origin[here])
            rows = self._rows.rows(keys[here])
            ours = np.zeros_like(theirs)
            ours[rows >= 0] = self._known[rows[rows >= 0]]
            lost[here] = ours[:, 0] < theirs[:, 0]
            for column in (1, 2):  # parameters, and pictures: kept is at least that
                lost[here] |= (theirs[:, 0] >= column) & (ours[:, column] != theirs[:, column])
        return lost


def _known(file: h5py.File, rows: np.ndarray) -> np.ndarray:
    """Return what is kept of rows, and the checksums of parameters and pictures, (rows, 3) uint64.

    A row that has a checksum has parameters, whatever `kept` says.
    """
    kept = file["kept"][:][rows].astype(np.uint64)
    if "checksum" in file:
        parameters, shown = (file[name][:][rows] for name in weights.CHECKED)
        return np.stack([np.where((kept == 0) & (parameters != 0), np.uint64(1), kept), parameters, shown], axis=1)
    known = np.zeros((len(rows), 3), np.uint64)
    order = np.argsort(rows)
    known[:, 0], known[order, 1] = kept, weights.parameter_sums(file, rows[order])
    known[order, 2] = weights.picture_sums(file, rows[order])
    return known
