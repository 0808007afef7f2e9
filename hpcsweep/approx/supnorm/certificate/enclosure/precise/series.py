"""Taylor coefficients g_m = g^(m)(u) / m! of functions of one variable, at double-doubles u, enclosed.

The recurrences are those of `taylor.series`; whatever they round, the radii of the double-doubles have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

from hpcsweep.approx.supnorm.certificate.enclosure.affine import apply
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.exp_log import known_number
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.number import DoubleDouble
from hpcsweep.approx.supnorm.certificate.enclosure.elementary import univariate

Coefficients = list[DoubleDouble]
Expand = Callable[[DoubleDouble, int], Coefficients]


def _exp(u: DoubleDouble, count: int) -> Coefficients:
    g = [apply("exp", u)]
    for m in range(1, count):
        g.append(g[-1] / m)
    return g


def _waves(value: str, slope: str, first: float, sign: float) -> Expand:
    """Return the series of a function with the derivative first * slope and the second derivative sign * value."""

    def expand(u: DoubleDouble, count: int) -> Coefficients:
        g = [apply(value, u), apply(slope, u) * first]
        for m in range(2, count):
            g.append(g[-2] * sign / (m * (m - 1)))
        return g

    return expand


def _reciprocal(u: DoubleDouble, count: int) -> Coefficients:
    g = [apply("reciprocal", u)]
    for _ in range(1, count):
        g.append(-(g[-1] * g[0]))
    return g


def _integrated(value: DoubleDouble, slopes: Coefficients) -> Coefficients:
    return [value, *(slope / (m + 1) for m, slope in enumerate(slopes))]


def _log(u: DoubleDouble, count: int) -> Coefficients:
    return _integrated(apply("log", u), _reciprocal(u, count - 1))


def _sqrt(u: DoubleDouble, count: int) -> Coefficients:
    g, inverse = [apply("sqrt", u)], apply("reciprocal", u)
    for m in range(1, count):
        g.append(g[-1] * inverse * (1.5 - m) / m)
    return g


def _tanh(u: DoubleDouble, count: int) -> Coefficients:
    """(m + 1) y_(m+1) = [m = 0] - sum_i y_i y_(m-i)."""
    y = [apply("tanh", u)]
    for m in range(count - 1):
        total = _squared(y)
        y.append((-total if m else 1.0 - total) / (m + 1))
    return y


def _squared(y: Coefficients) -> DoubleDouble:
    """Return sum_i y_i y_(m-i) of the coefficients y_0, ..., y_m."""
    m = len(y) - 1
    total = y[m // 2] * y[m // 2] if m % 2 == 0 else y[m // 2] * y[m // 2 + 1] * 2.0
    for i in range((m + 1) // 2 - m % 2):
        total = total + y[i] * y[m - i] * 2.0
    return total


def _sigmoid(u: DoubleDouble, count: int) -> Coefficients:
    """(m + 1) y_(m+1) = y_m - sum_i y_i y_(m-i)."""
    y = [apply("sigmoid", u)]
    for m in range(count - 1):
        y.append((y[m] - _squared(y)) / (m + 1))
    return y


def _softplus(u: DoubleDouble, count: int) -> Coefficients:
    return _integrated(univariate("softplus", u), _sigmoid(u, count - 1))


def _gated(u: DoubleDouble, g: Coefficients) -> Coefficients:
    """Return the series of x g(x)."""
    return [u * g[0], *(before + u * after for before, after in pairwise(g))]


def _silu(u: DoubleDouble, count: int) -> Coefficients:
    return _gated(u, _sigmoid(u, count))


def _gaussian(u: DoubleDouble, rate: float, count: int) -> Coefficients:
    """exp(-rate x^2): (m + 1) a_(m+1) = -2 rate (x a_m + a_(m-1))."""
    a = [apply("exp", u * u * -rate)]
    for m in range(count - 1):
        total = u * a[m] + a[m - 1] if m else u * a[m]
        a.append(total * (-2.0 * rate) / (m + 1))
    return a


def _erf(u: DoubleDouble, count: int) -> Coefficients:
    factor = apply("sqrt", apply("reciprocal", known_number("pi"))) * 2.0
    return _integrated(apply("erf", u), [slope * _like(factor, u) for slope in _gaussian(u, 1.0, count - 1)])


def _gelu(u: DoubleDouble, count: int) -> Coefficients:
    """x P(x) with P = (1 + erf(x / sqrt 2)) / 2, P' = exp(-x^2 / 2) / sqrt(2 pi)."""
    factor = apply("sqrt", apply("reciprocal", known_number("pi") * 2.0))
    value = (apply("erf", u * _like(known_number("root_half"), u)) + 1.0) * 0.5
    density = [slope * _like(factor, u) for slope in _gaussian(u, 0.5, count - 1)]
    return _gated(u, _integrated(value, density))


def _like(number: DoubleDouble, u: DoubleDouble) -> DoubleDouble:
    """Return a number with as many axes as u."""
    return DoubleDouble(*(part.reshape((1,) * u.ndim) for part in (*number.pair, number.radius)))


def _arctan(u: DoubleDouble, count: int) -> Coefficients:
    """The derivative a = 1 / (1 + x^2): (1 + x^2) a_m = -2 x a_(m-1) - a_(m-2)."""
    a = [apply("reciprocal", u * u + 1.0)]
    for m in range(1, count - 1):
        total = u * a[-1] * 2.0 + a[-2] if m > 1 else u * a[-1] * 2.0
        a.append(-(total * a[0]))
    return _integrated(apply("arctan", u), a)


EXPANSIONS: Mapping[str, Expand] = {
    **{"exp": _exp, "reciprocal": _reciprocal, "log": _log, "sqrt": _sqrt, "tanh": _tanh, "sigmoid": _sigmoid},
    **{"sin": _waves("sin", "cos", 1.0, -1.0), "cos": _waves("cos", "sin", -1.0, -1.0)},
    **{"cosh": _waves("cosh", "sinh", 1.0, 1.0), "softplus": _softplus, "silu": _silu, "erf": _erf, "gelu": _gelu},
    "arctan": _arctan,
}
