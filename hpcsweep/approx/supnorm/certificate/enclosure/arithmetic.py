"""The rules of +, -, *, sums and matrix products of forms, and of all that only moves numbers about."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.affine import (
    AffineForm,
    Constant,
    NoEnclosure,
    apply,
    constant,
    rule,
)
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import TINY, gamma, outward
from hpcsweep.approx.supnorm.certificate.enclosure.rules import of_any_arithmetic
from hpcsweep.approx.supnorm.certificate.enclosure.shapes import (
    aligned,
    feature_axes,
    of_one_degree,
    shared,
    unbind,
    unsqueeze,
    widened,
)
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.compositions import product as product_of_models
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.monomials import present

Term = AffineForm | Constant
_CROSS = 8  # dimensions up to which a product looks at every pair of coordinates


def extremes(candidates: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the smallest and the largest, elementwise; NaN where there is one."""
    return reduce(torch.minimum, candidates), reduce(torch.maximum, candidates)


def rounded(terms: Tensor, radius: Tensor, known: tuple[Tensor, Tensor] | None) -> AffineForm:
    """Return a form whose terms come of one rounding each, and its radius of one addition."""
    form = AffineForm(terms, radius, known)
    doubt = form.center.abs().add_(form.reach())
    form.radius = torch.add(radius, doubt, alpha=gamma(2)).mul_(1 + gamma(4)).add_(TINY)
    return form


def shift(form: AffineForm, by: Tensor) -> AffineForm:
    """Return form + constant."""
    form = widened(form, by)
    terms = form.terms.clone()
    terms[0] += by
    radius = torch.add(form.radius, terms[0].abs(), alpha=gamma(2)).mul_(1 + gamma(3)).add_(TINY)
    known = None if form.known is None else outward(form.known[0] + by, form.known[1] + by, 1)
    shifted = AffineForm(terms, radius, known)
    shifted._reach = form._reach
    return shifted


@rule("add", "__radd__")
def add(left: Term, right: Term, *, alpha: float = 1) -> AffineForm:
    """Form + form or constant."""
    if alpha != 1:
        raise NoEnclosure("add with alpha")
    if not isinstance(left, AffineForm):
        left, right = right, left
    assert isinstance(left, AffineForm)
    if not isinstance(right, AffineForm):
        return shift(left, shared(right, left))
    known = None
    if left.known is not None and right.known is not None:
        known = outward(left.known[0] + right.known[0], left.known[1] + right.known[1], 1)
    left, right = of_one_degree(*aligned(left, right))
    return rounded(left.terms + right.terms, left.radius + right.radius, known)


@rule("sub", "subtract")
def subtract(left: Term, right: Term, *, alpha: float = 1) -> AffineForm:
    """Form - form or constant."""
    if alpha != 1:
        raise NoEnclosure("sub with alpha")
    if not isinstance(right, AffineForm):
        assert isinstance(left, AffineForm)
        return shift(left, -shared(right, left))
    return add(left, negate(right))


rule("rsub", "__rsub__")(lambda left, right: subtract(right, left))


@rule("neg", "negative")
def negate(form: AffineForm) -> AffineForm:
    """Exact."""
    known = None if form.known is None else (-form.known[1], -form.known[0])
    return AffineForm(-form.terms, form.radius, known)


@rule("mul", "multiply", "__rmul__")
def multiply(left: Term, right: Term) -> AffineForm:
    """Form times form or constant."""
    if left is right:
        return apply("square", left)
    if not isinstance(left, AffineForm):
        left, right = right, left
    assert isinstance(left, AffineForm)
    if isinstance(right, AffineForm):
        return _product(*aligned(left, right))
    factor = shared(right, left)
    doubt = torch.add(left.radius, left.mass(), alpha=gamma(2)) * factor.abs()
    known = None
    if left.known is not None:
        known = outward(*extremes([end * factor for end in left.known]), 1)
    form = widened(left, factor)
    return AffineForm(form.terms * factor, doubt.mul_(1 + gamma(4)).add_(TINY), known)


def _product(left: AffineForm, right: AffineForm) -> AffineForm:
    """Return left * right, features aligned, with the range that the ranges of both say."""
    table = present()
    form = _affine_product(left, right) if table is None else product_of_models(table, left, right)
    low, high = extremes([x * y for x in left.range() for y in right.range()])
    form.known = outward(low, high, 1)
    return form


