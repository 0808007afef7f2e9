"""sin and cos: exact remainders on ranges up to one period, the exact range beyond."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.rounding import gamma
from hpcsweep.approx.supnorm.certificate.enclosure.univariate.relaxation import (
    Range,
    Relaxation,
    at_most,
    chord,
    remainder,
)

_PERIOD = 2 * math.pi


def sin(low: Tensor, high: Tensor) -> Relaxation:
    """Relax sin: cos x = s at x = +-arccos s + 2 pi k."""
    below, above = torch.sin(low), torch.sin(high)
    slope = _slope(below, above, low, high)
    angle = torch.arccos(slope)
    return _wave(below, above, low, high, slope, angle, -angle)


def cos(low: Tensor, high: Tensor) -> Relaxation:
    """Relax cos: -sin x = s at x = -arcsin s + 2 pi k and x = pi + arcsin s + 2 pi k."""
    below, above = torch.cos(low), torch.cos(high)
    slope = _slope(below, above, low, high)
    angle = torch.arcsin(slope)
    return _wave(below, above, low, high, slope, -angle, angle + math.pi)


def _slope(below: Tensor, above: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return the chord's slope; 0 beyond one period, where the constant range is better."""
    return chord(below, above, low, high).clamp_(-1.0, 1.0).mul_(high - low < _PERIOD)


def _wave(
    below: Tensor, above: Tensor, low: Tensor, high: Tensor, slope: Tensor, crest: Tensor, trough: Tensor
) -> Relaxation:
    """Relax a wave with crests (of its remainder) at crest + 2 pi k, troughs at trough + 2 pi k."""
    at_low = remainder(below, slope, low)
    at_high = remainder(above, slope, high)
    height = ((1.0 - slope) * (1.0 + slope)).sqrt_()  # 1 - slope^2 would lose half of its digits at a slope near 1
    rising = torch.ge(slope, 0.0, out=torch.empty_like(slope))
    # against a rising line the first crest and the last trough of the range stand out, against a falling one the others
    stationary, inside = _nearest(crest, low, high, rising)
    peak = remainder(height, slope, stationary)
    most = torch.maximum(at_low, at_high)
    most = torch.lerp(most, torch.maximum(most, peak), inside)
    stationary, inside = _nearest(trough, low, high, 1.0 - rising)
    valley = torch.addcmul(height, slope, stationary).neg_()
    least = torch.minimum(at_low, at_high)
    least = torch.lerp(least, torch.minimum(least, valley), inside)
    slack = _slack(low, high)
    return slope, least.sub_(slack), most.add_(slack)


def _nearest(stationary: Tensor, low: Tensor, high: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first (for a weight of 1; the last for 0) of place + 2 pi k inside the range, and 1 if there is one.

    Only the far end is compared: rounding may then count a place that lies just outside, never lose one inside by more
    than its own uncertainty, which changes the remainder by its square.
    """
    turns = torch.lerp(((high - stationary) / _PERIOD).floor_(), ((low - stationary) / _PERIOD).ceil_(), first)
    stationary = torch.add(stationary, turns, alpha=_PERIOD)
    return stationary, torch.lerp(at_most(low, stationary), at_most(stationary, high), first)


def _slack(low: Tensor, high: Tensor) -> Tensor:
    """Return the rounding errors of sin(x) - s x and of 2 pi k, for |s| <= 1."""
    return torch.maximum(low.abs(), high.abs()).add_(1.0).mul_(gamma(48))


def image(wave: Callable[[Tensor], Tensor], crest: float, low: Tensor, high: Tensor) -> Range:
    """Return the range of a wave, sin or cos, with crests at crest + 2 pi k."""
    below, above = wave(low), wave(high)
    least, most = torch.minimum(below, above), torch.maximum(below, above)
    slack = _slack(low, high)
    peaks, valleys = (_reaches(torch.full_like(low, at), low, high, slack) for at in (crest, crest + math.pi))
    least, most = least.masked_fill_(valleys, -1.0), most.masked_fill_(peaks, 1.0)
    return least.sub_(slack).clamp_(-1.0, 1.0).nan_to_num_(-1.0), most.add_(slack).clamp_(-1.0, 1.0).nan_to_num_(1.0)


def _reaches(stationary: Tensor, low: Tensor, high: Tensor, slack: Tensor) -> Tensor:
    """Say where place + 2 pi k is inside the range, or nearly."""
    first = torch.add(stationary, ((low - slack - stationary) / _PERIOD).ceil_(), alpha=_PERIOD)
    return (first <= high + slack).logical_or_((high - low).isfinite().logical_not_())
