"""exp, log and sqrt of double-doubles, and what all elementary functions have in common.

Each function is computed at the number leading + trailing itself, where its own error is bounded as its docstring says;
an error dx of the argument adds at most dx times the largest slope near it. Of the accuracy of float64's exp, log,
sqrt, ... of torch nothing is assumed where they are guesses, which are corrected; in bounds of slopes they may err by
64 u of their value. Errors below are relative to the result, unless they are called absolute; u^2 is 1.2e-32, and UP
and TINY are added by `result`.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.double_double import constants, error_free
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.arithmetic import (
    SQUARE,
    UP,
    Term,
    add,
    both,
    cat,
    choose,
    divide,
    multiply,
    reciprocal,
    result,
    square,
    subtract,
)
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.error_free import Pair
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.number import DoubleDouble, exact, own, own_of_two
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.products import power_of_two
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import TINY, UNIT
from hpcsweep.approx.supnorm.certificate.enclosure.rules import NoEnclosure

PARTS = 64  # of an octave, and of a circle
GUESS = 2.0**-20  # by how much a guess may be off, to be corrected


@cache
def pair_of(name: str, *arguments: int) -> Pair:
    """Return a constant as a pair, to a relative error of u^2."""
    high, low = torch.tensor(constants.parts(getattr(constants, name)(*arguments)), dtype=torch.float64)
    return high, low


def known_number(name: str) -> DoubleDouble:
    high, low = pair_of(name)
    return DoubleDouble(high, low, high.abs() * (2 * SQUARE))


def accurate(x: DoubleDouble) -> DoubleDouble:
    """Return the number at which a function is computed, as one without error."""
    return DoubleDouble(*x.pair, torch.zeros_like(x.radius))


def carried(value: DoubleDouble, x: DoubleDouble, slope: Tensor | float) -> DoubleDouble:
    """Return a value at `accurate(x)` with what the error of x adds, by a bound of the slope within it."""
    radius = (x.radius * slope).mul_(UP).add_(value.radius).mul_(UP)
    return DoubleDouble(*value.pair, radius)


def exponential(x: Pair) -> Pair:
    """Return exp x with an error of at most 32 u^2, for |x| <= 690; NaN beyond.

    With m = round(64 x / log 2) and r = x - m log 2 / 64, |r| <= 2^-7.5: log 2 / 64 = c1 + c2 + c3 + ..., where c1 has
    35 bits and m 17, so that m c1 is exact; so is x_h - m c1, both being within a factor 2 (m = 0 is trivial). What is
    added to it is below 2^-23, with errors below 4 u^2 (|r| + 2^-23) each: below u^2 / 4 in all, and 2^-130 for c3.
    exp r: the series up to r^11 / 11!, left out 2^-118 = u^2 / 4096; its tail from r^7 on is 2^-64 and errs by 16 u of
    it; Horner's last sum by 4.1 u^2, the steps before by |r| 14 u^2 < u^2 / 10. The product with 2^(j / 64), known to
    u^2, adds 9 u^2 + u^2; powers of two are exact. Together below 16 u^2; 32 are counted.
    """
    x = (torch.where(x[0].abs() <= 690.0, x[0], math.nan), x[1])
    first, second, third = constants.octave(PARTS, 41)
    count = torch.round(x[0] * (PARTS / math.log(2.0)))
    product, error = error_free.two_product(count, torch.full_like(count, second))
    rest = error_free.two_sum(x[0] - count * first, x[1])
    rest = error_free.add(rest, error_free.two_sum(-product, -error - count * third))
    terms = series(range(12))
    value = error_free.polynomial(rest, terms[:7], [float(high) for high, _ in terms[7:]])
    whole = count.nan_to_num(0.0).to(torch.int64)
    table_high, table_low = constants.powers(PARTS)
    index = whole.remainder(PARTS)
    high, low = error_free.multiply(value, (table_high[index], table_low[index]))
    scale = power_of_two((whole - index) // PARTS)
    return high * scale, low * scale


@cache
def series(orders: range, sign: int = 1) -> list[Pair]:
    """Return sign^k / n! for the k-th of some n."""
    pairs = [pair_of("inverse_factorial", n) for n in orders]
    return [(high * sign**k, low * sign**k) for k, (high, low) in enumerate(pairs)]


@own("exp")
def exp(x: DoubleDouble) -> DoubleDouble:
    """exp x, below -690 only 0 +- 1e-299; an error dx <= 1 adds exp(x) (e^dx - 1) <= exp(x) (dx + dx^2)."""
    tiny = x.leading < -690.0
    high, low = exponential(x.pair)
    growth = torch.where(x.radius <= 1.0, x.radius * (1.0 + x.radius), math.inf)
    growth = growth.add_(32 * SQUARE).mul_(UP).mul_(high.abs())
    value = result((high, low), growth)
    small = (x.radius <= 1.0) & tiny
    zero, radius = torch.zeros_like(high), torch.full_like(high, 1e-299)
    return choose(small, DoubleDouble(zero, zero, radius), value)


@own("log")
def log(x: DoubleDouble) -> DoubleDouble:
    """log x = y + log(1 + z), z = x exp(-y) - 1, for a guess y; unknown where x may be <= 0.

    log(1 + z) = z - z^2 / 2 + z^3 / 3 - ..., left out |z|^4 for |z| <= 2^-20, with z^2 and z^3 in float64: rounded by
    4 u z^2. An error dx < x adds dx / (x - dx).
    """
    at = accurate(x)
    guess = torch.log(x.leading)
    zero = torch.zeros_like(guess)
    rest = subtract(multiply(at, exp(DoubleDouble(-guess, zero, zero))), 1.0)
    z = torch.where(rest.leading.abs() <= GUESS, rest.leading, math.nan)
    curved = z * z * (z / 3.0 - 0.5)
    value = add(DoubleDouble(guess, zero, zero), add(rest, curved))
    left_out = z.square().square().add_(z.square(), alpha=8 * UNIT).add_(z.abs() * rest.radius).mul_(UP)
    least = x.leading * (1 - 8 * UNIT) - x.radius * (1 + 8 * UNIT)
    slope = torch.where(least > 0.0, least.reciprocal() * UP, math.nan)
    return carried(DoubleDouble(*value.pair, value.radius + left_out), x, slope)


@own("sqrt")
def sqrt(x: DoubleDouble) -> DoubleDouble:
    """sqrt x = y + d / (2 y) - ..., d = x - y^2, for a guess y; unknown where x is < 0, by more than its error.

    x_h - fl(y^2) is exact where y is off by less than a tenth. With e = |d| / y^2 the sums of d round by 3 u e, at most
    8 u^2 in all; left out is at most e^2 / 4. An error dx adds at most sqrt(dx), and dx / sqrt(x).
    """
    positive = x.leading > 0.0
    high = torch.where(positive, x.leading, 1.0)
    guess = torch.sqrt(high)
    product, error = error_free.two_product(guess, guess)
    rest = (high - product).sub_(error).add_(torch.where(positive, x.trailing, 0.0))
    off = rest.abs() / high
    pair = error_free.fast_two_sum(guess, rest / (2.0 * guess))
    own_error = off.square().add_(off, alpha=8 * UNIT).add_(8 * SQUARE).add_(TINY / high)  # underflow of the product
    value = result(pair, torch.where(off <= GUESS, own_error, math.nan).mul_(guess))
    added = torch.minimum(x.radius.sqrt(), x.radius / pair[0]).mul_(1 + 64 * UNIT)
    root = torch.where(-x.leading <= x.radius, x.radius.sqrt() * (1 + 64 * UNIT), math.nan)  # of x <= 0 or nearly
    radius = torch.where(positive, (value.radius + added).mul_(UP), root)
    zero = torch.zeros_like(high)
    return DoubleDouble(torch.where(positive, pair[0], zero), torch.where(positive, pair[1], zero), radius)


own("reciprocal")(reciprocal)
own("rsqrt")(lambda x: reciprocal(sqrt(x)))


@own_of_two("pow")
def power(base: Term, exponent: Term) -> DoubleDouble:
    """x^n for whole |n| <= 64 by squares; sqrt x; else exp(y log x) for x > 0."""
    if isinstance(exponent, Tensor) and exponent.numel() > 1:  # one for each entry of the last axis
        if exponent.ndim != 1 or not isinstance(base, DoubleDouble) or base.ndim < 2:
            raise NoEnclosure(f"pow with exponents {tuple(exponent.shape)}")
        wide = multiply(base, torch.ones_like(exponent))
        columns = [power(wide[..., column : column + 1], each) for column, each in enumerate(exponent)]
        return cat(columns, base.ndim - 1)
    if isinstance(exponent, Tensor) and isinstance(base, DoubleDouble):
        number = float(exponent)
        if abs(number) == 0.5:
            return sqrt(base) if number > 0.0 else reciprocal(sqrt(base))
        if number.is_integer() and abs(number) <= 64:
            whole = _power(base, int(abs(number)))
            return whole if number >= 0.0 else reciprocal(whole)
    x, y = both(base, exponent)
    return exp(multiply(y, log(x)))


@own("root")
def root(x: DoubleDouble, order: float) -> DoubleDouble:
    """exp(log(x) / n) for x > 0."""
    return exp(divide(log(x), order))


def _power(base: DoubleDouble, exponent: int) -> DoubleDouble:
    if exponent == 0:
        return exact(torch.ones_like(base.leading))
    if exponent == 1:
        return DoubleDouble(base.leading.clone(), base.trailing.clone(), base.radius.clone())
    half = square(_power(base, exponent // 2))
    return multiply(half, base) if exponent % 2 else half
