"""Taylor series of functions of one variable, with bounds of their remainders and of their roundings.

Each function g has a rule with two parts: its coefficients g_m = g^(m)(u) / m! at many places u, by recurrences that
follow from a differential equation, and bounds of |g^(n)| / n! over intervals. Errors of computed coefficients are
bounded by ``relative`` times the coefficient and ``absolute[m]`` times ``scale``. All elementary functions are torch's
and err by at most 4 units in the last place (`rounding.ELEMENTARY` roundings).

Absolute errors, in roundings (units of 2^-53), follow each recurrence: if y = (sum of products of earlier coefficients
with bounds b_i and errors e_i) / m, then y errs by (sum e_i b_j + b_i e_j + roundings b_i b_j) / m and its own rounding.
Terms of second order are below 1 % and counted by `_SECOND`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.rounding import ELEMENTARY, gamma
from hpcsweep.approx.supnorm.certificate.enclosure.univariate.convex import softplus as _softplus_value

_SECOND = 1.01
_FEW = 64  # roundings of a bound of remainders, at most
# The largest |(tanh)^(n) / (1 - tanh^2)| / n!, rounded up; index n - 1. As polynomials of tanh they are p_1 = 1,
# p_(n+1) = ((1 - y^2) p_n)'; a test finds their maxima on [-1, 1].
_TANH = (
    *(1.0, 1.0, 0.6666667, 0.3333334, 0.1333334, 0.0806649),
    *(0.0539683, 0.0323831, 0.0218696, 0.0131249, 0.0088633, 0.0053338),
)
_CRAMER = 1.0865  # |He_n(x)| <= 1.0865 sqrt(n!) exp(x^2 / 4): Abramowitz and Stegun (1964), 22.14.17


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
        or NaN where there is none.
    """

    expand: Callable[[Tensor, int], Series]
    beyond: Callable[[int, Tensor, Tensor], Tensor]


def _near(places: Tensor, radii: Tensor) -> Tensor:
    """Return a lower bound of |x| within radii about places, at least 0."""
    size = places.abs()
    return (size - radii).sub_(size.add_(radii), alpha=gamma(4)).clamp_(min=0.0)


def _far(places: Tensor, radii: Tensor) -> Tensor:
    """Return an upper bound of |x| within radii about places."""
    return (places.abs() + radii).mul_(1 + gamma(4))


def _power(base: Tensor, exponent: int) -> Tensor:
    power = base
    for _ in range(exponent - 1):
        power = power * base
    return power


def _up(bound: Tensor) -> Tensor:
    """Return a bound with its own roundings, which is overwritten."""
    return bound.mul_(1 + gamma(_FEW))


# Functions whose coefficients are products: their errors are relative


def _exp(places: Tensor, count: int) -> Series:
    value = torch.exp(places)
    return Series([value * (1 / math.factorial(m)) for m in range(count)], gamma(ELEMENTARY + 3))


def _exp_beyond(n: int, places: Tensor, radii: Tensor) -> Tensor:
    high = (places + radii).add_(places.abs().add_(radii), alpha=gamma(4))
    return _up(high.exp_().mul_(1 / math.factorial(n)))


def _waves(first: int) -> Callable[[Tensor, int], Series]:
    """Return the series of sin (0) or cos (1): sin, cos, -sin, -cos, ... by the factorials."""

    def expand(places: Tensor, count: int) -> Series:
        parts = torch.sin(places), torch.cos(places)
        signs = (1.0, 1.0, -1.0, -1.0)
        turns = range(first, first + count)
        coefficients = [
            parts[turn % 2] * (signs[turn % 4] / math.factorial(m)) for m, turn in enumerate(turns)
        ]  # fmt: skip
        return Series(coefficients, gamma(ELEMENTARY + 3))

    return expand


def _waves_beyond(n: int, places: Tensor, radii: Tensor) -> Tensor:
    return _up(torch.full_like(places, 1 / math.factorial(n)))


def _cosh(places: Tensor, count: int) -> Series:
    parts = torch.cosh(places), torch.sinh(places)
    return Series([parts[m % 2] * (1 / math.factorial(m)) for m in range(count)], gamma(ELEMENTARY + 3))


def _cosh_beyond(n: int, places: Tensor, radii: Tensor) -> Tensor:
    return _up(_far(places, radii).cosh_().mul_(1 / math.factorial(n)))


def _reciprocal(places: Tensor, count: int) -> Series:
    inverse = 1.0 / places
    coefficients = [inverse]
    for _ in range(1, count):
        coefficients.append(-coefficients[-1] * inverse)
    return Series(coefficients, gamma(2 * count))


def _reciprocal_beyond(n: int, places: Tensor, radii: Tensor) -> Tensor:
    return _up(_power(_near(places, radii).reciprocal_(), n + 1))


def _log(places: Tensor, count: int) -> Series:
    inverse = 1.0 / places
    coefficients, power = [torch.log(places)], inverse
    for m in range(1, count):
        coefficients.append(power / m)
        power = -power * inverse
    return Series(coefficients, gamma(2 * count + ELEMENTARY))


