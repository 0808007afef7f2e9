"""gelu and silu, whose critical places have no closed form: bounds by their curvature and by their distance from relu.

gelu is x Phi(x) with the normal distribution function Phi, silu is x sigmoid(x). Both are convex near zero and concave
beyond an inflection; both stay below relu, by |x| Phi(-|x|) and |x| sigmoid(-|x|), which rise up to |x| = `deepest` and
then fall.
"""

from __future__ import annotations

import math
from functools import reduce

import torch
from torch import Tensor

from hpcsweep.approx.models.activations import SelfGatedFunction
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import gamma
from hpcsweep.approx.supnorm.certificate.enclosure.univariate.relaxation import (
    Range,
    Relaxation,
    at_most,
    chord,
    remainder,
)

_PIECES = 4  # of a range; one evaluation each, for remainders within a few percent of the smallest


def relax(function: SelfGatedFunction, low: Tensor, high: Tensor) -> Relaxation:
    """Relax by the chord."""
    below, above = function.value(low), function.value(high)
    slope = chord(below, above, low, high).clamp_(-0.2, 1.2)
    near, far = torch.maximum(low, -high).clamp_(min=0.0), torch.maximum(-low, high)  # of |x|
    curved = _by_curvature(function, below, above, low, high, slope, near, far)
    hinged = _by_relu(function, below, above, low, high, slope, near, far)
    slack = far.add(1.0).mul_(gamma(96))
    least, most = torch.maximum(curved[0], hinged[0]), torch.minimum(curved[1], hinged[1])
    return slope, least.sub_(slack), most.add_(slack)


def image(function: SelfGatedFunction, low: Tensor, high: Tensor) -> Range:
    """g falls up to -deepest and rises from there."""
    ends = [function.value(end).nan_to_num_(0.0, math.inf, 0.0) for end in (low, high)]  # g(-inf) = 0 comes as NaN
    slack = torch.maximum(low.abs(), high.abs()).nan_to_num_(0.0, 0.0).add_(1.0).mul_(gamma(96))
    inside = (low <= -function.deepest) & (high >= -function.deepest)
    least = torch.minimum(*ends).masked_fill_(inside, -function.depth)
    return least.sub_(slack), torch.maximum(*ends).add_(slack)


def _by_curvature(
    function: SelfGatedFunction,
    below: Tensor,
    above: Tensor,
    low: Tensor,
    high: Tensor,
    slope: Tensor,
    near: Tensor,
    far: Tensor,
) -> Range:
    """By equal pieces: g - (its chord) = g''(y) (x - a)(x - b) / 2 on [a, b], within -g''(y) [0, (b - a)^2 / 8]."""
    width = high - low
    least, most = remainder(below, slope, low), remainder(above, slope, high)
    least, most = torch.minimum(least, most), torch.maximum(least, most)
    for k in range(1, _PIECES):
        knot = torch.add(low, width, alpha=k / _PIECES)
        at_knot = remainder(function.value(knot), slope, knot)
        least, most = torch.minimum(least, at_knot), torch.maximum(most, at_knot)
    at_near, at_far = function.curvature(near), function.curvature(far)
    largest = torch.maximum(at_near, at_far).add_(gamma(64)).clamp_(min=0.0)
    smallest = torch.minimum(at_near, at_far).sub_(gamma(64)).clamp_(max=0.0)
    turns = at_most(near, function.turning).mul_(at_most(function.turning, far))
    smallest = torch.lerp(smallest, torch.full_like(far, function.trough), turns)
    sagitta = width.square_().mul_(0.125 / _PIECES**2)
    return least.addcmul_(largest, sagitta, value=-1.0), most.addcmul_(smallest, sagitta, value=-1.0)


def _by_relu(
    function: SelfGatedFunction,
    below: Tensor,
    above: Tensor,
    low: Tensor,
    high: Tensor,
    slope: Tensor,
    near: Tensor,
    far: Tensor,
) -> Range:
    """relu - slope x has its extremes at the ends and at the kink; g lies below relu, by `deep` at most."""
    hinge_low, hinge_high = low.clamp(min=0.0), high.clamp(min=0.0)
    deep = torch.maximum(hinge_low - below, hinge_high - above)
    deepest = at_most(near, function.deepest).mul_(at_most(function.deepest, far))
    deep = torch.lerp(deep, torch.full_like(far, function.depth), deepest)
    kink = high.clamp(max=0.0).add_(hinge_low)  # zero, or the end of the range that is next to it
    ends = [remainder(at, slope, x) for at, x in ((hinge_low, low), (hinge_high, high), (hinge_low, kink))]
    least, most = (reduce(extreme, ends) for extreme in (torch.minimum, torch.maximum))
    return least.sub_(deep), most
