"""Series of the normal distribution and what is made of it, and of arctan, the distribution of Cauchy."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.rounding import ELEMENTARY
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.series.expansion import (
    SECOND,
    Expandable,
    Series,
    gated,
    near,
    power,
    roundings,
    up,
)

_CRAMER = 1.0865  # |He_n(x)| <= 1.0865 sqrt(n!) exp(x^2 / 4): Abramowitz and Stegun (1964), 22.14.17


# The normal distribution: a(x) = exp(-c x^2), (m + 1) a_(m+1) = -2 c (x a_m + a_(m-1))


def _gaussian(places: Tensor, rate: float, count: int) -> list[Tensor]:
    """Return the coefficients of exp(-rate x^2), rate 1 or 1/2."""
    a = [torch.exp(places.square().mul_(-rate))]
    if count > 1:
        a.append(a[0] * places * (-2.0 * rate))
    for m in range(1, count - 1):
        a.append(torch.addcmul(a[m - 1], places, a[m]).mul_(-2.0 * rate).div_(m + 1.0))
    return a


def _gaussian_bound(rate: float, m: int) -> float:
    """Bound a_m with all signs positive: of exp(2 c |x| s + c s^2 - c x^2) <= exp(2 c s^2), at s^2 = m / (4 c)."""
    return (4 * rate * math.e / m) ** (m / 2) if m else 1.0


def _gaussian_error(rate: float, m: int) -> float:
    """Return the error of a_m in roundings: of a_0 those of exp and of its argument, c x^2 of them, then 3 each.

    c x^2 <= (2 / e) exp(c x^2 / 2), and with this factor the bound above is that of exp(3 c s^2), at s^2 = m / (6 c).
    """
    argument = 2 / math.e * ((6 * rate * math.e / m) ** (m / 2) if m else 1.0)
    return SECOND * ((3 * m + ELEMENTARY + 1) * _gaussian_bound(rate, m) + argument)


_TO_ERF, _TO_DENSITY = 2 / math.sqrt(math.pi), 1 / math.sqrt(2 * math.pi)


def _erf(places: Tensor, count: int) -> Series:
    """erf' = 2 / sqrt(pi) exp(-x^2); the factor and the quotient are four roundings more."""
    a = _gaussian(places, 1.0, count - 1)
    coefficients = [torch.erf(places), *(a[m - 1] * (_TO_ERF / m) for m in range(1, count))]
    absolute = [_TO_ERF / m * (_gaussian_error(1.0, m - 1) + 4 * _gaussian_bound(1.0, m - 1)) for m in range(1, count)]
    return Series(coefficients, 0.0, roundings([ELEMENTARY, *absolute]))


def _erf_beyond(n: int, places: Tensor, radii: Tensor) -> Tensor:
    """erf^(n) = +-2 / sqrt(pi) H_(n-1) exp(-x^2), |H_j| <= 1.0865 2^(j/2) sqrt(j!) exp(x^2 / 2)."""
    square = near(places, radii).square_()
    if n == 1:
        return up(square.neg_().exp_().mul_(_TO_ERF))
    factor = _TO_ERF * _CRAMER * 2 ** ((n - 1) / 2) * math.sqrt(math.factorial(n - 1)) / math.factorial(n)
    return up(square.mul_(-0.5).exp_().mul_(factor))


def _normal(places: Tensor, count: int) -> tuple[list[Tensor], list[float], list[float]]:
    """Return coefficients of the normal distribution function, their bounds and their errors in roundings.

    The value (1 + erf(x / sqrt 2)) / 2 errs by the argument's 3 roundings (|z erf'(z)| < 0.5), 4 ulp, and a sum.
    """
    a = _gaussian(places, 0.5, count - 1)
    value = torch.erf(places * math.sqrt(0.5)).add_(1.0).mul_(0.5)
    coefficients = [value, *(a[m - 1] * (_TO_DENSITY / m) for m in range(1, count))]
    bounds, errors = [1.0], [float(ELEMENTARY)]
    for m in range(1, count):
        bounds.append(_TO_DENSITY / m * _gaussian_bound(0.5, m - 1))
        errors.append(_TO_DENSITY / m * (_gaussian_error(0.5, m - 1) + 4 * _gaussian_bound(0.5, m - 1)))
    return coefficients, bounds, errors


def _gelu(places: Tensor, count: int) -> Series:
    return gated(places, *_normal(places, count))


def _gelu_beyond(n: int, places: Tensor, radii: Tensor) -> Tensor:
    """x P^(n) + n P^(n-1), P^(n) = +-He_(n-1) exp(-x^2 / 2) / sqrt(2 pi); |x| exp(-x^2 / 8) <= 2 exp(-1/2) < 1.2131."""
    if n == 1:
        return torch.full_like(places, 1.13)
    eighth = near(places, radii).square_().mul_(-0.125).exp_()
    factor = _CRAMER * _TO_DENSITY / math.factorial(n)
    first, second = 1.2131 * math.sqrt(math.factorial(n - 1)), n * math.sqrt(math.factorial(n - 2))
    return up(eighth.square().mul_(factor * second).add_(eighth, alpha=factor * first))


# arctan' = 1 / (1 + x^2) = a, (1 + x^2) a_m = -2 x a_(m-1) - a_(m-2)


def _arctan(places: Tensor, count: int) -> Series:
    """2 |x| and 1 are at most 1 + x^2, so that |a_m|, with positive signs too, is at most Fibonacci's number m + 1."""
    below = torch.addcmul(torch.ones_like(places), places, places)
    a = [1.0 / below]
    if count > 2:
        a.append(-2.0 * places * a[0] / below)
    for m in range(2, count - 1):
        a.append(torch.addcmul(a[m - 2], places, a[m - 1], value=2.0).neg_().div_(below))
    fibonacci = [1, 1]
    for _ in range(count):
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    coefficients = [torch.arctan(places), *(a[m - 1] / m for m in range(1, count))]
    absolute = [SECOND * (6 * m + 2) * fibonacci[m - 1] / m for m in range(1, count)]
    return Series(coefficients, 0.0, roundings([2.0 * ELEMENTARY, *absolute]))


def _arctan_beyond(n: int, places: Tensor, radii: Tensor) -> Tensor:
    """arctan^(n) = (n - 1)! cos(y)^n sin(n (y + pi / 2)), y = arctan x."""
    return up(power(torch.rsqrt(near(places, radii).square_().add_(1.0)), n).div_(n))


DISTRIBUTIONS = {
    "erf": Expandable(_erf, _erf_beyond),
    "gelu": Expandable(_gelu, _gelu_beyond),
    "arctan": Expandable(_arctan, _arctan_beyond),
}
