"""The rules of elementary functions and activations, under the names that torch has for them."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.affine import AffineForm, NoEnclosure, apply, rule
from hpcsweep.approx.supnorm.certificate.enclosure.arithmetic import (
    add,
    divide,
    multiply,
    negate,
    subtract,
)
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import UNIT
from hpcsweep.approx.supnorm.certificate.enclosure.rules import of_any_arithmetic
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.compositions import _straightened, compose, product
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.monomials import present
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.series import SERIES
from hpcsweep.approx.supnorm.certificate.enclosure.univariate.registry import Function, image, relax
from hpcsweep.approx.supnorm.certificate.enclosure.univariate.relaxation import Relaxation

# The ranges of these are as good as their forms, and wide layers would pay for them.
_UNBOUNDED = {"gelu", "silu"}
_STEEP = {"sqrt", "log", "arcsin", "reciprocal"}  # without bounds for their slopes
_NAMES = {
    "tanh": ("tanh",),
    "sigmoid": ("sigmoid", "expit", "special_expit"),
    "erf": ("erf", "special_erf"),
    "arctan": ("arctan", "atan"),
    "arcsin": ("arcsin", "asin"),
    "sin": ("sin",),
    "cos": ("cos",),
    "exp": ("exp", "special_exp"),
    "log": ("log",),
    "sqrt": ("sqrt",),
    "square": ("square",),
    "reciprocal": ("reciprocal",),
    "abs": ("abs", "absolute", "__abs__"),
    "cosh": ("cosh",),
    "arcsinh": ("arcsinh", "asinh"),
    "softsign": ("softsign",),
}


@of_any_arithmetic("univariate")
def univariate(name: str | Function, form: AffineForm) -> AffineForm:
    """Return g(form) for a function g, or one of `registry.FUNCTIONS` by its name."""
    table = present()
    if table is None or not isinstance(name, str) or not (name in SERIES or name in _COMPOSED or name == "square"):
        return _straight(name, form)
    lines = partial(_straight, name)
    if name in _COMPOSED:
        everywhere = torch.ones_like(form.radius, dtype=torch.bool)
        result = _straightened(form, _COMPOSED[name](form), everywhere, lines)
    else:
        result = product(table, form, form) if name == "square" else compose(table, name, form, lines)
    if name not in _UNBOUNDED:
        result.known = image(name, *form.range())
    return result


def _over_root(form: AffineForm, sign: float) -> AffineForm:
    """x / sqrt(1 + sign x^2)."""
    return multiply(form, apply("rsqrt", add(multiply(apply("square", form), sign), 1.0)))


# Of Taylor models, where that is better than lines: functions without a series, by those that have one.
_COMPOSED = {
    "arcsin": lambda form: apply("arctan", _over_root(form, -1.0)),
    "arcsinh": lambda form: apply("arctanh", _over_root(form, 1.0)),
    "softsign": lambda form: multiply(form, apply("reciprocal", add(apply("abs", form), 1.0))),
}


def _straight(name: str | Function, form: AffineForm) -> AffineForm:
    """Return g(form) by straight lines about g."""
    low, high = form.range()
    lines = relax(name, low, high)
    if name in _UNBOUNDED:
        return form.affine(*lines)
    known = image(name, low, high)
    if name in _STEEP or isinstance(name, Function):
        lines = _flattened(form, lines, known)
    result = form.affine(*lines)
    result.known = known
    return result


def _flattened(form: AffineForm, lines: Relaxation, known: tuple[Tensor, Tensor]) -> Relaxation:
    """Replace lines by the range of the function where they are so steep that a wide form would exceed it.

    The range for which lines are made may be much narrower than the form: sqrt(relu(x)) with x <= 0.
    """
    steep = lines[0].abs() * form.spread() > known[1] - known[0]
    slope = lines[0].masked_fill(steep, 0.0)
    return slope, torch.where(steep, known[0], lines[1]), torch.where(steep, known[1], lines[2])


for _name, _aliases in _NAMES.items():
    rule(*_aliases)(partial(univariate, _name))

rule("sinh")(lambda form: multiply(subtract(apply("exp", form), apply("exp", negate(form))), 0.5))
rule("tan")(lambda form: divide(apply("sin", form), apply("cos", form)))
rule("rsqrt")(lambda form: apply("reciprocal", apply("sqrt", form)))
rule("expm1", "special_expm1")(lambda form: subtract(apply("exp", form), 1.0))
rule("log1p", "special_log1p")(lambda form: apply("log", add(form, 1.0)))


@rule("relu")
def relu(form: AffineForm) -> AffineForm:
    """max(x, 0)."""
    return univariate("relu", form)


@rule("silu")
def silu(form: AffineForm) -> AffineForm:
    """x sigmoid(x)."""
    return univariate("silu", form)


@rule("gelu")
def gelu(form: AffineForm, *, approximate: str = "none") -> AffineForm:
    """x Phi(x), or its approximation by tanh, x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, looser."""
    if approximate == "none":
        return univariate("gelu", form)
    cube = multiply(apply("square", form), form)
    inner = add(form, multiply(cube, 0.044715))
    # torch's own constant is M_SQRT2 * M_2_SQRTPI / 2; it and the real number are two roundings apart at most
    scaled = multiply(inner, math.sqrt(2.0 / math.pi))
    scaled = AffineForm(scaled.terms, scaled.radius + scaled.mass() * (8 * UNIT))
    return multiply(multiply(form, add(apply("tanh", scaled), 1.0)), 0.5)


@rule("softplus")
def softplus(form: AffineForm, beta: float = 1.0, threshold: float = 20.0) -> AffineForm:
    """log(1 + exp(beta x)) / beta; torch returns x where beta x > threshold, which is less by exp(-threshold)."""
    if beta <= 0.0:
        raise NoEnclosure("softplus with beta <= 0")
    scaled = form if beta == 1.0 else multiply(form, beta)
    result = _exact_softplus(scaled)
    less = (scaled.range()[1] >= threshold).double().mul_(1.01 * math.exp(-threshold))
    result = result.affine(torch.ones_like(less), -less, torch.zeros_like(less))
    return result if beta == 1.0 else divide(result, beta)


def _exact_softplus(form: AffineForm) -> AffineForm:
    """log(1 + exp x)."""
    table = present()
    return _softplus_lines(form) if table is None else compose(table, "softplus", form, _softplus_lines)


def _softplus_lines(form: AffineForm) -> AffineForm:
    return form.affine(*relax("softplus", *form.range()))


@rule("logsigmoid", "log_sigmoid")
def logsigmoid(form: AffineForm) -> AffineForm:
    """-log(1 + exp(-x))."""
    return negate(_exact_softplus(negate(form)))


@rule("dropout", "dropout1d", "alpha_dropout", "feature_alpha_dropout", "feature_dropout")
def dropout(form: AffineForm, p: float = 0.5, training: bool = True) -> AffineForm:
    """Nothing, once training is over."""
    if training:
        raise NoEnclosure("dropout while training")
    form.viewed = True
    return form


@rule("leaky_relu")
def leaky_relu(form: AffineForm, negative_slope: float = 0.01) -> AffineForm:
    """x for x >= 0, else negative_slope x: negative_slope x + (1 - negative_slope) relu x."""
    bent = univariate("relu", form)
    return subtract(add(bent, multiply(form, negative_slope)), multiply(bent, negative_slope))


@rule("arccos", "acos")
def arccos(form: AffineForm) -> AffineForm:
    """pi / 2 - arcsin; pi / 2 is known to a rounding."""
    result = subtract(math.pi / 2, apply("arcsin", form))
    low, high = result.range()
    return AffineForm(result.terms, result.radius + 4 * UNIT, (low - 4 * UNIT, high + 4 * UNIT))