def _positive(places: Tensor, radii: Tensor) -> Tensor:
    """Return a lower bound of x within radii about positive places; 0 where it is not positive."""
    return torch.where(places > 0.0, _near(places, radii), 0.0)


def _log_beyond(n: int, places: Tensor, radii: Tensor) -> Tensor:
    return _up(_power(_positive(places, radii).reciprocal_(), n).div_(n))


def _sqrt(places: Tensor, count: int) -> Series:
    inverse = 1.0 / places
    coefficients = [torch.sqrt(places)]
    for m in range(1, count):
        coefficients.append(coefficients[-1] * inverse * ((1.5 - m) / m))
    return Series(coefficients, gamma(5 * count + ELEMENTARY))


def _sqrt_beyond(n: int, places: Tensor, radii: Tensor) -> Tensor:
    binomial = abs(math.prod((1.5 - m) / m for m in range(1, n + 1)))
    low = _positive(places, radii)
    # of large powers and a small root: as powers of 1 / sqrt(x), without 0 times infinity
    return _up(_power(torch.rsqrt(low), 2 * n - 1).mul_(binomial * (1 + gamma(4 * n))))


# tanh and what is made of it: (m + 1) y_(m+1) = [m = 0] - sum y_i y_(m-i)


def _tanh_bounds(count: int) -> list[float]:
    return [1.0, *_TANH][:count]


def _tanh_errors(count: int) -> list[float]:
    """Return the errors of the coefficients of tanh, in roundings."""
    bounds, errors = _tanh_bounds(count), [float(ELEMENTARY)]
    for m in range(count - 1):
        passed = sum(2 * errors[i] * bounds[m - i] for i in range(m + 1))
        rounded = (m + 4) * sum(bounds[i] * bounds[m - i] for i in range(m + 1))
        errors.append(_SECOND * (passed + rounded) / (m + 1) + bounds[m + 1])
    return errors


