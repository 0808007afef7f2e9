"""Target and network along a line through a point, and on a raster of two dimensions: pictures of glitches."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from hpcsweep.approx.supnorm.approximations import ErrorFunction
from hpcsweep.approx.supnorm.screening.screen import evaluate

REACH = 4.0  # of a zoom, in lengths over which the error falls to half of its largest


def slice_of(functions: ErrorFunction, where: Sequence[float], count: int) -> np.ndarray | None:
    """Return positions, target and approximant along axis 0 through `where`, (3, count); None if that is no point.

    The positions are equally spaced over the whole side of the domain, both ends included exactly.

    Raises
    ------
    PluginError: if the target or the network returns anything but float64 values, one per point.
    """
    if not _is_point(where):
        return None
    return _along(functions, where, np.linspace(*functions.domain[0], count))


def _along(functions: ErrorFunction, where: Sequence[float], positions: np.ndarray) -> np.ndarray:
    """Return positions and values, (3, count), at `where` with its first coordinate replaced by positions (count,)."""
    points = torch.tensor(list(where), dtype=torch.float64).repeat(len(positions), 1)  # (count, dimension)
    points[:, 0] = torch.from_numpy(positions)
    values = [evaluate(function, points).numpy() for function in (functions.target, functions.approximant)]
    return np.stack([positions, *values])


def zoom_of(functions: ErrorFunction, where: Sequence[float], count: int) -> np.ndarray | None:
    """Return positions, target and approximant along axis 0 close to `where`, (3, count); None if that is no point.

    The window reaches `REACH` times as far to either side as the error takes to fall to half of what it is at `where`,
    as far as the domain goes: glitches are narrow, and by orders of magnitude not equally so.
    """
    if not _is_point(where):
        return None
    (low, high), middle = functions.domain[0], where[0]
    offsets = (high - low) * np.geomspace(1e-7, 1, 141)
    sides = [np.clip(middle + sign * np.append(0.0, offsets), low, high) for sign in (-1, 1)]
    errors = [np.abs(np.subtract(*_along(functions, where, side)[1:])) for side in sides]
    fallen = np.any([side[1:] < side[0] / 2 for side in errors], axis=0)  # (offsets,)
    reach = REACH * (offsets[np.argmax(fallen)] if fallen.any() else high - low)
    window = np.linspace(max(low, middle - reach), min(high, middle + reach), count)
    return _along(functions, where, window)


def _is_point(where: Sequence[float]) -> bool:
    return len(where) > 0 and all(map(math.isfinite, where))


def raster_of(functions: ErrorFunction, count: int) -> np.ndarray | None:
    """Return target - approximant on a regular raster of the domain, ends included, (count, count) float32.

    Row i has the i-th first coordinate, column j the j-th second. None where the dimension is not 2.
    """
    if len(functions.domain) != 2:
        return None
    first, second = (torch.from_numpy(np.linspace(low, high, count)) for low, high in functions.domain)
    places = torch.cartesian_prod(first, second)  # (count * count, 2), the second coordinate quickest
    error = evaluate(functions.target, places) - evaluate(functions.approximant, places)
    return error.reshape(count, count).to(torch.float32).numpy()
