"""Functions such as gelu and silu, whose critical places have no closed form.

They are bounded by their curvature, and by their distance from relu.

gelu is x Phi(x) with the normal distribution function Phi, silu is x sigmoid(x). Both are convex near zero and concave
beyond an inflection; both stay below relu, by |x| Phi(-|x|) and |x| sigmoid(-|x|), which rise up to |x| = `deepest` and
then fall.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from hpcsweep.approx.models.activations import Hump
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import TINY, gamma
from hpcsweep.approx.supnorm.certificate.enclosure.sigmoidal import at_most

Relaxation = tuple[Tensor, Tensor, Tensor]
Range = tuple[Tensor, Tensor]
_PIECES = 4  # of a range; one evaluation each, for remainders within a few percent of the smallest


@final
@dataclass(frozen=True)
class GeluSilu:
    """One of these functions, by what is known of it."""

    known: Hump

    def relax(self, low: Tensor, high: Tensor) -> Relaxation:
        """Relax by the chord."""
        below, above = self.known.value(low), self.known.value(high)
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
            at_knot = torch.addcmul(self.known.value(knot), slope, knot, value=-1.0)
            least, most = torch.minimum(least, at_knot), torch.maximum(most, at_knot)
        at_near, at_far = self.known.curvature(near), self.known.curvature(far)
        largest = torch.maximum(at_near, at_far).add_(gamma(64)).clamp_(min=0.0)
        smallest = torch.minimum(at_near, at_far).sub_(gamma(64)).clamp_(max=0.0)
        turns = at_most(near, self.known.turning).mul_(at_most(self.known.turning, far))
        smallest = torch.lerp(smallest, torch.full_like(far, self.known.trough), turns)
        bow = width.square_().mul_(0.125 / _PIECES**2)
        return least.addcmul_(largest, bow, value=-1.0), most.addcmul_(smallest, bow, value=-1.0)

    def _by_relu(
        self, below: Tensor, above: Tensor, low: Tensor, high: Tensor, slope: Tensor, near: Tensor, far: Tensor
    ) -> Range:
        """relu - slope x has its extremes at the ends and at the kink; g lies below relu, by `deep` at most."""
        hinge_low, hinge_high = low.clamp(min=0.0), high.clamp(min=0.0)
        deep = torch.maximum(hinge_low - below, hinge_high - above)
        deepest = at_most(near, self.known.deepest).mul_(at_most(self.known.deepest, far))
        deep = torch.lerp(deep, torch.full_like(far, self.known.depth), deepest)
        kink = high.clamp(max=0.0).add_(hinge_low)  # zero, or the end of the range that is next to it
        at_low = torch.addcmul(hinge_low, slope, low, value=-1.0)
        at_high = torch.addcmul(hinge_high, slope, high, value=-1.0)
        at_kink = torch.addcmul(hinge_low, slope, kink, value=-1.0)
        least = torch.minimum(torch.minimum(at_low, at_high), at_kink)
        return least.sub_(deep), torch.maximum(torch.maximum(at_low, at_high), at_kink)

    def image(self, low: Tensor, high: Tensor) -> Range:
        """g falls up to -deepest and rises from there."""
        known = self.known
        ends = [known.value(end).nan_to_num_(0.0, math.inf, 0.0) for end in (low, high)]  # g(-inf) = 0 comes as NaN
        slack = torch.maximum(low.abs(), high.abs()).nan_to_num_(0.0, 0.0).add_(1.0).mul_(gamma(96))
        inside = (low <= -known.deepest) & (high >= -known.deepest)
        least = torch.minimum(*ends).masked_fill_(inside, -known.depth)
        return least.sub_(slack), torch.maximum(*ends).add_(slack)


def _distances(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return the smallest and the largest |x| of a range."""
    return torch.maximum(low, -high).clamp_(min=0.0), torch.maximum(-low, high)
