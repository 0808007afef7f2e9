"""gelu and silu, whose critical places have no closed form: bounded by curvature, and by their distance from relu.

x Phi(x) with the normal distribution function Phi, and x sigmoid(x). Both are convex near zero and concave beyond an
inflection, both stay below relu by |x| Phi(-|x|) and |x| sigmoid(-|x|), which rise up to |x| = `deepest` and then fall.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.bends import at_most
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import TINY, gamma

Relaxation = tuple[Tensor, Tensor, Tensor]
Range = tuple[Tensor, Tensor]
_PIECES = 4  # of a range; one evaluation each, for remainders within a few percent of the smallest


@final
@dataclass(frozen=True)
class Bump:
    """One of the two functions g.

    Parameters
    ----------
    value, curvature: g and its second derivative, which is even, falls up to x = `turning` and then rises to 0.
    deepest, depth: relu - g is largest at x = +-deepest, and there at most `depth`; at -deepest g is smallest.
    turning, trough: g'' is smallest at x = +-turning, and there at least `trough`.
    """

    value: Callable[[Tensor], Tensor]
    curvature: Callable[[Tensor], Tensor]
    deepest: float
    depth: float
    turning: float
    trough: float

    def relax(self, low: Tensor, high: Tensor) -> Relaxation:
        """Relax by the chord."""
        below, above = self.value(low), self.value(high)
        width = high - low
        slope = (above - below).div_(width.clamp(min=TINY)).clamp_(-0.2, 1.2)
        near, far = _distances(low, high)
        curved = self._by_curvature(below, above, low, high, slope, near, far)
        hinged = self._by_relu(below, above, low, high, slope, near, far)
        slack = far.add(1.0).mul_(gamma(96))
        least, most = torch.maximum(curved[0], hinged[0]), torch.minimum(curved[1], hinged[1])
        return slope, least.sub_(slack), most.add_(slack)

    def _by_curvature(
        self, below: Tensor, above: Tensor, low: Tensor, high: Tensor, slope: Tensor, near: Tensor, far: Tensor
    ) -> Range:
        """By equal pieces: g - (its chord) = g''(y) (x - a)(x - b) / 2 on [a, b], within -g''(y) [0, (b - a)^2 / 8]."""
        width = high - low
        least = torch.addcmul(below, slope, low, value=-1.0)
        most = torch.addcmul(above, slope, high, value=-1.0)
        least, most = torch.minimum(least, most), torch.maximum(least, most)
        for k in range(1, _PIECES):
            knot = torch.add(low, width, alpha=k / _PIECES)
            at_knot = torch.addcmul(self.value(knot), slope, knot, value=-1.0)
            least, most = torch.minimum(least, at_knot), torch.maximum(most, at_knot)
        at_near, at_far = self.curvature(near), self.curvature(far)
        largest = torch.maximum(at_near, at_far).add_(gamma(64)).clamp_(min=0.0)
        smallest = torch.minimum(at_near, at_far).sub_(gamma(64)).clamp_(max=0.0)
        turns = at_most(near, self.turning).mul_(at_most(self.turning, far))
        smallest = torch.lerp(smallest, torch.full_like(far, self.trough), turns)
        bow = width.square_().mul_(0.125 / _PIECES**2)
        return least.addcmul_(largest, bow, value=-1.0), most.addcmul_(smallest, bow, value=-1.0)

    def _by_relu(
        self, below: Tensor, above: Tensor, low: Tensor, high: Tensor, slope: Tensor, near: Tensor, far: Tensor
    ) -> Range:
        """relu - slope x has its extremes at the ends and at the kink; g lies below relu, by `deep` at most."""
        hinge_low, hinge_high = low.clamp(min=0.0), high.clamp(min=0.0)
        deep = torch.maximum(hinge_low - below, hinge_high - above)
        deepest = at_most(near, self.deepest).mul_(at_most(self.deepest, far))
        deep = torch.lerp(deep, torch.full_like(far, self.depth), deepest)
        kink = high.clamp(max=0.0).add_(hinge_low)  # zero, or the end of the range that is next to it
        at_low = torch.addcmul(hinge_low, slope, low, value=-1.0)
        at_high = torch.addcmul(hinge_high, slope, high, value=-1.0)
        at_kink = torch.addcmul(hinge_low, slope, kink, value=-1.0)
        least = torch.minimum(torch.minimum(at_low, at_high), at_kink)
        return least.sub_(deep), torch.maximum(torch.maximum(at_low, at_high), at_kink)

    def image(self, low: Tensor, high: Tensor) -> Range:
        """g falls up to -deepest and rises from there."""
        ends = [self.value(end).nan_to_num_(0.0, math.inf, 0.0) for end in (low, high)]  # g(-inf) = 0 comes as NaN
        slack = torch.maximum(low.abs(), high.abs()).nan_to_num_(0.0, 0.0).add_(1.0).mul_(gamma(96))
        least = torch.minimum(*ends).masked_fill_((low <= -self.deepest) & (high >= -self.deepest), -self.depth)
        return least.sub_(slack), torch.maximum(*ends).add_(slack)


def _distances(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return the smallest and the largest |x| of a range."""
    return torch.maximum(low, -high).clamp_(min=0.0), torch.maximum(-low, high)


def _gelu_curvature(x: Tensor) -> Tensor:
    """(2 - x^2) exp(-x^2 / 2) / sqrt(2 pi)."""
    square = torch.square(x)
    return torch.exp(-0.5 * square).mul_(2.0 - square).mul_(1 / math.sqrt(2 * math.pi))


def _silu_curvature(x: Tensor) -> Tensor:
    """(1 - t^2) (1 - x t / 2) / 2 with t = tanh(x / 2), from sigmoid = (1 + t) / 2."""
    t = torch.tanh(0.5 * x)
    return (1.0 - t * t).mul_(1.0 - 0.5 * x * t).mul_(0.5)


_GELU = Bump(
    value=lambda x: torch.erf(x * math.sqrt(0.5)).add_(1.0).mul_(0.5).mul_(x),
    curvature=_gelu_curvature,
    deepest=0.7517915246935646,
    depth=0.16997120747990372,
    turning=2.0,
    trough=-0.10798193302637612,
)
_SILU = Bump(
    value=lambda x: torch.tanh(x * 0.5).add_(1.0).mul_(0.5).mul_(x),
    curvature=_silu_curvature,
    deepest=1.278464542761074,
    depth=0.2784645427610739,
    turning=3.4358409935106896,
    trough=-0.0369143731998932,
)
gelu, gelu_image = _GELU.relax, _GELU.image
silu, silu_image = _SILU.relax, _SILU.image
