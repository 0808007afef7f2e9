"""Sums, products, quotients, comparisons and choices of double-doubles.

Shapes and broadcasting are those of torch. The radius of a result is computed in float64 from sums of positive terms:
`UP` is more than all its roundings, fewer than 32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.affine import Constant, NoEnclosure, apply, constant
from hpcsweep.approx.supnorm.certificate.enclosure.conditions import Mask, choice, mask_of
from hpcsweep.approx.supnorm.certificate.enclosure.double_double import error_free
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.error_free import Pair
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.number import (
    DoubleDouble,
    exact,
    meeting,
    own,
    own_of_two,
)
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import TINY, UNIT, gamma
from hpcsweep.approx.supnorm.certificate.enclosure.shapes import feature_axes, moved

Term = DoubleDouble | Constant
UP = 1.0 + 64 * UNIT
SQUARE = UNIT * UNIT
_UNDERFLOW = 2.0**-1070  # more than underflow can take from ten products


def result(pair: Pair, radius: Tensor, underflow: Tensor | float = TINY) -> DoubleDouble:
    """Return a result of arithmetic; its radius, computed upwards here, is NaN where the numbers overflowed."""
    return DoubleDouble(*pair, radius.mul_(UP).add_(underflow).add_(pair[1], alpha=0.0))


def number(value: Term, like: DoubleDouble) -> DoubleDouble:
    """Return a double-double as it is, a number or a tensor of any dtype as the exact float64 that it is."""
    return value if isinstance(value, DoubleDouble) else exact(constant(value, like))


def both(left: Term, right: Term) -> tuple[DoubleDouble, DoubleDouble]:
    """Return two operands, one of which is a double-double."""
    like = left if isinstance(left, DoubleDouble) else right
    assert isinstance(like, DoubleDouble)
    return number(left, like), number(right, like)


@own_of_two("add")
def add(left: Term, right: Term, *, alpha: float = 1) -> DoubleDouble:
    """x + y: the radii add up, and the error of the sum itself, which is none of two float64 numbers."""
    if alpha != 1:
        right = apply("mul", right, alpha)
    x, y = both(left, right)
    pair = error_free.add(x.pair, y.pair)
    return result(pair, _rounded(x, y).add_(x.radius + y.radius), 0.0)


def _rounded(x: DoubleDouble, y: DoubleDouble) -> Tensor:
    """Return a bound of the error of x + y by `error_free.add`."""
    sizes = (x.leading.abs() + y.leading.abs()).mul_(4 * SQUARE)
    return torch.minimum(sizes, (x.trailing.abs() + y.trailing.abs()).mul_(2.0))


@own_of_two("sub")
def subtract(left: Term, right: Term, *, alpha: float = 1) -> DoubleDouble:
    """x + (-y)."""
    x, y = both(left, right)
    return add(x, negate(y), alpha=alpha)


@own("neg")
def negate(x: DoubleDouble) -> DoubleDouble:
    """Exact."""
    return DoubleDouble(-x.leading, -x.trailing, x.radius.clone())


@own_of_two("mul")
def multiply(left: Term, right: Term) -> DoubleDouble:
    """x y: errors dx, dy make |y| dx + |x| dy + dx dy, with |x| <= |x_h| (1 + u), besides that of the product itself.

    None of the parts of the product, down to u^2 of it, underflows where it is at least 2^-900. Each product that makes
    the radius may lose 2^-1075, whatever the size of the product itself. Where a factor is 0 without error, all are 0.
    """
    x, y = both(left, right)
    pair, size = error_free.multiply(x.pair, y.pair), torch.abs
    crossed = size(x.leading * y.trailing).add_(size(x.trailing * y.leading)).mul_(3.0)
    radius = (size(y.leading) + y.radius) * x.radius + size(x.leading) * y.radius
    radius.add_(torch.minimum(size(pair[0]).mul_(9 * SQUARE), crossed))
    present = ((x.leading != 0.0) | (x.radius != 0.0)) & ((y.leading != 0.0) | (y.radius != 0.0))
    exact = (x.trailing == 0.0) & (y.trailing == 0.0) & (x.radius == 0.0) & (y.radius == 0.0)
    underflow = (present & ~exact).to(radius).mul_(_UNDERFLOW)
    return result(pair, radius, underflow.add_((present & (size(pair[0]) < 2.0**-900)).to(radius), alpha=TINY))


def reciprocal(y: DoubleDouble) -> DoubleDouble:
    """1 / y: an error dy < |y| makes dy / (|y| (|y| - dy)); unknown where y may be 0."""
    pair = error_free.reciprocal(y.pair)
    least = (y.leading.abs() * (1 - 8 * UNIT) - y.radius).mul_(1 - 8 * UNIT)  # of |y + dy|
    least = torch.where(least > 0.0, least, math.nan)
    return result(pair, (y.radius / least).mul_(pair[0].abs()).mul_(UP).add_(pair[0].abs(), alpha=16 * SQUARE))


@own_of_two("div")
def divide(left: Term, right: Term, *, rounding_mode: None = None) -> DoubleDouble:
    """x (1 / y)."""
    if rounding_mode is not None:
        raise NoEnclosure("div with rounding_mode")
    x, y = both(left, right)
    return multiply(x, reciprocal(y))


@own("sum")
def total(x: DoubleDouble, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> DoubleDouble:
    """Sum over axes, by halves."""
    axes = feature_axes(x, dim)
    for axis in axes:
        while (count := x.shape[axis]) > 1:
            half = count // 2
            pairs = add(_narrow(x, axis, 0, half), _narrow(x, axis, half, half))
            x = pairs if count % 2 == 0 else cat([pairs, _narrow(x, axis, count - 1, 1)], axis)
        if not x.shape[axis]:
            raise NoEnclosure("a sum of nothing")
    return moved(x, lambda part, _: part if keepdim else part.squeeze(tuple(axes)))


@own("mean")
def mean(x: DoubleDouble, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> DoubleDouble:
    """Mean over axes."""
    added = total(x, dim, keepdim)
    return divide(added, math.prod(x.shape) // max(1, math.prod(added.shape)))


@own("square")
def square(x: DoubleDouble) -> DoubleDouble:
    """x x."""
    return multiply(x, x)


@own("abs")
def absolute(x: DoubleDouble) -> DoubleDouble:
    """|x|: the sign is that of the leading part; an error of x is at most that of |x|."""
    return times_sign(x, sign(x.leading))


def sign(values: Tensor) -> Tensor:
    """Return -1 for negative numbers, else 1."""
    return (values < 0.0).to(values).mul_(-2.0).add_(1.0)


def times_sign(x: DoubleDouble, signs: Tensor) -> DoubleDouble:
    """Return x times 1 or -1."""
    return DoubleDouble(x.leading * signs, x.trailing * signs, x.radius.clone())


@own("relu")
def relu(x: DoubleDouble) -> DoubleDouble:
    """max(x, 0), which changes by no more than x."""
    positive = (x.leading > 0.0).to(x.leading)
    return DoubleDouble(x.leading * positive, x.trailing * positive, x.radius.clone())


def known(x: DoubleDouble) -> tuple[Tensor, Tensor]:
    """Return whether x is surely positive, and surely negative: |x_h| (1 - u) more than the radius; none of NaN."""
    least = x.leading.abs().mul_(1 - 4 * UNIT)
    return (x.leading > 0.0) & (least > x.radius), (x.leading < 0.0) & (least > x.radius)


def _compare(left: Term, right: Term) -> tuple[Tensor, Tensor]:
    """Return whether left > right surely, and left < right surely; equal numbers without error are surely neither."""
    return known(subtract(left, right))


def _equal(left: Term, right: Term) -> Tensor:
    x, y = both(left, right)
    return (x.leading == y.leading) & (x.trailing == y.trailing) & (x.radius == 0.0) & (y.radius == 0.0)


@own_of_two("ge")
def at_least(left: Term, right: Term) -> Mask:
    """left >= right."""
    more, less = _compare(left, right)
    return Mask(more | _equal(left, right), ~less, Mask.POINTS)


@own_of_two("gt")
def above(left: Term, right: Term) -> Mask:
    """left > right."""
    more, less = _compare(left, right)
    return Mask(more, ~(less | _equal(left, right)), Mask.POINTS)


@own_of_two("eq")
def equal(left: Term, right: Term) -> Mask:
    """left == right."""
    more, less = _compare(left, right)
    return Mask(_equal(left, right), ~(more | less), Mask.POINTS)


@own("where")
def chosen(condition: Mask | Tensor, left: Term, right: Term) -> DoubleDouble:
    """torch.where, by a condition on values of the same number of axes."""
    condition, left, right = choice(condition, left, right)
    x, y = both(*meeting(left, right))
    condition = mask_of(condition, Mask.POINTS)
    if condition.ndim != max(x.ndim, y.ndim):
        raise NoEnclosure(f"where with a condition of shape {tuple(condition.shape)}")
    return where(condition, x, y)


def where(condition: Mask | Tensor, left: Term, right: Term) -> DoubleDouble:
    """What is chosen; both where that is undecided: the left with a radius that reaches the right."""
    x, y = both(left, right)
    if isinstance(condition, Tensor):
        return choose(condition, x, y)
    apart = subtract(x, y)
    hull = DoubleDouble(*x.pair, apart.leading.abs().mul_(1 + 4 * UNIT).add_(apart.radius).add_(x.radius).mul_(UP))
    return choose(condition.always, x, choose(condition.sometimes, hull, y))


def choose(condition: Tensor, x: DoubleDouble, y: DoubleDouble) -> DoubleDouble:
    parts = ("leading", "trailing", "radius")
    return DoubleDouble(*(torch.where(condition, getattr(x, part), getattr(y, part)) for part in parts))


@own_of_two("maximum")
def maximum(left: Term, right: Term) -> DoubleDouble:
    """The larger of both: errors of x and y change it by the larger one, a wrong choice by that of x - y."""
    x, y = both(left, right)
    larger = error_free.add(x.pair, negate(y).pair)[0] >= 0.0
    radius = torch.maximum(x.radius, y.radius).add_(_rounded(x, y)).mul_(UP)
    return DoubleDouble(*choose(larger, x, y).pair, radius)


@own_of_two("minimum")
def minimum(left: Term, right: Term) -> DoubleDouble:
    """-max(-x, -y)."""
    x, y = both(left, right)
    return negate(maximum(negate(x), negate(y)))


@own("cat")
def cat(parts: Sequence[Term], dim: int = 0) -> DoubleDouble:
    """Several one after the other along a feature axis."""
    like = next(part for part in parts if isinstance(part, DoubleDouble))
    (axis,) = feature_axes(like, dim)
    numbers = [number(part, like) for part in meeting(*parts)]
    if any(part.ndim != like.ndim or len(part) != len(like) for part in numbers):
        raise NoEnclosure("cat of values of different points")
    columns = ([getattr(part, name) for part in numbers] for name in ("leading", "trailing", "radius"))
    return DoubleDouble(*(torch.cat(column, axis) for column in columns))


def _narrow(x: DoubleDouble, dim: int, start: int, length: int) -> DoubleDouble:
    return moved(x, lambda part, _: part.narrow(dim, start, length))


@own("moved")
def _moved(x: DoubleDouble, move: Callable[[Tensor, int], Tensor]) -> DoubleDouble:
    return DoubleDouble(*(move(part, 0) for part in (x.leading, x.trailing, x.radius)))


@own("doubted")
def _doubted(x: DoubleDouble, roundings: int) -> DoubleDouble:
    return loosened(x, (x.leading.abs() + x.radius) * (gamma(roundings) * (1 + 8 * UNIT)))


@own("loosened")
def loosened(x: DoubleDouble, by: Tensor | float) -> DoubleDouble:
    """Return values that may be off by so much more."""
    return DoubleDouble(*x.pair, (x.radius + by).mul_(UP))


own("exact_form")(lambda values, _: exact(values))
own("within")(lambda x, *_: x)


def lower_ends(error: DoubleDouble) -> Tensor:
    """Return what |error| surely is at least, (points,); 0 where nothing is known.

    Of x = x_h + x_l +- r with x_h > 0, that is x_h itself if x_l >= r; else the float64 below x_h - (r - x_l).
    """
    size = absolute(error)
    ends, short = size.leading, size.radius - size.trailing
    reduced = torch.nextafter(ends - short * (1 + 4 * UNIT), torch.zeros_like(ends))
    return torch.where(short <= 0.0, ends, reduced).nan_to_num(0.0, 0.0, 0.0).clamp(min=0.0)
