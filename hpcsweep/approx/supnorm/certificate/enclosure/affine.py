"""Affine forms: a function on many boxes at once, as a linear function of the place in the box and a remainder.

On every box the values lie in center + sum_i slopes_i e_i + [-radius, radius] with the unit coordinates e in
[-1, 1]^d of the box, for REAL arithmetic: the rounding of each operation is in the radius. A form behaves as a
tensor of shape (boxes, *features), so that code written for points runs on boxes (`__torch_function__`); the
operations are in `RULES`, which the other modules of this package fill. What has no rule raises `NoEnclosure`.
Stolfi and de Figueiredo, Self-Validated Numerical Methods and Applications (1997), chapter 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.kernels.polynomials import absolute_sums
from hpcsweep.approx.supnorm.certificate.enclosure.numbers import Numbers
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import TINY, gamma
from hpcsweep.approx.supnorm.certificate.enclosure.rules import (
    RULES,
    Elsewhere,
    NoEnclosure,
    apply,
    refusal,
    rule,
)

__all__ = ["RULES", "AffineForm", "Constant", "Elsewhere", "NoEnclosure", "apply", "boxes", "constant", "rule"]

Constant = Tensor | float | int
_MANY = 9  # terms from which on a compiled loop adds them up faster than torch, one by one


@final
class AffineForm(Numbers):
    """Values of a function on boxes. Only `+=` and its like change a form, as they change a tensor.

    Parameters
    ----------
    terms: (1 + dimension, boxes, *features) float64, the center and the slopes in one tensor, so that a layer is
        one matrix product and a scaling one pass. More rows are those of a Taylor model (`taylor.monomials`), whose
        monomials stand in the place of the unit coordinates.
    radius: (boxes, *features) >= 0.
    known: a range (low, high) that is known by other means, (boxes, *features) each; `range` cuts with it.

    Attributes
    ----------
    viewed: whether another name may stand for the same numbers, as a view of a tensor does.
    """

    __slots__ = ("_reach", "known", "radius", "terms", "viewed")

    def __init__(self, terms: Tensor, radius: Tensor, known: tuple[Tensor, Tensor] | None = None) -> None:
        self.terms, self.radius, self.known = terms, radius, known
        self._reach: Tensor | None = None
        self.viewed = False

    @property
    def _values(self) -> Tensor:
        return self.radius

    @property
    def center(self) -> Tensor:
        """The values at the centers of the boxes, (boxes, *features)."""
        return self.terms[0]

    @property
    def slopes(self) -> Tensor:
        """The coefficients of the unit coordinates, (dimension, boxes, *features)."""
        return self.terms[1:]

    def reach(self) -> Tensor:
        """Return an upper bound of sum |slopes|, (boxes, *features); computed once."""
        if self._reach is None:
            total = torch.zeros(self.shape, dtype=self.dtype, device=self.device)  # its numbers in order, for `out`
            if len(self.terms) > _MANY:
                terms, out = self.terms.contiguous().numpy().reshape(-1), total.numpy().reshape(-1)
                absolute_sums[np.float64](len(self.terms), total.numel(), terms, out)
            else:
                for slope in self.slopes:  # twice as fast as slopes.abs().sum(0), a hundred times as a vector norm
                    total.add_(slope.abs())
            self._reach = total.mul_(1 + gamma(len(self.slopes) + 1))
        return self._reach

    def spread(self) -> Tensor:
        """Return an upper bound of sum |slopes| + radius, (boxes, *features)."""
        return (self.reach() + self.radius).mul_(1 + gamma(2)).add_(TINY)

    def mass(self) -> Tensor:
        """Return an upper bound of |center| + sum |slopes| + radius, (boxes, *features)."""
        return self.spread().add_(self.center.abs()).mul_(1 + gamma(2))

    def range(self) -> tuple[Tensor, Tensor]:
        """Return (low, high), (boxes, *features) each, that enclose all values; infinite where nothing is known."""
        # An overflown center makes this infinite, so that one end becomes NaN and then unbounded.
        spread = (self.reach() + self.radius).mul_(1 + gamma(6))
        spread.add_(self.center.abs(), alpha=gamma(4)).add_(TINY)
        low = (self.center - spread).nan_to_num_(-math.inf, math.inf, -math.inf)
        high = (self.center + spread).nan_to_num_(math.inf, math.inf, -math.inf)
        if self.known is None:
            return low, high
        # A form without bounds may be that of a value that is none, sqrt(-1): what is known of numbers is not of it.
        unbounded = (high - low).isinf()
        known = self.known[0].masked_fill(unbounded, -math.inf), self.known[1].masked_fill(unbounded, math.inf)
        return torch.maximum(low, known[0]), torch.minimum(high, known[1])

    def affine(self, slope: Tensor, least: Tensor, most: Tensor) -> AffineForm:
        """Return slope * form + [least, most], (boxes, *features) each: how every rule of one variable ends."""
        middle = torch.lerp(least, most, 0.5)
        terms = self.terms * slope
        terms[0] += middle
        # All that is rounded here, 14 times at most, is relative to mass times slope, half the width, or the middle;
        # the middle is off by 3 roundings of |least| + |most| <= 2 (|middle| + half the width), and rounds once more.
        radius = torch.add(self.radius, self.mass(), alpha=gamma(24)).mul_(slope.abs())
        radius.add_(most - least, alpha=0.5 + gamma(24)).add_(middle.abs_(), alpha=gamma(24)).add_(TINY)
        return AffineForm(terms, radius)

    def linear(self, weight: Tensor, bias: Tensor | None) -> AffineForm:
        """Return form W^T + b for features (inputs,); weight (outputs, inputs) and bias (outputs,) are float64."""
        outputs, inputs = weight.shape
        terms = (self.terms.reshape(-1, inputs) @ weight.T).view(*self.terms.shape[:-1], outputs)
        # a sum of n products and the bias: n + 1 roundings of the sum of absolute values, whatever the order
        doubt = torch.add(self.radius, self.mass(), alpha=gamma(inputs + 2))
        radius = (doubt.reshape(-1, inputs) @ weight.abs().T).view(*self.shape[:-1], outputs)
        if bias is not None:
            terms[0] += bias
            radius.add_(bias.abs(), alpha=gamma(inputs + 2))
        return AffineForm(terms, radius.mul_(1 + gamma(inputs + 6)).add_(TINY))

    __iter__ = refusal("iter")


def constant(value: Constant, like: Any) -> Tensor:
    """Return a number or tensor as exact float64 on the device of `like`."""
    value = value.item() if isinstance(value, np.generic) else value
    if not isinstance(value, Tensor | float | int):
        raise NoEnclosure(f"a constant of type {type(value).__name__}")
    if isinstance(value, Tensor) and value.is_complex():
        raise NoEnclosure("a complex constant")
    return torch.as_tensor(value, dtype=torch.float64, device=like.device).detach()


def boxes(centers: Tensor, radii: Tensor, domain: Sequence[tuple[float, float]]) -> AffineForm:
    """Return the form of the points of some boxes, features (dimension,): x = middle + half * u on each axis.

    Parameters
    ----------
    centers, radii: (boxes, dimension) float64 in unit coordinates u; the boxes are u = centers + radii * e.
    domain: the box that [-1, 1]^dimension stands for, (low, high) for each axis.
    """
    low, high = torch.tensor(domain, dtype=torch.float64, device=centers.device).T  # (dimension,) each
    terms = centers.new_zeros(1 + len(low), *centers.shape)
    terms[0] = centers
    terms[1:].diagonal(dim1=0, dim2=2).copy_(radii)
    unit = AffineForm(terms, torch.zeros_like(centers))
    # the real x is middle + half * u; both numbers are known to one rounding each
    half, middle = (high - low) / 2, (high + low) / 2
    doubt = (middle.abs() + half) * gamma(2)
    limits = (part.expand_as(centers) for part in (half, middle - doubt, middle + doubt))
    points = unit.affine(*limits)
    points.viewed = True
    return points
