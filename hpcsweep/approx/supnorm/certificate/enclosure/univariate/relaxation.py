"""What the rules of functions of one variable have in common."""

from __future__ import annotations

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.rounding import TINY

Relaxation = tuple[Tensor, Tensor, Tensor]  # slope, least, most: g(x) - slope x lies in [least, most]
Range = tuple[Tensor, Tensor]  # least, most


def at_most(left: Tensor | float, right: Tensor | float) -> Tensor:
    """Return 1.0 where left <= right, else 0.0: a weight for torch.lerp, which is exact at both.

    On a CPU, torch.where mispredicts its way through such masks: three times slower than both together.
    """
    if isinstance(left, Tensor):
        return torch.le(left, right, out=torch.empty_like(left))
    assert isinstance(right, Tensor)
    return torch.ge(right, left, out=torch.empty_like(right))


def chord(below: Tensor, above: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return the slope of the chord through the values `below` at `low` and `above` at `high`."""
    return (above - below).div_((high - low).clamp_(min=TINY))


def remainder(value: Tensor, slope: Tensor, x: Tensor) -> Tensor:
    """Return value - slope * x."""
    return torch.addcmul(value, slope, x, value=-1.0)
