"""sin and cos of double-doubles, and from them arctan, arcsin and arccos; see `exp_log`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.double_double import constants, error_free
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.arithmetic import (
    SQUARE,
    UP,
    Term,
    add,
    both,
    divide,
    known,
    multiply,
    negate,
    reciprocal,
    result,
    sign,
    subtract,
    where,
)
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.error_free import Pair
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.exp_log import (
    GUESS,
    PARTS,
    accurate,
    carried,
    known_number,
    series,
    sqrt,
)
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.number import DoubleDouble, own, own_of_two
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import TINY, UNIT


def sine_and_cosine(x: Pair) -> tuple[Pair, Pair, Tensor]:
    """Return sin x, cos x and an absolute bound of both errors, for |x| <= 2^40; NaN beyond.

    With m = round(32 x / pi) and r = x - m pi / 32, |r| <= 0.05: pi / 32 = c1 + c2 + c3 + ..., and m c1, m c2 are each
    a product and its error. x_h - fl(m c1) is exact, both being within a factor 2 (m = 0 is trivial). Four sums follow,
    of numbers below |r| + 8 u |x|: the error of r is below 20 u^2 (|r| + 8 u |x|), and m c3 errs by u^3 |x|.
    The series, up to r^15 and r^16, leave out 2^-122; their tails from r^11 and r^10 on are 2^-64 and err by 16 u of
    it; Horner's scheme errs by 5 u^2, the product with r by 9 u^2 |r|. The sine and cosine S, C of m pi / 32, known to
    u^2, are put together in S c + C s and C c - S s: products and sums of numbers below 1 add 9 + 9 + 4 u^2. All is
    below 64 u^2 (|r| + 8 u |x|) + 64 u^2 |S| for the sine, and for both below 64 u^2 (1 + 8 u |x|).
    """
    x = (torch.where(x[0].abs() <= 2.0**40, x[0], math.nan), x[1])
    first, second, third = constants.arc(PARTS)
    count = torch.round(x[0] * (PARTS / 2 / math.pi))
    turns, error = error_free.two_product(count, torch.full_like(count, first))
    correction, its_error = error_free.two_product(count, torch.full_like(count, second))
    rest = error_free.add(error_free.two_sum(x[0] - turns, -error), error_free.two_sum(x[1], -correction))
    rest = error_free.add(rest, error_free.two_sum(-its_error, -third * count))
    squared = error_free.multiply(rest, rest)
    odd, even = series(range(1, 16, 2), -1), series(range(0, 17, 2), -1)
    sine = error_free.polynomial(squared, odd[:5], [float(high) for high, _ in odd[5:]])
    sine = error_free.multiply(sine, rest)
    cosine = error_free.polynomial(squared, even[:5], [float(high) for high, _ in even[5:]])
    index = count.nan_to_num(0.0).to(torch.int64).remainder(PARTS)
    high, low = constants.circle(PARTS)
    table = [(high[row][index], low[row][index]) for row in (0, 1)]
    sines = [error_free.multiply(table[0], cosine), error_free.multiply(table[1], sine)]
    cosines = [error_free.multiply(table[1], cosine), error_free.multiply((-table[0][0], -table[0][1]), sine)]
    size = rest[0].abs().add_(x[0].abs(), alpha=8 * UNIT)
    bounds = torch.stack([size + table[0][0].abs(), size + 1.0]).mul_(64 * SQUARE)
    return error_free.add(*sines), error_free.add(*cosines), bounds


@own("sin")
def sin(x: DoubleDouble) -> DoubleDouble:
    """sin x, and an error dx of x adds dx (|cos x| + dx)."""
    sine, cosine, bounds = sine_and_cosine(x.pair)
    return carried(result(sine, bounds[0]), x, (cosine[0].abs() + (x.radius + 8 * UNIT)).clamp(max=1.0))


@own("cos")
def cos(x: DoubleDouble) -> DoubleDouble:
    """cos x, and an error dx of x adds dx (|sin x| + dx)."""
    sine, cosine, bounds = sine_and_cosine(x.pair)
    return carried(result(cosine, bounds[1]), x, (sine[0].abs() + (x.radius + 8 * UNIT)).clamp(max=1.0))


@own("arctan")
def arctan(x: DoubleDouble) -> DoubleDouble:
    """arctan x = y + arctan z, z = (x cos y - sin y) / (cos y + x sin y), for a guess y; else pi/2 - arctan 1/x.

    arctan z = z - z^3 / 3 + ..., left out |z|^5 for |z| <= 2^-20. The equation holds modulo pi; that z is small makes
    y right but for a multiple of pi, and |y| <= 1 makes that 0. The slope is at most 1.
    """
    at = accurate(x)
    large = x.leading.abs() > 1.0
    far = reciprocal(DoubleDouble(torch.where(large, at.leading, 1.0), torch.where(large, at.trailing, 0.0), at.radius))
    inner = where(large, far, at)
    guess = torch.arctan(inner.leading).clamp(-1.0, 1.0)
    sine, cosine, bounds = sine_and_cosine((guess, torch.zeros_like(guess)))
    s, c = result(sine, bounds[0]), result(cosine, bounds[1])
    z = divide(subtract(multiply(inner, c), s), add(c, multiply(inner, s)))
    small = torch.where(z.leading.abs() <= GUESS, z.leading, math.nan)
    value = add(add(z, small**3 / -3.0), guess)
    left_out = small.abs().pow(3) * (8 * UNIT) + small.abs().pow(5) + small.square() * z.radius
    value = DoubleDouble(*value.pair, (value.radius + left_out * UP).mul_(UP))
    return carried(where(large, subtract(multiply(_half_pi(), sign(x.leading)), value), value), x, 1.0)


def _half_pi() -> DoubleDouble:
    return multiply(known_number("pi"), 0.5)


@own("arcsin")
def arcsin(x: DoubleDouble) -> DoubleDouble:
    """arcsin x = 2 arctan(x / (1 + sqrt((1 - x) (1 + x)))); unknown beyond 1.

    An error dx of x adds at most pi sqrt(dx / 2), as it does at the end of the domain, and dx / sqrt(1 - (|x| + dx)^2).
    """
    at = accurate(x)
    root = sqrt(multiply(subtract(1.0, at), add(at, 1.0)))
    value = multiply(arctan(divide(at, add(root, 1.0))), 2.0)
    far = (x.leading.abs() * (1 + 4 * UNIT) + x.radius) * (1 + 4 * UNIT)
    added = torch.where(far < 1.0, x.radius * ((1.0 - far) * (1.0 + far)).rsqrt() * (1 + 64 * UNIT), math.inf)
    added = torch.minimum(added, 2.3 * x.radius.sqrt())
    return DoubleDouble(*value.pair, (value.radius + added).mul_(UP))


own("arccos")(lambda x: subtract(_half_pi(), arcsin(x)))


@own_of_two("atan2")
def arctan2(ordinate: Term, abscissa: Term) -> DoubleDouble:
    """The angle of a point: by the quotient on whose side no axis surely lies, else anything from -pi to pi."""
    y, x = both(ordinate, abscissa)
    (above_axis, below_axis), (right, _) = known(y), known(x)
    quotient = negate(arctan(divide(x, y)))
    zero = (y.radius + x.radius) * 0.0  # NaN where nothing is known
    angle = DoubleDouble(zero, zero, zero + 3.1415926535897936)
    angle = where(above_axis, add(quotient, _half_pi()), where(below_axis, subtract(quotient, _half_pi()), angle))
    return where(right, arctan(divide(y, x)), angle)


@own("sinc")
def sinc(x: DoubleDouble) -> DoubleDouble:
    """sin(pi x) / (pi x), which differs from 1 by less than (pi x)^2 / 6."""
    scaled = multiply(x, known_number("pi"))
    size = x.leading.abs() + x.radius
    off = (1.7 * size * size).mul_(UP).add_((size > 0.0) * TINY)
    near = DoubleDouble(torch.ones_like(size), torch.zeros_like(size), off)
    return where(size < 1e-12, near, divide(sin(scaled), scaled))
