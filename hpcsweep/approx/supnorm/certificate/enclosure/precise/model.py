"""`Model`: a polynomial of the place in a box whose coefficients are double-doubles, and a remainder.

A model says of a function f on a box that there are real numbers c_a with |f(t) - sum_a c_a t^a| <= `radius` for all
unit coordinates t in [-1, 1]^d, and that every c_a lies in its double-double, a pair of float64 with a bound of the
error. All roundings of coefficients are therefore counted by the arithmetic of double-doubles, and the remainder has
nothing but what is cut off. Its own roundings, of sums and products of numbers that are not negative, are a factor
1 + gamma(n), which `up` adds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.affine import AffineForm
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.arithmetic import add, multiply, subtract
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.number import DoubleDouble, exact
from hpcsweep.approx.supnorm.certificate.enclosure.numbers import Numbers
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import TINY, gamma

Rows = Tensor | slice


@final
class Model(Numbers):
    """Functions on boxes. Only `+=` and its like change a model, as they change a tensor.

    Parameters
    ----------
    coefficients: (monomials, boxes, *features), those of all degrees up to some degree (`taylor.monomials`).
    radius: (boxes, *features) >= 0; infinite or NaN where nothing is known.

    Attributes
    ----------
    viewed: whether another name may stand for the same numbers, as a view of a tensor does.
    """

    __slots__ = ("coefficients", "radius", "viewed")

    def __init__(self, coefficients: DoubleDouble, radius: Tensor) -> None:
        self.coefficients, self.radius = coefficients, radius
        self.viewed = False

    @property
    def _values(self) -> Tensor:
        return self.radius

    def norm(self) -> Tensor:
        """Return the sum of the sizes of all coefficients, (boxes, *features), but for its own roundings."""
        return sizes(self.coefficients).sum(0)

    def rounded(self) -> AffineForm:
        """Return the same with coefficients in float64; what these leave out is in the radius."""
        off = self.coefficients.trailing.abs().add_(self.coefficients.radius).sum(0)
        return AffineForm(self.coefficients.leading, up(off.add_(self.radius), len(self.coefficients) + 4))


def sizes(numbers: DoubleDouble) -> Tensor:
    """Return what numbers are at most in absolute value, but for two roundings."""
    return numbers.leading.abs().add_(numbers.trailing.abs()).add_(numbers.radius)


def up(bound: Tensor, roundings: int) -> Tensor:
    """Return a bound with its own roundings and underflow, which is overwritten."""
    return bound.mul_(1 + gamma(roundings)).add_(TINY)


def each(numbers: DoubleDouble, function: Callable[[Tensor], Tensor]) -> DoubleDouble:
    """Return numbers moved about."""
    return DoubleDouble(function(numbers.leading), function(numbers.trailing), function(numbers.radius))


def rows(numbers: DoubleDouble, chosen: Rows) -> DoubleDouble:
    """Return some coefficients."""
    return each(numbers, lambda part: part[chosen])


def stacked(parts: Sequence[DoubleDouble]) -> DoubleDouble:
    """Return coefficients one after the other."""
    columns = ([getattr(part, name) for part in parts] for name in ("leading", "trailing", "radius"))
    return DoubleDouble(*(torch.cat(column) for column in columns))


def padded(numbers: DoubleDouble, count: int) -> DoubleDouble:
    """Return as many coefficients, of which those that are added are zero."""
    missing = count - len(numbers)
    return (
        each(numbers, lambda part: torch.cat([part, part.new_zeros(missing, *part.shape[1:])])) if missing else numbers
    )


def places(centers: Tensor, radii: Tensor, domain: Sequence[tuple[float, float]], order: int) -> Model:
    """Return the points of some boxes, features (dimension,): (low + high) / 2 + (high - low) / 2 (c + r t).

    Parameters
    ----------
    centers, radii: (boxes, dimension) float64 in unit coordinates
    domain: the box that [-1, 1]^dimension stands for, (low, high) for each axis
    order: 0 for the centers alone
    """
    low, high = (exact(end) for end in torch.tensor(domain, dtype=torch.float64, device=centers.device).T[:, None])
    half, middle = multiply(subtract(high, low), 0.5), multiply(add(high, low), 0.5)  # (1, dimension)
    center = add(middle, multiply(half, exact(centers)))
    slopes = [multiply(half, exact(row * radii)) for row in torch.eye(len(domain)).to(radii)] if order else []
    points = Model(each_row([center, *slopes]), torch.zeros_like(radii))
    points.viewed = True
    return points


def each_row(coefficients: Sequence[DoubleDouble]) -> DoubleDouble:
    """Return coefficients (boxes, *features) as the rows of one."""
    return stacked([each(part, lambda values: values[None]) for part in coefficients])
