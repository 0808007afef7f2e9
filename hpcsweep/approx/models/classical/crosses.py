"""Hyperbolic crosses: sets of multi-indices that stay small where there are many axes."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np


def cross(order: int, dimension: int) -> np.ndarray:
    """Return the indices nu >= 0 with (nu_1 + 1) ... (nu_d + 1) <= order + 1, (size, dimension) int64, sorted.

    The union of all lower sets of at most order + 1 indices; in one dimension the degrees up to `order`. Adcock,
    Brugiapaglia and Webster, "Sparse Polynomial Approximation of High-Dimensional Functions" (SIAM 2022).
    """
    return np.array(list(_indices(order + 1, dimension)), dtype=np.int64)


def _indices(room: int, dimension: int) -> Iterator[tuple[int, ...]]:
    if dimension == 0:
        yield ()
        return
    for factor in range(1, room + 1):
        for others in _indices(room // factor, dimension - 1):
            yield factor - 1, *others


def size(order: int, dimension: int) -> int:
    """Return how many indices `cross` has, without making them."""
    return _size(order + 1, dimension)


@functools.cache
def _size(room: int, dimension: int) -> int:
    if dimension == 1:
        return room
    total, first = 0, 1
    while first <= room:  # all factors with the same room // factor at once
        left = room // first
        last = room // left
        total += (last - first + 1) * _size(left, dimension - 1)
        first = last + 1
    return total
