"""What only moves the numbers of forms about: indices, axes, shapes, constants of the same shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.affine import AffineForm, Constant, NoEnclosure, constant, rule
from hpcsweep.approx.supnorm.certificate.enclosure.rules import Misaligned, apply, of_any_arithmetic
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.monomials import present


@of_any_arithmetic("moved")
def moved(form: AffineForm, move: Callable[[Tensor, int], Tensor]) -> AffineForm:
    """Apply `move(tensor, first)` to all parts; `first` is the axis of the boxes: 1 in the terms, else 0."""
    known = None if form.known is None else (move(form.known[0], 0), move(form.known[1], 0))
    return AffineForm(move(form.terms, 1), move(form.radius, 0), known)


def feature_axes(form: Any, dim: int | Sequence[int] | None) -> list[int]:
    """Return the axes `dim`, counted from the front; never the axis of the boxes, which are not to be mixed."""
    axes = [dim] if isinstance(dim, int) else [] if dim is None else list(dim)
    axes = [axis + form.ndim if axis < 0 else axis for axis in axes]
    if not axes or not all(1 <= axis < form.ndim for axis in axes):
        raise NoEnclosure("an operation across the points of a batch")
    return axes


def widened(form: AffineForm, right: Tensor) -> AffineForm:
    """Expand the features of `form` to those of form + constant."""
    shape = common(form.shape, right.shape)
    return form if shape == form.shape else _expanded(form, shape)


def aligned(left: AffineForm, right: AffineForm) -> tuple[AffineForm, AffineForm]:
    """Expand the features of two forms on the same boxes to their common shape."""
    if left.ndim != right.ndim or (len(left.terms) != len(right.terms) and present() is None):
        raise NoEnclosure(f"forms of shapes {tuple(left.shape)} and {tuple(right.shape)} together")
    if left.shape == right.shape:
        return left, right
    shape = common(left.shape, right.shape)
    return _expanded(left, shape), _expanded(right, shape)


def of_one_degree(left: AffineForm, right: AffineForm) -> tuple[AffineForm, AffineForm]:
    """Give two forms as many terms as the one with more of them has; those that are added are zero."""
    rows = max(len(left.terms), len(right.terms))
    return _padded(left, rows), _padded(right, rows)


def _padded(form: AffineForm, rows: int) -> AffineForm:
    if len(form.terms) == rows:
        return form
    missing = form.terms.new_zeros(rows - len(form.terms), *form.shape)
    return AffineForm(torch.cat([form.terms, missing]), form.radius, form.known)


def shared(value: Constant, like: Any) -> Tensor:
    """Return a constant that meets the values of `like`, as exact float64.

    Raises
    ------
    NoEnclosure: if it has another value for each point of a batch; no code of points alone makes such, and the boxes
        are not the points that it was made for
    """
    exact = constant(value, like)
    if exact.ndim == like.ndim:
        refuse_rows(exact)
    return exact


def refuse_rows(values: Tensor) -> None:
    """Raise NoEnclosure if a constant has another value for each point of a batch, its first axis."""
    if values.ndim and len(values) > 1 and not torch.equal(values, values[:1].expand_as(values)):
        raise NoEnclosure("a constant with a value for each point of a batch")


def common(shape: Sequence[int], right: Sequence[int]) -> tuple[int, ...]:
    if len(right) > len(shape):
        raise Misaligned(f"shapes {tuple(shape)} and {tuple(right)} together")
    try:
        both = np.broadcast_shapes(shape, right)
    except ValueError as error:
        raise NoEnclosure(f"shapes {tuple(shape)} and {tuple(right)} together") from error
    if len(both) != len(shape) or both[0] != shape[0]:
        raise NoEnclosure(f"shapes {tuple(shape)} and {tuple(right)} together, which would mix the points of a batch")
    return both


def _expanded(form: AffineForm, shape: Sequence[int]) -> AffineForm:
    return moved(form, lambda part, first: part.expand(*part.shape[:first], *shape).contiguous())


@rule("__getitem__")
def getitem(form: AffineForm, index: Any) -> AffineForm:
    """form[:, k], form[..., k], form[:, None], ...: the boxes are left alone."""
    first, *rest = index if isinstance(index, tuple) else (index,)
    used = sum(part is not None for part in rest)
    if any(part is Ellipsis for part in rest) or isinstance(first, AffineForm):
        raise NoEnclosure("an index with ... inside")
    if not ((first is Ellipsis and used < form.ndim) or (isinstance(first, slice) and first == slice(None))):
        raise NoEnclosure("an index of points of a batch")
    return moved(form, lambda part, at: part[(*[slice(None)] * at, first, *rest)])


@rule("select")
def select(form: AffineForm, dim: int, index: int) -> AffineForm:
    """One entry of a feature axis."""
    (axis,) = feature_axes(form, dim)
    return moved(form, lambda part, first: part.select(axis + first, index))


@rule("narrow")
def narrow(form: AffineForm, dim: int, start: int, length: int) -> AffineForm:
    """Some entries of a feature axis."""
    (axis,) = feature_axes(form, dim)
    return moved(form, lambda part, first: part.narrow(axis + first, start, length))


def unbind(form: AffineForm, dim: int) -> tuple[AffineForm, ...]:
    """Return all entries of a feature axis."""
    (axis,) = feature_axes(form, dim)
    return tuple(select(form, axis, index) for index in range(form.shape[axis]))


@rule("unsqueeze")
def unsqueeze(form: AffineForm, dim: int) -> AffineForm:
    """A new feature axis of length 1."""
    axis = dim + form.ndim + 1 if dim < 0 else dim
    if not 1 <= axis <= form.ndim:
        raise NoEnclosure("unsqueeze before the points of a batch")
    return moved(form, lambda part, first: part.unsqueeze(axis + first))


@rule("stack")
def stack(forms: Sequence[AffineForm | Tensor], dim: int = 0) -> AffineForm:
    """Several values as entries of a new feature axis."""
    like = next(form for form in forms if not isinstance(form, Constant))
    return cat([unsqueeze(as_form(form, like), dim) for form in forms], dim)


@rule("cat", "concat", "concatenate")
def cat(forms: Sequence[AffineForm | Tensor], dim: int = 0) -> AffineForm:
    """Several values one after the other on a feature axis."""
    like = next(form for form in forms if isinstance(form, AffineForm))
    (axis,) = feature_axes(like, dim)
    whole = [form if isinstance(form, AffineForm) else exact_form(shared(form, like), like) for form in forms]
    if present() is not None:
        rows = max(len(form.terms) for form in whole)
        whole, like = [_padded(form, rows) for form in whole], _padded(like, rows)
    if {(form.ndim, len(form), len(form.terms)) for form in whole} != {(like.ndim, len(like), len(like.terms))}:
        raise NoEnclosure("cat of values of different boxes")
    ranges = [form.range() for form in whole if form.known is not None]
    known = None
    if len(ranges) == len(whole):
        known = torch.cat([low for low, _ in ranges], axis), torch.cat([high for _, high in ranges], axis)
    parts = (torch.cat([form.terms for form in whole], axis + 1), torch.cat([form.radius for form in whole], axis))
    return AffineForm(*parts, known)


@of_any_arithmetic("exact_form")
def exact_form(values: Tensor, like: AffineForm) -> AffineForm:
    """Return constants (boxes, *features) as a form."""
    terms = values.new_zeros(len(like.terms), *values.shape)
    terms[0] = values
    return AffineForm(terms, torch.zeros_like(values))


def as_form(value: AffineForm | Tensor | float, like: AffineForm) -> AffineForm:
    """Return a form, or a constant as a form of the shape of `like`."""
    if not isinstance(value, Constant):
        return value
    return exact_form(shared(value, like).expand(like.shape), like)


@rule("full_like")
def full_like(form: AffineForm, fill_value: float, *, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    """Constants are plain tensors of the dtype that is asked for, and join forms exactly as what that made of them."""
    return torch.full_like(form.radius, fill_value, dtype=dtype)


_widening = [False]  # changed by `widening` alone


@contextmanager
def widening() -> Iterator[None]:
    """Take conversions to float32 for conversions to float64: of code that runs in float64 as a whole."""
    _widening.append(True)
    try:
        yield
    finally:
        _widening.pop()


@rule("float", "half", "bfloat16")
def narrow_type(form: AffineForm) -> AffineForm:
    """Refuse a rounding to float32, which would be another function, but where everything is in float64."""
    return to(form, torch.float32)


@rule("to")
def to(
    form: AffineForm | Tensor, *like: Any, dtype: torch.dtype | None = None, copy: bool = False, **_: Any
) -> AffineForm | Tensor:
    """Stay where the boxes are, in real arithmetic: a rounding to float32 would be another function."""
    if isinstance(form, Tensor):  # constant.to(form)
        return form.to(like[0].device, torch.float64)
    dtypes = [getattr(part, "dtype", part) for part in (*like, dtype) if isinstance(part, torch.dtype | Tensor)]
    for part in dtypes:
        if part != torch.float64 and not (_widening[-1] and part.is_floating_point):
            raise NoEnclosure(f"to({part})")
    if any(type(part) is int for part in (*like, dtype)):  # of a script, which no evaluation takes for another type
        raise NoEnclosure("to a type by its number")
    if copy:
        return apply("clone", form)
    if _widening[-1] or any(isinstance(part, bool) for part in like):
        form.viewed = True  # torch makes a copy or none, as the type was, or as it is asked by position
    return form


@rule("type")
def of_type(form: AffineForm, dtype: torch.dtype) -> AffineForm | Tensor:
    """The same of a dtype; a name of a type, and a type of tensors, are refused."""
    if not isinstance(dtype, torch.dtype):
        raise NoEnclosure(f"type({dtype})")
    return to(form, dtype)


@rule("contiguous")
def contiguous(form: AffineForm) -> AffineForm:
    """The same numbers, which may be a copy or a view."""
    copied = apply("clone", form)
    form.viewed = copied.viewed = True
    return copied


rule("new_zeros")(lambda form, *size, **options: torch.zeros(*size, **{"dtype": torch.float64, **options}))
rule("new_ones")(lambda form, *size, **options: torch.ones(*size, **{"dtype": torch.float64, **options}))
rule("new_full")(lambda form, size, value, **options: torch.full(size, value, **{"dtype": torch.float64, **options}))
rule("new_tensor")(lambda form, data, **options: torch.tensor(data, **{"dtype": torch.float64, **options}))
# Constants are plain tensors; what changes no value; the shape, or one length of it; the numbers of axes and of values.
rule("ones_like")(lambda form, **options: full_like(form, 1.0, **options))
rule("zeros_like")(lambda form, **options: full_like(form, 0.0, **options))
rule("detach", "cpu", "positive")(lambda form: form)
rule("double")(lambda form: to(form, torch.float64))
rule("clone", "nan_to_num")(lambda form, *_, **__: moved(form, lambda part, _: part))
rule("size")(lambda form, dim=None: form.shape if dim is None else form.shape[dim])
rule("dim")(lambda form: form.ndim)
rule("numel")(lambda form: math.prod(form.shape))
