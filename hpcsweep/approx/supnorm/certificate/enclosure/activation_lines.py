"""Straight lines below and above an activation function, one pair for each neuron and box, and what both passes need of
them: the forward pass a slope, a middle and a half width, the backward pass the lines put in place of the activations.

Temporaries are what costs here, so that arguments named `low` and `high` are overwritten. `torch.where` costs as much
as sixteen multiplications: masks are made by clamping and rounding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor

from hpcsweep.approx.models.activations import ACTIVATIONS
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import ELEMENTARY, TINY, gamma
from hpcsweep.approx.supnorm.certificate.enclosure.univariate import registry

_LEAST = 2.0**-1074  # a length to divide by where there is none


class Lines(ABC):
    """Lines about the activations of one layer, valid on the ranges [low, high] of its pre-activations.

    Attributes
    ----------
    slope: (boxes, width), of the line about which the forward pass expands
    size: (boxes,), an upper bound of |center| + sum |slopes| + radius of the form that `advance` leaves
    """

    slope: Tensor
    size: Tensor

    @abstractmethod
    def advance(self, terms: Tensor, radius: Tensor) -> None:
        """Replace the form of the pre-activations by that of the activations.

        Not counted: roundings, at most 8 of `size`.

        Parameters
        ----------
        terms, radius: (1 + dimension, boxes, width) and (boxes, width), overwritten.
        """

    @abstractmethod
    def substitute(self, row: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Bound row . activations from above by row' . preactivations + constant.

        Not counted: roundings, at most 16 times |row'| . |preactivations| + magnitude.

        Parameters
        ----------
        row: (rows, boxes or 1, width)

        Returns
        -------
        row', constant, magnitude: (rows, boxes, width) and twice (rows, boxes); a magnitude of 0 is left a scalar.
        """

    @abstractmethod
    def cut(self, boxes: slice) -> Lines:
        """Return the lines of some of the boxes."""


