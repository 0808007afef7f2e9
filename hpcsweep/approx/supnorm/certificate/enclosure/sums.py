"""Along axes: cumulative sums, variances, norms, softmax, largest and smallest entries."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.affine import AffineForm, NoEnclosure, apply, rule
from hpcsweep.approx.supnorm.certificate.enclosure.arithmetic import (
    add,
    divide,
    doubted,
    mean,
    multiply,
    negate,
    subtract,
    total,
    within,
)
from hpcsweep.approx.supnorm.certificate.enclosure.conditions import maximum
from hpcsweep.approx.supnorm.certificate.enclosure.elementary import univariate
from hpcsweep.approx.supnorm.certificate.enclosure.rules import of_any_arithmetic, refusal
from hpcsweep.approx.supnorm.certificate.enclosure.shapes import (
    as_form,
    cat,
    feature_axes,
    moved,
    narrow,
    select,
    unbind,
    unsqueeze,
)

Axes = int | Sequence[int] | None


@final
class Positions:
    """Where an entry is largest: nothing is known of that."""

    def __getattr__(self, name: str) -> Any:
        raise NoEnclosure("the positions of largest or smallest values")

    @classmethod
    def __torch_function__(cls, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Refuse every function of them."""
        raise NoEnclosure("the positions of largest or smallest values")


