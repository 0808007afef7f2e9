"""Functions that are smooth between knots, where no search can tell on which piece a point is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_AT_ONCE = 64  # pieces: many boxes are enclosed together


def are_numbers(points: Any) -> bool:
    """Return whether points are numbers, in which one can search; not what stands for all points of a box."""
    return isinstance(points, Tensor)


def chosen(pieces: Callable[[Tensor], Any], places: Any, knots: Tensor) -> Any:
    """Return the values (points,) of the pieces on which places lie, in operations that have enclosures.

    Parameters
    ----------
    pieces: from numbers of pieces, 0, 1, ..., to their values (points, pieces) at all places.
    places: (points, 1).
    knots: (pieces - 1,), ascending; the piece to the right begins with the knot.
    """
    blocks = [
        _joined(pieces(numbers), places, knots[numbers[:-1]])
        for numbers in torch.arange(len(knots) + 1).split(_AT_ONCE)
    ]
    return _joined(torch.cat(blocks, dim=1), places, knots[_AT_ONCE - 1 :: _AT_ONCE])[:, 0]


def _joined(values: Any, places: Any, knots: Tensor) -> Any:
    """Return the right one, (points, 1), of the values (points, pieces) of pieces with these knots between them.

    Neighbours are joined first, so that on a box with one knot only both pieces beside it are considered.
    """
    while (count := values.shape[1]) > 1:
        even = count // 2 * 2
        joined = torch.where(places < knots[: even - 1 : 2], values[:, :even:2], values[:, 1:even:2])
        values, knots = torch.cat([joined, values[:, even:]], dim=1) if count > even else joined, knots[1::2]
    return values
