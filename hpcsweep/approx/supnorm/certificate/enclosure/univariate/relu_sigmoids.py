"""relu, and functions whose slope has one extreme, at zero: tanh, sigmoid, erf, arctan, arcsin, arcsinh, softsign."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.rounding import ELEMENTARY, TINY, gamma, outward
from hpcsweep.approx.supnorm.certificate.enclosure.univariate.relaxation import (
    Range,
    Relaxation,
    at_most,
    chord,
    remainder,
)


def relu(low: Tensor, high: Tensor) -> Relaxation:
    """With a slope s in [0, 1]: max(x, 0) - s x lies between 0 and the larger of its ends.

    s = high / (high - low) where the range contains the kink: the smallest remainder (Zhang et al. 2018).
    """
    slope = torch.clamp_(high / (high - low).clamp_(min=TINY), 0.0, 1.0)
    # at the upper end (1 - s) high, at the lower one -s low; with s = 0 or 1 these are <= 0 beyond the kink
    most = torch.maximum(remainder(high, slope, high), -slope * low).clamp_(min=0.0)
    most.add_(high.abs(), alpha=gamma(4)).add_(TINY)
    return slope, torch.zeros_like(low), most


def rising(function: Callable[[Tensor], Tensor], roundings: int = 48) -> Callable[[Tensor, Tensor], Range]:
    """Return the image of a rising function of at most 2 in absolute value."""

    def image(low: Tensor, high: Tensor) -> Range:
        return function(low).sub_(gamma(roundings)), function(high).add_(gamma(roundings))

    return image


def tanh(low: Tensor, high: Tensor) -> Relaxation:
    """Exact: 1 - tanh^2 = s where x = +-arcosh(1 / sqrt s), there tanh x = +-sqrt(1 - s).

    With the chord's slope, the remainder is the same at both ends, but for the rounding of the slope times the width:
    20 roundings of 1.
    """
    below, width = torch.tanh(low), (high - low).clamp_(min=TINY)
    slope = torch.tanh(high).sub_(below).div_(width).clamp_(0.0, 1.0)
    height = (1.0 - slope).sqrt_()
    stationary = (height + 1.0).square_().div_(slope).log_().mul_(0.5).clamp_(max=400.0)  # below 373 for any s > 0
    height.addcmul_(slope, stationary, value=-1.0)
    at_ends = below.addcmul_(slope, low, value=-1.0)
    most = torch.lerp(at_ends, height, at_most(low, stationary).mul_(at_most(stationary, high)))
    stationary.neg_()
    least = torch.lerp(at_ends, height.neg_(), at_most(low, stationary).mul_(at_most(stationary, high)))
    # s max(|low|, |high|) <= 2 for a chord of tanh: some 80 roundings of numbers up to 2, with those of the slope
    return slope, least.sub_(gamma(160)), most.add_(gamma(160))


def sigmoid(low: Tensor, high: Tensor) -> Relaxation:
    """By sigmoid(x) = 1/2 + tanh(x / 2) / 2."""
    slope, least, most = tanh(low * 0.5, high * 0.5)
    doubt = gamma(4)
    return slope.mul_(0.25), least.mul_(0.5).add_(0.5 - doubt), most.mul_(0.5).add_(0.5 + doubt)


def logistic(inputs: Tensor) -> Tensor:
    """Return sigmoid(x) without torch.sigmoid, which is less accurate."""
    return torch.tanh(inputs * 0.5).mul_(0.5).add_(0.5)


def erf(low: Tensor, high: Tensor) -> Relaxation:
    """Exact: 2 / sqrt(pi) exp(-x^2) = s where x = +-sqrt(-log(s sqrt(pi) / 2))."""
    below, above = torch.erf(low), torch.erf(high)
    slope = chord(below, above, low, high).clamp_(0.0, 2 / math.sqrt(math.pi))
    stationary = (slope * (math.sqrt(math.pi) / 2)).log_().neg_().clamp_(0.0, 1e3).sqrt_()
    height = remainder(torch.erf(stationary), slope, stationary)
    return _odd(below, above, low, high, slope, stationary, height, gamma(96))


def arctan(low: Tensor, high: Tensor) -> Relaxation:
    """Exact: 1 / (1 + x^2) = s where x = +-sqrt((1 - s) / s)."""
    below, above = torch.arctan(low), torch.arctan(high)
    slope = chord(below, above, low, high).clamp_(0.0, 1.0)
    stationary = ((1.0 - slope) / slope).sqrt_().clamp_(max=1e150)
    height = remainder(torch.arctan(stationary), slope, stationary)
    return _odd(below, above, low, high, slope, stationary, height, gamma(160))


def arcsin(low: Tensor, high: Tensor) -> Relaxation:
    """Exact: 1 / sqrt(1 - x^2) = s where x = +-sqrt(1 - 1 / s^2); steep at the ends +-1, where the chord is finite."""
    left, right = low.clamp(-1.0, 1.0), high.clamp(-1.0, 1.0)
    below, above = torch.arcsin(left), torch.arcsin(right)
    slope = chord(below, above, left, right).clamp_(1.0, 1e8)  # arcsin is steeper only within 1e-16 of the ends
    root = ((slope - 1.0) * (slope + 1.0)).sqrt_()  # s times the place
    height = root - torch.arctan(root)  # arccos(1 / s), which would lose half of its digits at a slope near 1
    # the largest remainder is at the negative place; near the ends a place is uncertain by UNIT, its value by s UNIT
    return _odd(below, above, left, right, slope, -root / slope, height, (slope + 2.0) * gamma(48))


def arcsinh(low: Tensor, high: Tensor) -> Relaxation:
    """Exact: 1 / sqrt(1 + x^2) = s where x = +-sqrt(1 - s^2) / s."""
    below, above = torch.arcsinh(low), torch.arcsinh(high)
    slope = chord(below, above, low, high).clamp_(0.0, 1.0)
    root = ((1.0 - slope) * (1.0 + slope)).sqrt_()  # s times the place
    height = ((1.0 + root) / slope).log_().sub_(root)
    slack = torch.maximum(below.abs(), above.abs()).add_(2.0).mul_(gamma(160))
    return _odd(below, above, low, high, slope, root / slope, height, slack)


def arcsinh_image(low: Tensor, high: Tensor) -> Range:
    """It rises."""
    return outward(torch.arcsinh(low), torch.arcsinh(high), ELEMENTARY)


def soft_sign(inputs: Tensor) -> Tensor:
    """Return x / (1 + |x|), and +-1 at infinity."""
    inputs = inputs.clamp(-1e300, 1e300)
    return inputs / (1.0 + inputs.abs())


def softsign(low: Tensor, high: Tensor) -> Relaxation:
    """Exact: 1 / (1 + |x|)^2 = s where |x| = 1 / sqrt(s) - 1."""
    below, above = soft_sign(low), soft_sign(high)
    slope = chord(below, above, low, high).clamp_(0.0, 1.0)
    root = slope.sqrt()
    return _odd(below, above, low, high, slope, 1.0 / root - 1.0, (1.0 - root).square_(), gamma(160))


def _odd(
    below: Tensor,
    above: Tensor,
    low: Tensor,
    high: Tensor,
    slope: Tensor,
    stationary: Tensor,
    height: Tensor,
    slack: Tensor | float,
) -> Relaxation:
    """Relax an odd function g with the values `below`, `above` at the ends.

    Parameters
    ----------
    stationary, height: g(x) - slope x is locally largest at x = stationary, of this height, smallest at -stationary.
    slack: of rounding.
    """
    at_low = remainder(below, slope, low)
    at_high = remainder(above, slope, high)
    least, most = torch.minimum(at_low, at_high), torch.maximum(at_low, at_high)
    most = torch.lerp(most, torch.maximum(most, height), at_most(low, stationary).mul_(at_most(stationary, high)))
    stationary, height = stationary.neg(), height.neg()
    least = torch.lerp(least, torch.minimum(least, height), at_most(low, stationary).mul_(at_most(stationary, high)))
    return slope, least.sub_(slack), most.add_(slack)
