"""Comparisons of forms, choices between them, and what is made of choices: maxima, minima, clamps."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.affine import AffineForm, Constant, NoEnclosure, apply, rule
from hpcsweep.approx.supnorm.certificate.enclosure.arithmetic import add, multiply, subtract
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.number import DoubleDouble
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import TINY, gamma
from hpcsweep.approx.supnorm.certificate.enclosure.shapes import (
    aligned,
    as_form,
    feature_axes,
    of_one_degree,
    refuse_rows,
    shared,
    widened,
)

Term = AffineForm | Constant


@final
class Mask:
    """A condition on the points of boxes: true everywhere, false everywhere, or undecided.

    Parameters
    ----------
    always, sometimes: booleans (boxes, *features): true at every point of the box; not proved false everywhere.
    dimension: how many slopes the forms on these boxes have, or `POINTS` for double-doubles.
    """

    __slots__ = ("always", "dimension", "sometimes", "viewed")
    POINTS = -1
    __hash__ = object.__hash__

    def __init__(self, always: Tensor, sometimes: Tensor, dimension: int) -> None:
        self.always, self.sometimes, self.dimension = always, sometimes, dimension
        self.viewed = False

    @property
    def shape(self) -> torch.Size:
        """(boxes, *features)."""
        return self.always.shape

    @property
    def ndim(self) -> int:
        """The number of axes of `shape`."""
        return self.always.ndim

    def _like(self, other: Any) -> Mask:
        other = mask_of(other, self.dimension)
        if other.always.ndim != self.always.ndim:
            raise NoEnclosure(f"conditions of shapes {tuple(self.shape)} and {tuple(other.shape)} together")
        return other

    def __and__(self, other: Any) -> Mask:
        other = self._like(other)
        return Mask(self.always & other.always, self.sometimes & other.sometimes, self.dimension)

    def __or__(self, other: Any) -> Mask:
        other = self._like(other)
        return Mask(self.always | other.always, self.sometimes | other.sometimes, self.dimension)

    def __xor__(self, other: Any) -> Mask:
        other = self._like(other)
        return (self & ~other) | (~self & other)

    def __eq__(self, other: object) -> Mask:  # type: ignore[override] # Python's own would compare the objects
        return ~(self ^ other)

    def __ne__(self, other: object) -> Mask:  # type: ignore[override]
        return self ^ other

    def __invert__(self) -> Mask:
        return Mask(~self.sometimes, ~self.always, self.dimension)

    def __getitem__(self, index: Any) -> Mask:
        if not isinstance(index, tuple) or index[0] != slice(None):
            raise NoEnclosure("an index of points of a batch")
        part = Mask(self.always[index], self.sometimes[index], self.dimension)
        self.viewed = part.viewed = True
        return part

    def _replaced(self, other: Mask) -> Mask:
        if self.viewed:
            raise NoEnclosure("a condition changed in place, of which there are views")
        self.always, self.sometimes = other.always, other.sometimes
        return self

    def __iand__(self, other: Any) -> Mask:
        return self._replaced(self & other)

    def __ior__(self, other: Any) -> Mask:
        return self._replaced(self | other)

    def __ixor__(self, other: Any) -> Mask:
        return self._replaced(self ^ other)

    def all(self, dim: int, keepdim: bool = False) -> Mask:
        """Return whether all entries of a feature axis are true."""
        (axis,) = feature_axes(self.always, dim)
        return Mask(self.always.all(axis, keepdim), self.sometimes.all(axis, keepdim), self.dimension)

    def any(self, dim: int, keepdim: bool = False) -> Mask:
        """Return whether any entry of a feature axis is true."""
        (axis,) = feature_axes(self.always, dim)
        return Mask(self.always.any(axis, keepdim), self.sometimes.any(axis, keepdim), self.dimension)

    def __bool__(self) -> bool:
        raise NoEnclosure("bool")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NoEnclosure(f"{name} of a condition")

    @classmethod
    def __torch_function__(cls, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """torch.where and the logical functions; anything else has no rule."""
        name = function.__name__
        if name in ("where", "all", "any"):
            return apply(name, *args, **(kwargs or {}))
        if name in _LOGIC:
            dimension = next(part.dimension for part in args if isinstance(part, Mask))
            return _LOGIC[name](*(mask_of(part, dimension) for part in args), **(kwargs or {}))
        raise NoEnclosure(f"{name} of a condition")

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__


_LOGIC: dict[str, Callable[..., Mask]] = {
    **dict.fromkeys(("logical_and", "bitwise_and", "__and__", "__rand__"), Mask.__and__),
    **dict.fromkeys(("logical_or", "bitwise_or", "__or__", "__ror__"), Mask.__or__),
    **dict.fromkeys(("logical_xor", "bitwise_xor", "__xor__", "__rxor__"), Mask.__xor__),
    **dict.fromkeys(("logical_not", "bitwise_not"), Mask.__invert__),
    **dict.fromkeys(("eq", "__eq__"), Mask.__eq__),
    **dict.fromkeys(("ne", "not_equal", "__ne__"), Mask.__ne__),
}


rule("all")(Mask.all)
rule("any")(Mask.any)
rule("and", "logical_and", "bitwise_and")(operator.and_)
rule("or", "logical_or", "bitwise_or")(operator.or_)
rule("xor", "logical_xor", "bitwise_xor")(operator.xor)
rule("invert", "logical_not", "bitwise_not")(operator.invert)


def mask_of(value: Any, dimension: int) -> Mask:
    """Return a condition as it is, or a constant one that is alike at all points."""
    if isinstance(value, Mask):
        return value
    value = torch.as_tensor(value)
    if value.dtype != torch.bool:
        raise NoEnclosure("a condition with numbers")
    refuse_rows(value)
    return Mask(value, value, dimension)


@rule("ge", "greater_equal")
def at_least(left: Term, right: Term) -> Mask:
    """left >= right."""
    low, high, dimension = _difference(left, right)
    return Mask(low >= 0.0, high >= 0.0, dimension)


@rule("gt", "greater")
def above(left: Term, right: Term) -> Mask:
    """left > right."""
    low, high, dimension = _difference(left, right)
    return Mask(low > 0.0, high > 0.0, dimension)


@rule("eq")
def equal(left: Term, right: Term) -> Mask:
    """left == right: seldom certain, but certainly not where the ranges are apart."""
    low, high, dimension = _difference(left, right)
    return Mask((low == 0.0) & (high == 0.0), (low <= 0.0) & (high >= 0.0), dimension)


rule("ne", "not_equal")(lambda left, right: ~equal(left, right))
rule("le", "less_equal")(lambda left, right: ~above(left, right))
rule("lt", "less")(lambda left, right: ~at_least(left, right))


def _difference(left: Term, right: Term) -> tuple[Tensor, Tensor, int]:
    """Return the ends of left - right, of certain sign, and the dimension of the boxes; of a NaN all is possible."""
    if not isinstance(left, AffineForm):
        low, high, dimension = _difference(right, left)
        return -high, -low, dimension
    if isinstance(right, AffineForm):
        return *subtract(left, right).range(), len(left.slopes)
    number = shared(right, left)
    low, high = widened(left, number).range()
    low, high = low - number, high - number  # the sign of a rounded difference is right
    return (
        low.nan_to_num_(-math.inf, math.inf, -math.inf),
        high.nan_to_num_(math.inf, math.inf, -math.inf),
        len(left.slopes),
    )


def choice(condition: Any, left: Any, right: Any) -> tuple[Any, Any, Any]:
    """Return the arguments of torch.where in its order, also those of x.where(condition, other)."""
    if isinstance(left, Mask) and getattr(condition, "dtype", None) == torch.float64:
        condition, left = left, condition
    if any(isinstance(part, Mask) for part in (left, right)):
        raise NoEnclosure("where between conditions")
    return condition, left, right


@rule("where")
def where(condition: Mask | Tensor, left: Term, right: Term) -> AffineForm | DoubleDouble:
    """Decided boxes take their branch, undecided ones the hull of both; one-sided limits are thereby included."""
    condition, left, right = choice(condition, left, right)
    like = next((part for part in (left, right) if isinstance(part, AffineForm)), None)
    condition = mask_of(condition, len(like.slopes) if like is not None else 0)
    if like is None:
        example = torch.ones(1, dtype=torch.bool)
        dtype = torch.where(example, left, right).dtype  # type: ignore[arg-type]
        if not dtype.is_floating_point and dtype != torch.int64:
            raise NoEnclosure(f"where between {dtype}")
        left, right = (torch.as_tensor(part, dtype=dtype).double() for part in (left, right))
        return _between(condition, left, right)
    if condition.always.ndim != like.ndim:
        raise NoEnclosure(f"where with a condition of shape {tuple(condition.shape)}")
    left, right = (widened(as_form(part, like), condition.always) for part in (left, right))
    left, right = of_one_degree(*aligned(left, right))
    half = multiply(add(left, right), 0.5)
    apart = multiply(subtract(left, right), 0.5).mass()
    hull = AffineForm(half.terms, (half.radius + apart).mul_(1 + gamma(2)).add_(TINY))
    ranges = [form.range() for form in (left, right)]
    known = (torch.minimum(ranges[0][0], ranges[1][0]), torch.maximum(ranges[0][1], ranges[1][1]))
    low, high = (_pick(condition, *ends) for ends in zip(*ranges, known, strict=True))
    terms = _pick(condition, left.terms, right.terms, hull.terms)
    return AffineForm(terms, _pick(condition, left.radius, right.radius, hull.radius), (low, high))


def _between(condition: Mask, left: Tensor, right: Tensor) -> AffineForm | DoubleDouble:
    """Return a choice between constants, (boxes or points, *features): all its slopes are zero."""
    for part in (left, right):
        if part.ndim == condition.always.ndim:
            refuse_rows(part)
    left, right = (part.to(condition.always.device).expand(condition.shape) for part in (left, right))
    half, apart = 0.5 * left + 0.5 * right, (0.5 * left - 0.5 * right).abs()
    apart = (apart + (left.abs() + right.abs()) * gamma(6)) * (1 + gamma(2)) + TINY
    center = _pick(condition, left, right, half)
    radius = _pick(condition, half.new_zeros(()), half.new_zeros(()), apart)
    if condition.dimension == Mask.POINTS:
        return DoubleDouble(center, torch.zeros_like(center), radius)
    terms = half.new_zeros(1 + condition.dimension, *half.shape)
    terms[0] = center
    return AffineForm(terms, radius)


def _pick(condition: Mask, left: Tensor, right: Tensor, undecided: Tensor) -> Tensor:
    return torch.where(condition.always, left, torch.where(condition.sometimes, undecided, right))


@rule("maximum", "fmax")
def maximum(left: Term, right: Term) -> AffineForm:
    """Return right + relu(left - right)."""
    return add(right, apply("relu", subtract(left, right)))


@rule("minimum", "fmin")
def minimum(left: Term, right: Term) -> AffineForm:
    """Return right - relu(right - left)."""
    return subtract(right, apply("relu", subtract(right, left)))


@rule("clamp", "clip")
def clamp(form: AffineForm, min: Term | None = None, max: Term | None = None) -> AffineForm:
    """Cut off below and above."""
    form = form if min is None else maximum(form, min)
    return form if max is None else minimum(form, max)


@rule("hardtanh")
def hardtanh(form: AffineForm, min_val: float = -1.0, max_val: float = 1.0) -> AffineForm:
    """Cut off at -1 and 1, or elsewhere."""
    return clamp(form, min_val, max_val)


rule("relu6")(lambda form: clamp(form, 0.0, 6.0))
rule("clamp_min")(maximum)
rule("clamp_max")(minimum)
