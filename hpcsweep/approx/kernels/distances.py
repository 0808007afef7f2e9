"""Distances to the nearest of many points, the places in the lanes."""

from __future__ import annotations

from typing import Final

import numpy as np

from hpcsweep.approx.kernels.compiling import INTEGER, NOTHING, VECTOR, entry

_BLOCK: Final = 512  # places at a time, which stay in the first-level cache


@entry(NOTHING, INTEGER, INTEGER, INTEGER, VECTOR, VECTOR, VECTOR)
def nearest(dimension: int, count: int, samples: int, places: np.ndarray, points: np.ndarray, out: np.ndarray) -> None:
    """Write the Euclidean distance of each place to the nearest of the points, infinite where there is none.

    Parameters
    ----------
    places: (dimension, count)
    points: (samples, dimension)
    out: (count,)
    """
    squares = np.empty(_BLOCK)
    for start in range(0, count, _BLOCK):
        width = min(_BLOCK, count - start)
        out[start : start + width] = np.inf
        for point in range(samples):
            squares[:] = 0.0
            for axis in range(dimension):
                at, row = points[point * dimension + axis], axis * count + start
                for s in range(width):
                    off = places[row + s] - at
                    squares[s] += off * off
            for s in range(width):
                least = out[start + s]
                out[start + s] = squares[s] if squares[s] < least else least
        for s in range(width):
            out[start + s] = np.sqrt(out[start + s])
