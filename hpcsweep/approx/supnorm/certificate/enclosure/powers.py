"""Powers, logarithms to other bases, and functions of two variables."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.affine import AffineForm, Constant, NoEnclosure, apply, rule
from hpcsweep.approx.supnorm.certificate.enclosure.arithmetic import (
    add,
    divide,
    doubted,
    multiply,
    negate,
    subtract,
    whole_power,
)
from hpcsweep.approx.supnorm.certificate.enclosure.conditions import Mask, where
from hpcsweep.approx.supnorm.certificate.enclosure.elementary import univariate
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import ELEMENTARY, TINY, UNIT, gamma
from hpcsweep.approx.supnorm.certificate.enclosure.shapes import aligned, as_form, full_like, select
from hpcsweep.approx.supnorm.certificate.enclosure.univariate import registry

Term = AffineForm | Constant
_LARGEST = 64  # exponent
_BESIDE = 1e-6  # 1, where the place of a given slope is uncertain


@rule("pow", "float_power")
def power(base: Term, exponent: Term) -> AffineForm:
    """Whole exponents by squares; others for base >= 0; constants to variable exponents by exp and log."""
    if not isinstance(exponent, Constant):
        return _variable_power(base, exponent)
    assert not isinstance(base, Constant)
    if isinstance(exponent, Tensor) and exponent.numel() != 1:
        return _several_powers(base, exponent)
    exponent = float(exponent)
    if exponent in (0.5, -0.5):
        root = apply("sqrt", base)
        return root if exponent > 0 else apply("reciprocal", root)
    if not abs(exponent) <= _LARGEST or 0 < abs(exponent - 1.0) < _BESIDE:
        raise NoEnclosure(f"pow with exponent {exponent}")
    if not exponent.is_integer():
        return univariate(registry.power(exponent), base)
    if exponent in (0.0, 1.0):
        return apply("clone", base if exponent else as_form(full_like(base, 1.0), base))
    whole = whole_power(base, int(abs(exponent)))
    return whole if exponent > 0 else apply("reciprocal", whole)


def _several_powers(base: AffineForm, exponents: Tensor) -> AffineForm:
    """Exponents along the last axis, one power for each."""
    if exponents.ndim != 1 or base.shape[-1] not in (1, len(exponents)) or base.ndim < 2:
        raise NoEnclosure(f"pow with exponents {tuple(exponents.shape)}")
    columns = [select(base, base.ndim - 1, k if base.shape[-1] > 1 else 0) for k in range(len(exponents))]
    powers = [power(column, float(exponent)) for column, exponent in zip(columns, exponents, strict=True)]
    return apply("stack", powers, base.ndim - 1)


def _variable_power(base: Term, exponent: AffineForm) -> AffineForm:
    if not isinstance(base, Constant):
        return apply("exp", multiply(exponent, apply("log", base)))
    bases = torch.as_tensor(base, dtype=torch.float64, device=exponent.device)
    if not bool((bases > 0.0).all()):
        raise NoEnclosure("pow of a base that may be 0 or negative")
    return apply("exp", doubted(multiply(exponent, torch.log(bases)), ELEMENTARY))


@rule("exp2", "special_exp2")
def exp2(form: AffineForm) -> AffineForm:
    """2 ** x."""
    return power(2.0, form)


def _logarithm(form: AffineForm, base: float) -> AffineForm:
    return doubted(multiply(apply("log", form), 1.0 / math.log(base)), ELEMENTARY + 2)


rule("log2")(lambda form: _logarithm(form, 2.0))
rule("log10")(lambda form: _logarithm(form, 10.0))
rule("deg2rad")(lambda form: doubted(multiply(form, math.pi / 180.0), 4))
rule("rad2deg")(lambda form: doubted(multiply(form, 180.0 / math.pi), 4))


@rule("arctanh", "atanh")
def arctanh(form: AffineForm) -> AffineForm:
    """(log(1 + x) - log(1 - x)) / 2."""
    return multiply(subtract(apply("log", add(form, 1.0)), apply("log", subtract(1.0, form))), 0.5)


@rule("arccosh", "acosh")
def arccosh(form: AffineForm) -> AffineForm:
    """log(x + sqrt((x - 1) (x + 1))), for x >= 1."""
    root = apply("sqrt", subtract(form, 1.0))
    return apply("log", add(form, multiply(root, apply("sqrt", add(form, 1.0)))))


@rule("logit", "special_logit")
def logit(form: AffineForm, eps: float | None = None) -> AffineForm:
    """log(x / (1 - x)), of x clamped to [eps, 1 - eps] if there is an eps."""
    if eps is not None:
        form = apply("clamp", form, eps, 1.0 - eps)
    return subtract(apply("log", form), apply("log", subtract(1.0, form)))


@rule("erfc", "special_erfc")
def erfc(form: AffineForm) -> AffineForm:
    """1 - erf."""
    return subtract(1.0, apply("erf", form))


@rule("sinc", "special_sinc")
def sinc(form: AffineForm) -> AffineForm:
    """sin(pi x) / (pi x), 1 at zero: the chord, and what |g''| <= pi^2 / 3 leaves about it."""
    low, high = form.range()
    low, high = low.clamp(min=-1e9), high.clamp(max=1e9)  # beyond, |g| < 1e-9
    below, above, width = torch.sinc(low), torch.sinc(high), high - low
    far = (low <= -1e9) | (high >= 1e9) | (width > 2.0)
    slope = ((above - below) / width.clamp(min=TINY)).clamp(-2.0, 2.0).masked_fill_(far, 0.0)
    ends = torch.addcmul(below, slope, low, value=-1.0), torch.addcmul(above, slope, high, value=-1.0)
    sagitta = width.square() * (math.pi**2 / 24 * (1 + gamma(8)))
    # a value errs by some roundings of 1: where pi x is rounded, x g'(x) of at most 1 is what the value changes by
    slack = sagitta + gamma(64) * (1.0 + torch.maximum(low.abs(), high.abs()) * slope.abs())
    least, most = torch.minimum(*ends) - slack, torch.maximum(*ends) + slack
    least, most = least.masked_fill(far, -0.2173), most.masked_fill(far, 1.0 + gamma(4))
    result = form.affine(slope, least, most)
    result.known = torch.full_like(least, -0.2173), torch.full_like(most, 1.0)
    return result


@rule("hypot")
def hypot(left: Term, right: Term) -> AffineForm:
    """sqrt(left^2 + right^2)."""
    squares = (None if isinstance(part, Constant) else apply("square", part) for part in (left, right))
    first, second = squares
    if first is None or second is None:
        form, number = (first, right) if second is None else (second, left)
        assert form is not None
        return apply("sqrt", add(form, apply("square", as_form(number, form))))
    return apply("sqrt", add(first, second))


@rule("atan2", "arctan2")
def arctan2(ordinate: Term, abscissa: Term) -> AffineForm:
    """The angle of a point: by the quotient on whose side no axis lies, anything from -pi to pi around the cut."""
    like = ordinate if isinstance(ordinate, AffineForm) else abscissa
    assert isinstance(like, AffineForm)
    y, x = aligned(*(as_form(part, like) for part in (ordinate, abscissa)))
    right = apply("atan", divide(y, x))
    above = negate(apply("atan", divide(x, y)))
    quarter = AffineForm(torch.zeros_like(x.terms), torch.full_like(x.radius, 2 * UNIT))
    quarter.terms[0] = math.pi / 2
    cut = AffineForm(torch.zeros_like(x.terms), torch.full_like(x.radius, math.pi + 1e-15))
    (bottom, top), left = y.range(), x.range()[0]
    angle = cut
    for decided, form in (
        (top < 0.0, subtract(above, quarter)),
        (bottom > 0.0, add(above, quarter)),
        (left > 0.0, right),
    ):
        angle = where(Mask(decided, decided, len(x.slopes)), form, angle)
    unknown = ~(y.spread() + x.spread()).isfinite()
    return AffineForm(angle.terms, angle.radius.masked_fill(unknown, math.inf))


@rule("xlogy", "special_xlogy")
def xlogy(left: Term, right: Term) -> AffineForm:
    """left log(right); 0 where left is 0, which is then not told from others."""
    if not isinstance(right, Constant):
        return multiply(left, apply("log", right))
    return doubted(multiply(left, torch.as_tensor(right, dtype=torch.float64).log()), ELEMENTARY)


@rule("lerp")
def lerp(start: Term, end: Term, weight: Term) -> AffineForm:
    """Return start + weight (end - start)."""
    distance = end - start
    if isinstance(distance, Constant):
        assert not isinstance(weight, Constant)
        return add(start, doubted(multiply(weight, distance), 2))
    return add(start, multiply(distance, weight))


@rule("addcmul")
def addcmul(values: Any, left: Term, right: Term, *, value: float = 1) -> AffineForm:
    """Return values + value left right."""
    if isinstance(left, Constant) and isinstance(right, Constant):
        raise NoEnclosure("addcmul of constants")
    return add(values, multiply(multiply(left, right), value))


@rule("addcdiv")
def addcdiv(values: Any, left: Term, right: Term, *, value: float = 1) -> AffineForm:
    """Return values + value left / right."""
    if isinstance(left, Constant) and isinstance(right, Constant):
        raise NoEnclosure("addcdiv of constants")
    return add(values, multiply(divide(left, right), value))