# What Python would otherwise answer by itself, as that no position is 0.
for _name in (
    *("eq", "ne", "lt", "le", "gt", "ge", "bool", "index", "int", "float", "len", "iter", "getitem", "neg", "array"),
    *("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "floordiv", "mod", "and", "or", "invert"),
):
    setattr(Positions, f"__{_name}__", refusal("the positions of largest or smallest values"))


class Extreme(NamedTuple):
    """What torch gives of a largest entry along an axis."""

    values: AffineForm
    indices: Positions


def _extreme(name: str, values: Any, other: Any, keepdim: bool, dim: int | None) -> Any:
    if other is not None and not isinstance(other, int):
        return apply(f"{name}imum", values, other)
    axis = other if dim is None else dim
    if axis is None:
        raise NoEnclosure(f"{name} across the points of a batch")
    return Extreme(apply(f"a{name}", values, axis, keepdim), Positions())


@rule("max")
def largest(values: Any, other: Any = None, keepdim: bool = False, *, dim: int | None = None) -> Any:
    """torch.max of two values, or along an axis."""
    return _extreme("max", values, other, keepdim, dim)


@rule("min")
def smallest(values: Any, other: Any = None, keepdim: bool = False, *, dim: int | None = None) -> Any:
    """torch.min likewise."""
    return _extreme("min", values, other, keepdim, dim)


@rule("cumsum")
def cumsum(form: AffineForm, dim: int) -> AffineForm:
    """Multiply by a triangle of ones."""
    (axis,) = feature_axes(form, dim)
    ones = torch.ones(form.shape[axis], form.shape[axis], dtype=torch.float64, device=form.device).tril()
    last = moved(form, lambda part, at: part.movedim(axis + at, -1))
    return moved(last.linear(ones, None), lambda part, at: part.movedim(-1, axis + at))


@rule("cumprod")
def cumprod(form: AffineForm, dim: int) -> AffineForm:
    """One factor after the other."""
    (axis,) = feature_axes(form, dim)
    first, *others = unbind(form, axis)
    products = [first]
    for factor in others:
        products.append(multiply(products[-1], factor))
    return apply("stack", products, axis)


@rule("diff")
def diff(form: AffineForm, n: int = 1, dim: int = -1) -> AffineForm:
    """Differences of neighbours."""
    (axis,) = feature_axes(form, dim)
    for _ in range(n):
        count = form.shape[axis] - 1
        form = subtract(narrow(form, axis, 1, count), narrow(form, axis, 0, count))
    return form


@rule("var")
def var(
    form: AffineForm, dim: Axes = None, unbiased: bool = True, keepdim: bool = False, *, correction: int | None = None
) -> AffineForm:
    """Mean of the squared distances from the mean."""
    squares = apply("square", subtract(form, mean(form, dim, keepdim=True)))
    count = math.prod(form.shape[axis] for axis in feature_axes(form, dim))
    return divide(total(squares, dim, keepdim), count - (int(unbiased) if correction is None else correction))


rule("std")(lambda form, *args, **kwargs: apply("sqrt", var(form, *args, **kwargs)))


@rule("linalg_vector_norm")
def vector_norm(form: AffineForm, ord: float = 2, dim: Axes = None, keepdim: bool = False) -> AffineForm:
    """Norms over feature axes, of all their entries together."""
    axes = feature_axes(form, dim)
    if ord == 2:
        return apply("sqrt", total(apply("square", form), axes, keepdim))
    sizes = apply("abs", form)
    if ord == 1:
        return total(sizes, axes, keepdim)
    if math.isinf(ord):
        return apply("amax" if ord > 0 else "amin", sizes, axes, keepdim)
    if ord < 1:
        raise NoEnclosure(f"norm of order {ord}")
    return root(total(apply("pow", sizes, ord), axes, keepdim), ord)


@of_any_arithmetic("root")
def root(form: AffineForm, order: float) -> AffineForm:
    """Return form^(1/order), order > 1: the rounding of the exponent is multiplied by |log form| < 745."""
    return doubted(apply("pow", form, 1.0 / order), 745)


@rule("linalg_norm")
def linalg_norm(
    form: AffineForm, ord: float | str | None = None, dim: Axes = None, keepdim: bool = False
) -> AffineForm:
    """Norm along an axis; of matrices that of Frobenius, where 2 would be the largest singular value."""
    if ord is not None and not isinstance(dim, int):
        raise NoEnclosure(f"matrix norm of order {ord}")
    return vector_norm(form, 2 if ord is None else float(ord), dim, keepdim)


@rule("norm")
def norm(form: AffineForm, p: float | str | None = "fro", dim: Axes = None, keepdim: bool = False) -> AffineForm:
    """torch.norm, of all entries along the axes together."""
    return vector_norm(form, 2 if p in (None, "fro") else float(p), dim, keepdim)


@rule("normalize")
def normalize(form: AffineForm, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> AffineForm:
    """Divide by the norm."""
    return divide(form, maximum(vector_norm(form, p, dim, True), eps))


@rule("cosine_similarity")
def cosine_similarity(left: Any, right: Any, dim: int = 1, eps: float = 1e-8) -> AffineForm:
    """The product of both, each divided by its norm."""
    like = right if isinstance(left, Tensor) else left
    parts = [as_form(part, like) for part in (left, right)]
    units = [divide(part, maximum(vector_norm(part, 2, dim, True), eps)) for part in parts]
    return total(multiply(*units), dim)


@rule("cdist")
def cdist(form: AffineForm, centers: Tensor, p: float = 2.0, compute_mode: str = "") -> AffineForm:
    """Distances from constant points (centers, features)."""
    if isinstance(form, Tensor) or form.ndim != 2 or not isinstance(centers, Tensor) or centers.ndim != 2:
        raise NoEnclosure("cdist with these shapes")
    return vector_norm(subtract(unsqueeze(form, 1), centers[None]), p, -1)


@rule("amax")
def largest_entry(form: AffineForm, dim: Axes = None, keepdim: bool = False) -> AffineForm:
    """Largest entry along axes."""
    return _along_each(form, dim, keepdim, lambda part, axis: halved(part, axis, maximum))


rule("amin")(lambda form, dim=None, keepdim=False: negate(largest_entry(negate(form), dim, keepdim)))


@rule("logaddexp")
def logaddexp(left: Any, right: Any) -> AffineForm:
    """log(exp left + exp right) = right + log(1 + exp(left - right))."""
    return add(right, univariate("softplus", subtract(left, right)))


@rule("logsumexp", "special_logsumexp")
def logsumexp(form: AffineForm, dim: Axes, keepdim: bool = False) -> AffineForm:
    """The same of many, by halves."""
    return _along_each(form, dim, keepdim, lambda part, axis: halved(part, axis, logaddexp))


@rule("log_softmax", "special_log_softmax")
def log_softmax(form: AffineForm, dim: int | None = None, dtype: Any = None, **_: Any) -> AffineForm:
    """x - logsumexp(x)."""
    if dim is None:
        raise NoEnclosure("softmax without dim")
    form = form if dtype is None else apply("to", form, dtype)
    return within(subtract(form, logsumexp(form, dim, True)), -math.inf, 0.0)


@rule("softmax", "special_softmax")
def softmax(form: AffineForm, dim: int | None = None, dtype: Any = None, **_: Any) -> AffineForm:
    """exp of the above."""
    return apply("exp", log_softmax(form, dim, dtype))


rule("softmin")(lambda form, dim=None, **kwargs: softmax(negate(form), dim, **kwargs))


def halved(form: AffineForm, axis: int, join: Callable[[AffineForm, AffineForm], AffineForm]) -> AffineForm:
    """Join the entries of a feature axis by an operation of two, which leaves one."""
    while (count := form.shape[axis]) > 1:
        half = count // 2
        pairs = join(narrow(form, axis, 0, half), narrow(form, axis, half, half))
        form = pairs if count % 2 == 0 else cat([pairs, narrow(form, axis, count - 1, 1)], axis)
    return select(form, axis, 0)


def _along_each(
    form: AffineForm, dim: Axes, keepdim: bool, join: Callable[[AffineForm, int], AffineForm]
) -> AffineForm:
    for axis in sorted(feature_axes(form, dim), reverse=True):
        form = join(form, axis)
        form = unsqueeze(form, axis) if keepdim else form
    return form
