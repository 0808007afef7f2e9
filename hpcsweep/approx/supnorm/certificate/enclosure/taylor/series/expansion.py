"""Taylor series of functions of one variable, with bounds of their remainders and of their roundings.

Each function g has a rule with two parts: its coefficients g_m = g^(m)(u) / m! at many places u, by recurrences that
follow from a differential equation, and bounds of |g^(n)| / n! over intervals. Errors of computed coefficients are
bounded by ``relative`` times the coefficient and ``absolute[m]`` times ``scale``. All elementary functions are torch's
and err by at most 4 units in the last place (`rounding.ELEMENTARY` roundings).

Absolute errors, in roundings (units of 2^-53), follow each recurrence: if y = (sum of products of earlier coefficients
with bounds b_i and errors e_i) / m, then y errs by (sum e_i b_j + b_i e_j + roundings b_i b_j) / m and one rounding of
its own. Terms of second order are below 1 % and counted by `SECOND`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.rounding import TINY, gamma

SECOND = 1.01  # times the errors of first order
_FEW = 128  # roundings of a bound of remainders, at most


@dataclass(frozen=True, eq=False)
class Series:
    """Coefficients at many places.

    Attributes
    ----------
    coefficients: as many as asked for, each of the shape of the places
    relative: their error relative to themselves
    absolute: their errors times `scale`, one for each; () for none
    scale: 1, or of the shape of the places
    """

    coefficients: list[Tensor]
    relative: float = 0.0
    absolute: Sequence[float] = ()
    scale: Tensor | float = 1.0


@dataclass(frozen=True)
class Expandable:
    """A function that has Taylor series.

    Parameters
    ----------
    expand: (places, count) -> the first `count` coefficients there.
    beyond: (n, places, radii) -> an upper bound of |g^(n)| / n! within the radii about the places, n >= 1; infinite
        or NaN where there is none. The radii are known to one rounding.
    """

    expand: Callable[[Tensor, int], Series]
    beyond: Callable[[int, Tensor, Tensor], Tensor]

    def bounds(self, orders: Sequence[int], places: Tensor, radii: Tensor) -> list[Tensor]:
        """Return `beyond` for several n."""
        return [self.beyond(n, places, radii) for n in orders]


@final
@dataclass(frozen=True)
class Scaled(Expandable):
    """One whose bounds are one bound of the places times a number for each n.

    Parameters
    ----------
    common: (places, radii) -> the bound, up to its roundings, see `up`
    factors: for n = 1, 2, ...
    """

    common: Callable[[Tensor, Tensor], Tensor]
    factors: Sequence[float]

    def bounds(self, orders: Sequence[int], places: Tensor, radii: Tensor) -> list[Tensor]:
        """Return `beyond` for several n."""
        common = self.common(places, radii)
        return [up(common * self.factors[n - 1]) for n in orders]


def near(places: Tensor, radii: Tensor) -> Tensor:
    """Return a lower bound of |x| within radii about places, at least 0."""
    size = places.abs()
    return (size - radii).sub_(size.add_(radii), alpha=gamma(4)).clamp_(min=0.0)


def far(places: Tensor, radii: Tensor) -> Tensor:
    """Return an upper bound of |x| within radii about places."""
    return (places.abs() + radii).mul_(1 + gamma(4))


def power(base: Tensor, exponent: int) -> Tensor:
    result = base
    for _ in range(exponent - 1):
        result = result * base
    return result


def up(bound: Tensor) -> Tensor:
    """Return a bound with its own roundings and underflow, which is overwritten.

    A bound that underflows to zero may still have to be multiplied by a large power.
    """
    return bound.mul_(1 + gamma(_FEW)).add_(TINY)


def roundings(errors: Sequence[float]) -> list[float]:
    return [gamma(math.ceil(error)) for error in errors]


def gated(places: Tensor, parts: Sequence[Tensor], bounds: Sequence[float], errors: Sequence[float]) -> Series:
    """Return the series of x g(x) from the coefficients of g, their bounds and errors in roundings: g_(m-1) + u g_m."""
    coefficients = [places * parts[0]]
    absolute = [errors[0] + bounds[0]]
    for m in range(1, len(parts)):
        coefficients.append(torch.addcmul(parts[m - 1], places, parts[m]))
        absolute.append(errors[m] + errors[m - 1] + 3 * (bounds[m] + bounds[m - 1]))
    return Series(coefficients, 0.0, roundings(absolute), places.abs().add_(1.0))
