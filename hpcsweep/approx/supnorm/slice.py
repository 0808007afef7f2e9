"""Target and network along a line through a point, and on a raster of two dimensions: pictures of glitches."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from hpcsweep.approx.supnorm.approximations import ErrorFunction
from hpcsweep.approx.supnorm.screening.screen import Function, evaluate

REACH = 4.0  # of a zoom, in lengths over which the error falls to half of its largest


def slice_through(
    target: Function,
    network: Function,
    where: Sequence[float],
    domain: Sequence[Sequence[float]],
    count: int = 257,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Follow axis 0 through `where` over the whole side of the domain.

    Parameters
    ----------
    target, network: (points, dimension) float64 -> (points,) float64, on the CPU.
    where: a point of the domain, one coordinate per axis.
    domain: ``((low, high), ...)``, one pair per axis.
    count: how many positions, 2 or more, equally spaced, both ends included exactly.

    Returns
    -------
    positions, target values, network values: float64, (count,) each.

    Raises
    ------
    PluginError: if the target or the network returns anything but float64 values, one per point.
    """
    low, high = domain[0]
    return _along(target, network, where, np.linspace(low, high, count))


def _along(
    target: Function, network: Function, where: Sequence[float], positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Evaluate at `where` with its first coordinate replaced by each of the positions (count,)."""
    places = torch.tensor(list(where), dtype=torch.float64).repeat(len(positions), 1)  # (count, dimension)
    places[:, 0] = torch.from_numpy(positions)
    return positions, evaluate(target, places).numpy(), evaluate(network, places).numpy()


def slice_of(pair: ErrorFunction, where: Sequence[float], count: int) -> np.ndarray | None:
    """Return positions, target and approximant along axis 0 through `where`, (3, count); None if that is no point."""
    if not _is_point(where):
        return None
    return np.stack(slice_through(pair.target, pair.approximant, where, pair.domain, count))


def zoom_of(pair: ErrorFunction, where: Sequence[float], count: int) -> np.ndarray | None:
    """Return positions, target and approximant along axis 0 close to `where`, (3, count); None if that is no point.

    The window reaches `REACH` times as far to either side as the error takes to fall to half of what it is at `where`,
    as far as the domain goes: glitches are narrow, and by orders of magnitude not equally so.
    """
    if not _is_point(where):
        return None
    (low, high), middle = pair.domain[0], where[0]
    offsets = (high - low) * np.geomspace(1e-7, 1, 141)
    sides = [np.clip(middle + sign * np.append(0.0, offsets), low, high) for sign in (-1, 1)]
    errors = [np.abs(np.subtract(*_along(pair.target, pair.approximant, where, side)[1:])) for side in sides]
    fallen = np.any([side[1:] < side[0] / 2 for side in errors], axis=0)  # (offsets,)
    reach = REACH * (offsets[np.argmax(fallen)] if fallen.any() else high - low)
    window = np.linspace(max(low, middle - reach), min(high, middle + reach), count)
    return np.stack(_along(pair.target, pair.approximant, where, window))


def _is_point(where: Sequence[float]) -> bool:
    return len(where) > 0 and all(map(math.isfinite, where))


def raster_of(pair: ErrorFunction, count: int) -> np.ndarray | None:
    """Return target - approximant on a regular raster of the domain, ends included, (count, count) float32.

    Row i has the i-th first coordinate, column j the j-th second. None where the dimension is not 2.
    """
    if len(pair.domain) != 2:
        return None
    first, second = (torch.from_numpy(np.linspace(low, high, count)) for low, high in pair.domain)
    places = torch.cartesian_prod(first, second)  # (count * count, 2), the second coordinate quickest
    error = evaluate(pair.target, places) - evaluate(pair.approximant, places)
    return error.reshape(count, count).to(torch.float32).numpy()