def _affine_product(left: AffineForm, right: AffineForm) -> AffineForm:
    """(a + A + r)(b + B + s) = a b + a B + b A + [A B] + [a s + b r + A s + B r + r s], in Stolfi's way.

    A B = sum_i A_i B_i e_i^2 + sum_(i < j) (A_i B_j + A_j B_i) e_i e_j: the squares lie in [0, 1].
    """
    a, b = left.center, right.center
    terms = left.terms * b
    terms.addcmul_(right.terms, a)
    terms[0] = a * b
    squares = left.slopes * right.slopes  # (dimension, boxes, *features)
    terms[0].add_(squares.sum(0), alpha=0.5)
    reach, range_ = left.reach(), right.reach()
    remainder = 0.5 * squares.abs().sum(0) + _cross(left, right)
    remainder += (a.abs() + reach) * right.radius + (b.abs() + range_) * left.radius + left.radius * right.radius
    # every rounding is relative to a part of (|a| + reach)(|b| + range): dimension + 4 of them at most
    remainder += left.mass() * right.mass() * gamma(len(squares) + 6)
    return AffineForm(terms, remainder * (1 + gamma(2 * len(squares) + 12)) + TINY)


def _cross(left: AffineForm, right: AffineForm) -> Tensor:
    """Return sum_(i < j) |A_i B_j + A_j B_i|, or an upper bound of it where there are many pairs."""
    a, b = left.slopes, right.slopes
    if len(a) <= _CROSS:
        pairs = [(i, j) for j in range(len(a)) for i in range(j)]
        return sum(((a[i] * b[j] + a[j] * b[i]).abs() for i, j in pairs), torch.zeros_like(left.radius))
    return left.reach() * right.reach() - (a * b).abs().sum(0)


@rule("div", "true_divide", "divide")
def divide(left: Term, right: Term, *, rounding_mode: None = None) -> AffineForm:
    """Form or constant by form or constant; infinite where the divisor may be zero."""
    if rounding_mode is not None:
        raise NoEnclosure("div with rounding_mode")
    if isinstance(right, AffineForm):
        return multiply(left, apply("reciprocal", right))
    assert isinstance(left, AffineForm)
    # the reciprocal of a constant may be no float: it is a form of its own, a number and a rounding
    quotient = 1.0 / shared(right, left)
    return doubted(multiply(left, quotient), 2)


@of_any_arithmetic("doubted")
def doubted(form: AffineForm, roundings: int) -> AffineForm:
    """Return a form that was multiplied by numbers that are known to so many roundings."""
    return AffineForm(form.terms, form.radius + form.mass() * gamma(roundings), None)


@of_any_arithmetic("loosened")
def loosened(form: AffineForm, by: float) -> AffineForm:
    """Return a form whose values may be off by so much more."""
    return AffineForm(form.terms, form.radius + by)


@of_any_arithmetic("within")
def within(form: AffineForm, low: Tensor | float, high: Tensor | float) -> AffineForm:
    """Return a form whose values are known to lie in [low, high] too, as far as they are numbers."""
    least, most = form.range()
    form.known = least.clamp(min=low), most.clamp(max=high)
    return form


rule("__rtruediv__", "__rdiv__")(lambda left, right: divide(right, left))


def whole_power(base: AffineForm, exponent: int) -> AffineForm:
    """Return base ** exponent for a positive exponent, by squares."""
    if exponent == 1:
        return base
    half = apply("square", whole_power(base, exponent // 2))
    return multiply(half, base) if exponent % 2 else half


@rule("sum")
def total(form: AffineForm, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> AffineForm:
    """Sum over feature axes."""
    axes = feature_axes(form, dim)
    count = math.prod(form.shape[axis] for axis in axes)
    doubt = torch.add(form.radius, form.mass(), alpha=gamma(count)).sum(axes, keepdim=keepdim)
    known = None
    if form.known is not None:
        low, high = (end.sum(axes, keepdim=keepdim) for end in form.known)
        known = outward(low, high, count)
        slack = torch.maximum(form.known[0].abs(), form.known[1].abs()).sum(axes, keepdim=keepdim) * gamma(count + 1)
        known = (known[0] - slack, known[1] + slack)
    terms = form.terms.sum([axis + 1 for axis in axes], keepdim=keepdim)
    return AffineForm(terms, doubt.mul_(1 + gamma(count + 4)).add_(TINY), known)


@rule("mean")
def mean(form: AffineForm, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> AffineForm:
    """Mean over feature axes."""
    return divide(total(form, dim, keepdim), math.prod(form.shape[axis] for axis in feature_axes(form, dim)))


@rule("prod")
def product(form: AffineForm, dim: int, keepdim: bool = False) -> AffineForm:
    """Product over one feature axis."""
    (axis,) = feature_axes(form, dim)
    first, *others = unbind(form, axis)
    for right in others:
        first = multiply(first, right)
    return unsqueeze(first, axis) if keepdim else first


@rule("linear")
def linear(form: AffineForm, weight: Tensor, bias: Tensor | None = None) -> AffineForm:
    """torch.nn.functional.linear with constant weights of any dtype, upcast exactly."""
    if isinstance(weight, AffineForm) or isinstance(bias, AffineForm) or weight.ndim != 2 or form.ndim < 2:
        raise NoEnclosure("linear with these shapes")
    return form.linear(constant(weight, form), None if bias is None else constant(bias, form))
