"""Functions that are smooth between knots, where no search can tell on which piece a point is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def are_numbers(points: Any) -> bool:
    """Return whether points are numbers, in which one can search; not what stands for all points of a box."""
    return isinstance(points, Tensor)


def chosen(values: Any, places: Any, knots: Tensor) -> Any:
    """Return the values (points,) of the pieces on which places lie, in operations that have enclosures.

    Neighbours are joined first, so that on a box with one knot only both pieces beside it are considered.

    Parameters
    ----------
    values: (points, pieces), of every piece at every place.
    places: (points, 1).
    knots: (pieces - 1,), ascending; the piece to the right begins with the knot.
    """
    while (pieces := values.shape[1]) > 1:
        even = pieces // 2 * 2
        joined = torch.where(places < knots[: even - 1 : 2], values[:, :even:2], values[:, 1:even:2])
        values, knots = torch.cat([joined, values[:, even:]], dim=1) if pieces > even else joined, knots[1::2]
    return values[:, 0]
