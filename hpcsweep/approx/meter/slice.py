"""Target and network along a line through a point: a picture of a glitch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from hpcsweep.approx.meter.screening.screen import Function, evaluate
from hpcsweep.approx.meter.subjects import Pair


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
    positions = np.linspace(low, high, count)
    places = torch.tensor(list(where), dtype=torch.float64).repeat(count, 1)  # (count, dimension)
    places[:, 0] = torch.from_numpy(positions)
    return positions, evaluate(target, places).numpy(), evaluate(network, places).numpy()


def slice_of(pair: Pair, where: Sequence[float], count: int) -> np.ndarray | None:
    """Return positions, target and approximant along axis 0 through `where`, (3, count); None if that is no point."""
    if not where or not all(map(math.isfinite, where)):
        return None
    return np.stack(slice_through(pair.target, pair.approximant, where, pair.domain, count))
