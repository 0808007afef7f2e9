"""Finding cells by their keys, for a million of them at the speed of sorting numbers."""

from __future__ import annotations

import functools
from collections.abc import Collection

import numpy as np


class KeyIndex:
    """Finds the rows of keys."""

    def __init__(self, keys: np.ndarray) -> None:
        """`keys`: (rows,) bytes, all different."""
        self.keys = np.ascontiguousarray(keys)

    def rows(self, keys: np.ndarray) -> np.ndarray:
        """Return the row of each of some keys (n,): (n,) integers, -1 for a key that is not there."""
        if np.array_equal(keys, self.keys):
            return np.arange(len(keys))
        if not len(self.keys) or not len(keys):
            return np.full(len(keys), -1)
        order, ascending, numbered = self._sorted
        wanted = np.ascontiguousarray(keys, self.keys.dtype) if keys.dtype != self.keys.dtype else keys
        places = np.searchsorted(ascending, _numbers(wanted) if numbered else wanted)
        rows = order[np.minimum(places, len(order) - 1)]
        return np.where(self.keys[rows] == keys, rows, -1)

    def holds(self, keys: np.ndarray) -> np.ndarray:
        """Return which of some keys (n,) are there: (n,) bool."""
        return self.rows(keys) >= 0

    def first(self) -> np.ndarray:
        """Return for each key the row of the first one that is equal, (rows,), if they are not all different."""
        order, ascending, _ = self._sorted
        begins = np.append(True, ascending[1:] != ascending[:-1])[: len(order)]
        first = np.empty(len(order), np.int64)
        first[order] = order[begins][np.cumsum(begins) - 1]
        return first

    @functools.cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray, bool]:
        """Return rows in ascending order of their numbers, these numbers, and True; or of the keys, and False.

        That is necessary if two keys have the same number, which happens by chance once in 2^64 pairs.
        """
        numbers = _numbers(self.keys)
        order = np.argsort(numbers, kind="stable")
        ascending = numbers[order]
        same = ascending[1:] == ascending[:-1]
        if not same.any() or (self.keys[order[1:][same]] == self.keys[order[:-1][same]]).all():
            return order, ascending, True
        order = np.argsort(self.keys, kind="stable")
        return order, self.keys[order], False


def among(keys: np.ndarray, some: Collection[bytes]) -> np.ndarray:
    """Return which keys are among some others, (cells,) bool."""
    return KeyIndex(np.array(list(some), keys.dtype)).holds(keys)


def _numbers(keys: np.ndarray) -> np.ndarray:
    """Return a 64-bit number for each key, which few other keys have."""
    octets = np.ascontiguousarray(keys).view(np.uint8).reshape(len(keys), keys.dtype.itemsize)
    filled = np.zeros((len(keys), keys.dtype.itemsize + -keys.dtype.itemsize % 8), np.uint8)
    filled[:, : octets.shape[1]] = octets
    numbers = np.zeros(len(keys), np.uint64)
    for word in filled.view(np.uint64).T:
        numbers = (numbers ^ word) * np.uint64(0x9E3779B97F4A7C15)
        numbers ^= numbers >> np.uint64(29)
    return numbers
