"""Functions of double-doubles that jump."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.double_double.arithmetic import UP
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.number import DoubleDouble, own
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import UNIT


def ends(x: DoubleDouble) -> tuple[Tensor, Tensor]:
    """Return (low, high) that enclose the numbers: each the number itself where that is a float64 without error."""
    off = (x.trailing.abs() + x.radius).mul_(UP)
    low, high = (torch.nextafter(x.leading + sign * off, torch.full_like(off, sign * math.inf)) for sign in (-1.0, 1.0))
    return torch.where(off == 0.0, x.leading, low), torch.where(off == 0.0, x.leading, high)


def _stepwise(function: Callable[[Tensor], Tensor], x: DoubleDouble) -> DoubleDouble:
    """Enclose a rising step function by its values at both ends."""
    bottom, top = map(function, ends(x))
    middle = torch.where(bottom == top, bottom, bottom / 2 + top / 2)
    radius = (top / 2 - bottom / 2).mul_(UP).add_(middle.abs() * (bottom != top), alpha=4 * UNIT)
    radius.add_(x.leading + x.radius, alpha=0.0)  # torch.sign(nan) is 0
    return DoubleDouble(middle, torch.zeros_like(middle), radius)


for _function in (torch.floor, torch.ceil, torch.round, torch.trunc, torch.sign):
    own(_function.__name__)(partial(_stepwise, _function))
