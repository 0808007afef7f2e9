"""What it costs to fit a classical approximant, and to evaluate it, before it is done."""

from __future__ import annotations

import math

from hpcsweep.approx.models.classical.sizes import count
from hpcsweep.config import ModelConfig

# Simplices for each of many random points (Dwyer 1991; the table of Poisson-Delaunay tessellations); fewer points have
# fewer, since much of the domain is then outside their hull.
_SIMPLICES = {1: 1.0, 2: 2.0, 3: 6.8, 4: 31.8, 5: 187.0, 6: 1296.0}
_MORE = 9.0  # times as many in each further dimension
_OF_SIMPLEX = 5000  # operations for each, times dimension^2: the time of qhull and of the maps, as measured
_OF_POINT = 1000  # the same for a point whose simplex is looked for
_GELSD = 4  # passes over the matrix, in operations of m n^2


def operations(model: ModelConfig, dimension: int, samples: int) -> float:
    """Return about how many operations of matrix products a fit takes as long as."""
    if model.name == "legendre":
        size = count(model, dimension)
        return _GELSD * samples * size * min(samples, size) + samples * size * dimension
    if model.name == "simplex" and dimension > 1:
        return _simplices(model["nodes"], dimension) * _OF_SIMPLEX * dimension**2
    return 1000.0 * samples


def bytes_of(model: ModelConfig, dimension: int, samples: int) -> int:
    """Return the memory of a fit, and of what is kept of it while it is evaluated."""
    if model.name == "legendre":
        size = count(model, dimension)
        return 8 * (3 * samples * size + 2 * min(samples, size) ** 2)
    if model.name == "simplex" and dimension > 1:
        numbers = dimension * (dimension + 1) + 4 * (dimension + 2)  # maps, corners, neighbours, planes, qhull's own
        return round(16 * numbers * _simplices(model["nodes"], dimension))
    return 200 * samples


def equivalent_widths(model: ModelConfig, dimension: int) -> list[int]:
    """Return the hidden widths of a perceptron that costs about as much at a point."""
    if model.name == "legendre":
        return [max(1, count(model, dimension) // 2)]
    if model.name == "simplex" and dimension > 1:
        half = dimension**2 * _OF_POINT / 2
        return [max(8, round(math.sqrt(half)))] * 2
    return [16, 16]


def _simplices(nodes: int, dimension: int) -> float:
    known = max(_SIMPLICES)
    each = _SIMPLICES.get(dimension) or _SIMPLICES[known] * _MORE ** (dimension - known)
    return nodes * min(each, float(nodes) ** (-(-dimension // 2) - 1))