@final
class ReluLines(Lines):
    """ReLU: the chord above; below, the steeper of 0 and x where the chord is the steeper one.

    The forward pass takes the parallels of the chord (the parallelogram of least area, as in zonotopes: Singh et al.,
    NeurIPS 2018), the backward pass both lines (CROWN: Zhang et al., NeurIPS 2018).
    """

    def __init__(self, slope: Tensor, low: Tensor, size: Tensor) -> None:
        self.slope, self.low, self.size = slope, low, size

    def advance(self, terms: Tensor, radius: Tensor) -> None:
        half = torch.mul(self.slope, self.low).mul_(-0.5)  # the chord's height over the kink is -slope * low
        terms.mul_(self.slope)
        terms[0].add_(half)
        torch.addcmul(half, radius, self.slope, out=radius)

    def substitute(self, row: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rising = row.clamp(min=0)
        below = (row - rising) * self.slope.round()
        above = rising * self.slope
        constant = (above * self.low).sum(-1).neg_()
        return above.add_(below), constant, constant.new_zeros(())

    def cut(self, boxes: slice) -> ReluLines:
        return ReluLines(self.slope[boxes], self.low[boxes], self.size[boxes])


@final
class ParallelLines(Lines):
    """Two parallel lines: least <= g(x) - slope x <= most, (boxes, width) each."""

    def __init__(self, slope: Tensor, least: Tensor, most: Tensor, size: Tensor) -> None:
        self.slope, self.least, self.most, self.size = slope, least, most, size

    def advance(self, terms: Tensor, radius: Tensor) -> None:
        terms.mul_(self.slope)
        terms[0].add_(self.least, alpha=0.5).add_(self.most, alpha=0.5)
        radius.mul_(self.slope.abs()).add_(self.most, alpha=0.5).sub_(self.least, alpha=0.5)

    def substitute(self, row: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rising = row.clamp(min=0)
        ends = rising * self.most
        ends.addcmul_(row - rising, self.least)
        constant = ends.sum(-1)
        return row * self.slope, constant, ends.abs_().sum(-1)

    def cut(self, boxes: slice) -> ParallelLines:
        return ParallelLines(self.slope[boxes], self.least[boxes], self.most[boxes], self.size[boxes])


def largest(low: Tensor, high: Tensor) -> Tensor:
    """Return the largest |x| of all ranges of a box, (boxes,)."""
    return torch.maximum(high.amax(1), low.amin(1).neg_())


def lines_about(activation: str, low: Tensor, high: Tensor, mass: Tensor | None = None) -> Lines:
    """Return lines about an activation on ranges (boxes, width), which are overwritten.

    Parameters
    ----------
    mass: (boxes,), a bound of |center| + sum |slopes| + radius of the form of the pre-activations, where the ranges
        are narrower than the form.
    """
    if activation == "relu":
        lines = _relu(low, high)
        return lines if mass is None else ReluLines(lines.slope, lines.low, mass.mul(2 * (1 + gamma(4))))
    # |slope x| <= steepness |x|, and |least|, |most| <= |g(x)| + |slope x|; |g(x)| <= offset + steepness |x|.
    known = ACTIVATIONS[activation]
    size = (largest(low, high) if mass is None else mass).mul(3 * known.steepness * (1 + gamma(8)))
    if known.offset:
        size.add_(known.offset * (1 + gamma(8)))
    slope, least, most = tanh(low, high) if activation == "tanh" else registry.relax(activation, low, high)
    return ParallelLines(slope, least, most, size)


def _relu(low: Tensor, high: Tensor) -> ReluLines:
    """Return the lines about max(x, 0).

    On [low, high] with low <= 0 <= high the slope high / (high - low) is that of the chord; elsewhere the clamped
    ends make it 0 or 1, and the height 0. Its rounding shifts the chord by at most 3 roundings of `high`, which is at
    most twice slope * |x| at the worst end, and at most `size`.
    """
    low.clamp_(max=0)
    high.clamp_(min=0)
    size = high.amax(1).mul_(2 * (1 + gamma(4)))  # slope |x| + the height <= 2 high
    length = torch.sub(high, low)
    overflow = length - length  # NaN: no bound
    return ReluLines(high.div_(length.clamp_(min=_LEAST)).add_(overflow), low, size)


def tanh(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return slope, least, most with tanh(x) - slope x in [least, most] on [low, high], (boxes, width) each.

    The slope is that of the chord, without cancellation, since tanh b - tanh a = tanh(b - a) (1 - tanh a tanh b). For
    whatever slope s in (0, 1], h(x) = tanh x - s x has its only maximum on x > 0 in p = log((1 + t) / sqrt s), where
    tanh p = t = sqrt(1 - s), and is odd: where p < high the most is max(h(low), h(high), h(p)), elsewhere without
    h(p), which 2 (p - high) then brings below h(high). Counted: roundings, but for 2 of |slope x|.
    """
    first, last = torch.tanh(low), torch.tanh(high)
    width = torch.sub(high, low).clamp_(min=TINY)
    slope = torch.tanh(width).div_(width).mul_(torch.mul(first, last).neg_().add_(1))
    slope.clamp_(min=TINY, max=1)
    top = torch.rsub(slope, 1).sqrt_()  # tanh p
    stationary = torch.add(top, 1, out=width).div_(torch.sqrt(slope)).log_()  # p
    peak = torch.addcmul(top, slope, stationary, value=-1, out=top)  # h(p)
    first.addcmul_(slope, low, value=-1)
    last.addcmul_(slope, high, value=-1)
    most = torch.sub(stationary, high, out=high).clamp_(min=0).mul_(-2).add_(peak)
    least = torch.add(stationary, low, out=low).clamp_(min=0).mul_(2).sub_(peak)
    most = torch.maximum(torch.maximum(most, first, out=most), last, out=most)
    least = torch.minimum(torch.minimum(least, first, out=least), last, out=least)
    # h(p): 1.5 elementary values of t and p's argument, p < 1 / s; ends: one elementary value below 1
    doubt = gamma(6 * ELEMENTARY)
    return slope, least.sub_(doubt), most.add_(doubt)