def _tanh_coefficients(places: Tensor, count: int) -> list[Tensor]:
    y = [torch.tanh(places)]
    if count > 1:
        y.append(1.0 - y[0] * y[0])
    for m in range(1, count - 1):
        total = y[0] * y[m]
        for i in range(1, (m + 1) // 2):
            total.addcmul_(y[i], y[m - i])
        total.mul_(2.0)
        if m % 2 == 0:
            total.addcmul_(y[m // 2], y[m // 2])
        y.append(total.div_(-(m + 1.0)))
    return y


def _tanh(places: Tensor, count: int) -> Series:
    return Series(_tanh_coefficients(places, count), 0.0, _roundings(_tanh_errors(count)))


def _roundings(errors: Sequence[float]) -> list[float]:
    return [gamma(math.ceil(error)) for error in errors]


def _tanh_beyond(n: int, places: Tensor, radii: Tensor) -> Tensor:
    return _up(torch.cosh(_near(places, radii)).square_().reciprocal_().mul_(_TANH[n - 1]))


def _sigmoid_coefficients(places: Tensor, count: int) -> list[Tensor]:
    """Return those of (1 + tanh(x / 2)) / 2."""
    half = _tanh_coefficients(0.5 * places, count)
    return [0.5 + 0.5 * half[0], *(half[m] * 0.5 ** (m + 1) for m in range(1, count))]


def _sigmoid_bounds(count: int) -> list[float]:
    return [1.0, *(_TANH[m - 1] * 0.5 ** (m + 1) for m in range(1, count))]


def _sigmoid_errors(count: int) -> list[float]:
    return [error * 0.5 ** (m + 1) + (m == 0) for m, error in enumerate(_tanh_errors(count))]


def _sigmoid(places: Tensor, count: int) -> Series:
    return Series(_sigmoid_coefficients(places, count), 0.0, _roundings(_sigmoid_errors(count)))


def _sigmoid_beyond(n: int, places: Tensor, radii: Tensor) -> Tensor:
    return _tanh_beyond(n, 0.5 * places, 0.5 * radii).mul_(0.5 ** (n + 1))


def _softplus(places: Tensor, count: int) -> Series:
    """g' is the sigmoid. The value is log1p(exp(-|x|)) + max(x, 0): 2 * 4 ulp of at most log 2, and a sum."""
    slopes = _sigmoid_coefficients(places, count - 1)
    errors = _sigmoid_errors(count - 1)
    bounds = _sigmoid_bounds(count - 1)
    coefficients = [_softplus_value(places), *(slopes[m - 1] / m for m in range(1, count))]
    absolute = [2.0 * ELEMENTARY, *(errors[m - 1] / m + bounds[m - 1] for m in range(1, count))]
    return Series(coefficients, 0.0, _roundings(absolute), places.abs().add_(1.0))


def _softplus_beyond(n: int, places: Tensor, radii: Tensor) -> Tensor:
    if n == 1:
        return torch.ones_like(places)
    return _sigmoid_beyond(n - 1, places, radii).div_(n)


# Functions x P(x) with a distribution function P: g_m = x P_m + P_(m-1)


def _gated(places: Tensor, parts: Sequence[Tensor], bounds: Sequence[float], errors: Sequence[float]) -> Series:
    coefficients = [places * parts[0]]
    absolute = [errors[0] + bounds[0]]
    for m in range(1, len(parts)):
        coefficients.append(torch.addcmul(parts[m - 1], places, parts[m]))
        absolute.append(errors[m] + errors[m - 1] + 3 * (bounds[m] + bounds[m - 1]))
    return Series(coefficients, 0.0, _roundings(absolute), places.abs().add_(1.0))


def _silu(places: Tensor, count: int) -> Series:
    return _gated(places, _sigmoid_coefficients(places, count), _sigmoid_bounds(count), _sigmoid_errors(count))


def _silu_beyond(n: int, places: Tensor, radii: Tensor) -> Tensor:
    """|x| / cosh(x / 2)^2 is at most 0.9, and at most 4 |x| exp(-|x|) <= (8 / e) exp(-|x| / 2)."""
    if n == 1:
        return torch.full_like(places, 1.1)
    gated = _near(places, radii).mul_(-0.5).exp_().mul_(8 / math.e).clamp_(max=0.9)
    return _up(gated.mul_(_TANH[n - 1] * 0.5 ** (n + 1)).add_(_sigmoid_beyond(n - 1, places, radii)))


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
    return _SECOND * ((3 * m + ELEMENTARY + 1) * _gaussian_bound(rate, m) + argument)


_TO_ERF, _TO_DENSITY = 2 / math.sqrt(math.pi), 1 / math.sqrt(2 * math.pi)


def _erf(places: Tensor, count: int) -> Series:
    """erf' = 2 / sqrt(pi) exp(-x^2); the factor and the quotient are four roundings more."""
    a = _gaussian(places, 1.0, count - 1)
    coefficients = [torch.erf(places), *(a[m - 1] * (_TO_ERF / m) for m in range(1, count))]
    absolute = [_TO_ERF / m * (_gaussian_error(1.0, m - 1) + 4 * _gaussian_bound(1.0, m - 1)) for m in range(1, count)]
    return Series(coefficients, 0.0, _roundings([ELEMENTARY, *absolute]))


def _erf_beyond(n: int, places: Tensor, radii: Tensor) -> Tensor:
    """erf^(n) = +-2 / sqrt(pi) H_(n-1) exp(-x^2), |H_j| <= 1.0865 2^(j/2) sqrt(j!) exp(x^2 / 2)."""
    near = _near(places, radii).square_()
    if n == 1:
        return _up(near.neg_().exp_().mul_(_TO_ERF))
    factor = _TO_ERF * _CRAMER * 2 ** ((n - 1) / 2) * math.sqrt(math.factorial(n - 1)) / math.factorial(n)
    return _up(near.mul_(-0.5).exp_().mul_(factor))


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
    return _gated(places, *_normal(places, count))


def _gelu_beyond(n: int, places: Tensor, radii: Tensor) -> Tensor:
    """x P^(n) + n P^(n-1), P^(n) = +-He_(n-1) exp(-x^2 / 2) / sqrt(2 pi); |x| exp(-x^2 / 8) <= 2 exp(-1/2) < 1.2131."""
    if n == 1:
        return torch.full_like(places, 1.13)
    eighth = _near(places, radii).square_().mul_(-0.125).exp_()
    factor = _CRAMER * _TO_DENSITY / math.factorial(n)
    first, second = 1.2131 * math.sqrt(math.factorial(n - 1)), n * math.sqrt(math.factorial(n - 2))
    return _up(eighth.square().mul_(factor * second).add_(eighth, alpha=factor * first))


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
    absolute = [_SECOND * (6 * m + 2) * fibonacci[m - 1] / m for m in range(1, count)]
    return Series(coefficients, 0.0, _roundings([2.0 * ELEMENTARY, *absolute]))


def _arctan_beyond(n: int, places: Tensor, radii: Tensor) -> Tensor:
    """arctan^(n) = (n - 1)! cos(y)^n sin(n (y + pi / 2)), y = arctan x."""
    return _up(_power(torch.rsqrt(_near(places, radii).square_().add_(1.0)), n).div_(n))


SERIES: Mapping[str, Expandable] = {
    "exp": Expandable(_exp, _exp_beyond),
    "sin": Expandable(_waves(0), _waves_beyond),
    "cos": Expandable(_waves(1), _waves_beyond),
    "cosh": Expandable(_cosh, _cosh_beyond),
    "reciprocal": Expandable(_reciprocal, _reciprocal_beyond),
    "log": Expandable(_log, _log_beyond),
    "sqrt": Expandable(_sqrt, _sqrt_beyond),
    "tanh": Expandable(_tanh, _tanh_beyond),
    "sigmoid": Expandable(_sigmoid, _sigmoid_beyond),
    "softplus": Expandable(_softplus, _softplus_beyond),
    "silu": Expandable(_silu, _silu_beyond),
    "erf": Expandable(_erf, _erf_beyond),
    "gelu": Expandable(_gelu, _gelu_beyond),
    "arctan": Expandable(_arctan, _arctan_beyond),
}
LARGEST_ORDER = len(_TANH) - 2
