"""tanh, sigmoid, erf and the activations made of them, of double-doubles; see `exp_log`."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from hpcsweep.approx.supnorm.certificate.enclosure.affine import NoEnclosure
from hpcsweep.approx.supnorm.certificate.enclosure.double_double import constants, error_free
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.arithmetic import (
    SQUARE,
    UP,
    above,
    absolute,
    add,
    divide,
    multiply,
    negate,
    reciprocal,
    relu,
    result,
    sign,
    square,
    subtract,
    times_sign,
    where,
)
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.circular import arcsin, arctan, cos, sin
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.exp_log import (
    accurate,
    carried,
    exp,
    known_number,
    log,
    sqrt,
)
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.number import DoubleDouble, own
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import UNIT

_SATURATED = 40.0  # 1 - tanh(40) < 4e-35
_CENTERS, _LAST, _TERMS = 16, 9, 20  # of erf: centers per unit, erf(9) > 1 - 5e-37, coefficients


def _decay(x: DoubleDouble) -> DoubleDouble:
    """Return exp(-|x|) at the number itself, without the error of x."""
    return exp(negate(absolute(accurate(x))))


@own("tanh")
def tanh(x: DoubleDouble) -> DoubleDouble:
    """tanh |x| = (1 - q) / (1 + q), q = exp(-2 |x|); 1 - 4e-35 beyond 40. Its slope is below 1 - tanh^2 + dx."""
    saturated = x.leading.abs() > _SATURATED
    at = absolute(accurate(x))
    at = DoubleDouble(
        torch.where(saturated, _SATURATED, at.leading), torch.where(saturated, 0.0, at.trailing), at.radius
    )
    decay = exp(multiply(at, -2.0))
    value = times_sign(divide(subtract(1.0, decay), add(decay, 1.0)), sign(x.leading))
    height = value.leading.abs()
    value.radius.add_(saturated.to(height), alpha=4e-35)
    slope = ((1.0 - height).clamp(min=0.0) * (1.0 + height)).add_(x.radius + 16 * UNIT)
    return carried(value, x, slope.clamp(max=1.0))


@own("sigmoid")
def sigmoid(x: DoubleDouble) -> DoubleDouble:
    """1 / (1 + q) for x >= 0, q / (1 + q) for x < 0, q = exp(-|x|). A slope within dx is below q + dx / 10, and 1/4."""
    decay = _decay(x)
    positive = reciprocal(add(decay, 1.0))
    value = where(x.leading >= 0.0, positive, multiply(decay, positive))
    return carried(value, x, (decay.leading + decay.radius + x.radius).mul_(UP).clamp(max=0.25))


@own("erf")
def erf(x: DoubleDouble) -> DoubleDouble:
    """erf about the nearest i / 16, |h| <= 1/32: 20 terms, nine of them in float64; 1 - 5e-37 beyond 9.

    By Hermite's functions (Indritz' bound), the coefficient of h^n is at most 1.23 2^((n - 1) / 2) sqrt((n - 1)!) / n!:
    left out is 2^-122, and the tail from h^11 on is 2^-64 and errs by 16 u of it. x_h - i / 16 is exact. Horner's
    scheme errs by 4 u^2 (1 + 2^-4) + 14 u^2 2^-4, coefficients by u^2: below 16 u^2, absolute. The slope is at most
    1.13 exp(-x^2), of which exp(-(|x| - dx)^2) <= exp(-x^2 + 2 |x| dx).
    """
    saturated = x.leading.abs() >= _LAST
    at = absolute(accurate(x))
    leading = torch.where(saturated, 0.0, at.leading)
    index = torch.round(leading * _CENTERS)
    h = error_free.two_sum(leading - index / _CENTERS, torch.where(saturated, 0.0, at.trailing))
    high, low = constants.error_function(_CENTERS, _LAST, _TERMS)
    rows = index.nan_to_num(0.0).to(torch.int64)
    coefficients = [(high[n][rows], low[n][rows]) for n in range(11)]
    value = error_free.polynomial(h, coefficients, [high[n][rows] for n in range(11, _TERMS)])
    one, zero = torch.ones_like(leading), torch.zeros_like(leading)
    pair = torch.where(saturated, one, value[0]), torch.where(saturated, zero, value[1])
    bound = torch.full_like(leading, 16 * SQUARE)  # more than 1 - erf(9)
    size = x.leading.abs()
    slope = 1.13 * torch.exp(2.0 * size * x.radius - size * size) + 16 * UNIT
    return times_sign(carried(result(pair, bound), x, slope.clamp(max=1.13)), sign(x.leading))


@own("gelu")
def gelu(x: DoubleDouble, *, approximate: str = "none") -> DoubleDouble:
    """x (1 + erf(x / sqrt 2)) / 2, with a slope below 1.13; or by tanh, as torch approximates it."""
    if approximate != "none":
        inner = multiply(add(x, multiply(multiply(square(x), x), 0.044715)), math.sqrt(2.0 / math.pi))
        # torch's own constant is M_SQRT2 * M_2_SQRTPI / 2; it and the real number are two roundings apart at most
        inner = DoubleDouble(*inner.pair, inner.radius + inner.leading.abs() * (8 * UNIT))
        return multiply(multiply(x, add(tanh(inner), 1.0)), 0.5)
    at = accurate(x)
    value = multiply(multiply(at, add(erf(multiply(at, known_number("root_half"))), 1.0)), 0.5)
    return carried(value, x, 1.13)


@own("silu")
def silu(x: DoubleDouble) -> DoubleDouble:
    """x sigmoid(x), with a slope below 1.1."""
    at = accurate(x)
    return carried(multiply(at, sigmoid(at)), x, 1.1)


def _softplus(x: DoubleDouble) -> DoubleDouble:
    """Return log(1 + exp x) = max(x, 0) + log(1 + exp(-|x|)), with a slope below 1."""
    return carried(add(relu(accurate(x)), log(add(_decay(x), 1.0))), x, 1.0)


@own("softplus")
def softplus(x: DoubleDouble, beta: float = 1.0, threshold: float = 20.0) -> DoubleDouble:
    """log(1 + exp(beta x)) / beta, and x where beta x > threshold, as torch has it."""
    if beta <= 0.0:
        raise NoEnclosure("softplus with beta <= 0")
    scaled = multiply(x, beta)
    return where(above(scaled, threshold), x, divide(_softplus(scaled), beta))


own("logsigmoid")(lambda x: negate(_softplus(negate(x))))


@own("cosh")
def cosh(x: DoubleDouble) -> DoubleDouble:
    """(exp x + exp(-x)) / 2."""
    return multiply(add(exp(x), exp(negate(x))), 0.5)


def arcsinh(x: DoubleDouble) -> DoubleDouble:
    """The sign of x times log(|x| + sqrt(x^2 + 1)), with a slope of at most 1."""
    at = absolute(accurate(x))
    return carried(times_sign(log(add(at, sqrt(add(square(at), 1.0)))), sign(x.leading)), x, 1.0)


def softsign(x: DoubleDouble) -> DoubleDouble:
    """x / (1 + |x|), with a slope of at most 1."""
    at = accurate(x)
    return carried(divide(at, add(absolute(at), 1.0)), x, 1.0)


def elu(x: DoubleDouble) -> DoubleDouble:
    """max(x, 0) + exp(min(x, 0)) - 1, with a slope of at most 1."""
    at = accurate(x)
    return carried(add(relu(at), subtract(exp(negate(relu(negate(at)))), 1.0)), x, 1.0)


@own("mish")
def mish(x: DoubleDouble) -> DoubleDouble:
    """x tanh(log(1 + exp x)), with a slope below 1.1."""
    at = accurate(x)
    return carried(multiply(at, tanh(_softplus(at))), x, 1.1)


_UNIVARIATE: dict[str, Callable[[DoubleDouble], DoubleDouble]] = {
    **{"tanh": tanh, "sigmoid": sigmoid, "erf": erf, "arctan": arctan, "arcsin": arcsin, "sin": sin, "cos": cos},
    **{"exp": exp, "log": log, "sqrt": sqrt, "square": square, "reciprocal": reciprocal, "abs": absolute, "cosh": cosh},
    **{"relu": relu, "gelu": gelu, "silu": silu, "softplus": _softplus, "elu": elu},
    **{"arcsinh": arcsinh, "softsign": softsign},
}


def univariate(name: str, x: DoubleDouble) -> DoubleDouble:
    """Return g(x) for a function of `registry.FUNCTIONS`."""
    if name not in _UNIVARIATE:
        raise NoEnclosure(name)
    return _UNIVARIATE[name](x)


own("univariate")(univariate)
