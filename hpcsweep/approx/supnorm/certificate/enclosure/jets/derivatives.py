"""First and second derivatives of functions of one variable, on any arithmetic that has rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from hpcsweep.approx.models.activations import ACTIVATIONS
from hpcsweep.approx.supnorm.certificate.enclosure.affine import apply
from hpcsweep.approx.supnorm.certificate.enclosure.arithmetic import doubted
from hpcsweep.approx.supnorm.certificate.enclosure.elementary import univariate

Part = Any  # an affine form, a Taylor model, or double-doubles
Second = tuple[Part, Part, Part]  # value, first and second derivative at a place


def _registered(name: str) -> Callable[[Part], Second]:
    """Return the derivatives that an activation knows of itself, whose formulas have no constants that are rounded."""

    def derivatives(x: Part) -> Second:
        known = ACTIVATIONS[name].derivatives(x)
        assert known is not None
        return known

    return derivatives


def _sigmoid(x: Part) -> Second:
    value = apply("sigmoid", x)
    slope = value * (1.0 - value)
    return value, slope, slope * (1.0 - value * 2.0)


def _softplus(x: Part) -> Second:
    slope = apply("sigmoid", x)
    return univariate("softplus", x), slope, slope * (1.0 - slope)


def _erf(x: Part) -> Second:
    slope = doubted(apply("exp", -(x * x)) * (2.0 / math.sqrt(math.pi)), 4)
    return apply("erf", x), slope, x * slope * -2.0


def _gelu(x: Part) -> Second:
    """x P(x): the derivatives are P + x p and p (2 - x^2), with the density p of P = (1 + erf(x / sqrt 2)) / 2."""
    density = doubted(apply("exp", x * x * -0.5) * (1.0 / math.sqrt(2.0 * math.pi)), 4)
    distribution = (apply("erf", doubted(x * math.sqrt(0.5), 2)) + 1.0) * 0.5
    return apply("gelu", x), distribution + x * density, density * (2.0 - x * x)


def _arctan(x: Part) -> Second:
    slope = apply("reciprocal", x * x + 1.0)
    return apply("arctan", x), slope, x * (slope * slope) * -2.0


def _arcsinh(x: Part) -> Second:
    squared = apply("reciprocal", x * x + 1.0)
    slope = apply("sqrt", squared)
    return apply("arcsinh", x), slope, -(x * squared * slope)


def _cos(x: Part) -> Second:
    value = apply("cos", x)
    return value, -apply("sin", x), -value


def _exp(x: Part) -> Second:
    return (apply("exp", x),) * 3


def _log(x: Part) -> Second:
    slope = apply("reciprocal", x)
    return apply("log", x), slope, -(slope * slope)


def _reciprocal(x: Part) -> Second:
    value = apply("reciprocal", x)
    squared = value * value
    return value, -squared, squared * value * 2.0


def _sqrt(x: Part) -> Second:
    value = apply("sqrt", x)
    slope = apply("reciprocal", value) * 0.5
    return value, slope, slope * apply("reciprocal", x) * -0.5


def _cosh(x: Part) -> Second:
    value = apply("cosh", x)
    return value, apply("sinh", x), value


DERIVATIVES: Mapping[str, Callable[[Part], Second]] = {
    **{name: _registered(name) for name in ("tanh", "sin", "silu")},
    **{"sigmoid": _sigmoid, "erf": _erf, "gelu": _gelu, "arctan": _arctan, "arcsinh": _arcsinh, "cos": _cos},
    **{"exp": _exp, "log": _log, "reciprocal": _reciprocal, "sqrt": _sqrt, "cosh": _cosh, "softplus": _softplus},
}
