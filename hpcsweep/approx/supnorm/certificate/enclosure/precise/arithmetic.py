"""What models in double-double do in place of the rules of affine forms.

Rules that only call other rules hold on models too. Functions with kinks, comparisons, and what has no Taylor series
here raise `NoEnclosure`: then errors are bounded in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.affine import NoEnclosure, apply, constant
from hpcsweep.approx.supnorm.certificate.enclosure.arithmetic import doubted
from hpcsweep.approx.supnorm.certificate.enclosure.axes import KINDS
from hpcsweep.approx.supnorm.certificate.enclosure.double_double import arithmetic as numbers
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.number import DoubleDouble, exact
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.products import linear as linear_numbers
from hpcsweep.approx.supnorm.certificate.enclosure.precise.compositions import compose, product
from hpcsweep.approx.supnorm.certificate.enclosure.precise.model import Model, each, padded, rows, sizes, stacked, up
from hpcsweep.approx.supnorm.certificate.enclosure.precise.series import EXPANSIONS
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import gamma
from hpcsweep.approx.supnorm.certificate.enclosure.rules import ARITHMETICS, Rule
from hpcsweep.approx.supnorm.certificate.enclosure.shapes import common, feature_axes, shared
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.monomials import Monomials, present

OWN: dict[str, Rule] = {}  # in place of rules, by the first name of each
ARITHMETICS[Model] = OWN
KINDS.append(Model)


def _own(name: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        OWN[name] = function
        return function

    return register


def _table() -> Monomials:
    table = present()
    assert table is not None, "models are made and used inside of_order alone"
    return table


def _expanded(model: Model, shape: Sequence[int]) -> Model:
    if model.shape == tuple(shape):
        return model
    return Model(each(model.coefficients, lambda part: part.expand(-1, *shape)), model.radius.expand(*shape))


def _together(left: Any, right: Any) -> tuple[Model, Model]:
    """Return two operands, one of which is a model, as models of one shape."""
    like = left if isinstance(left, Model) else right
    models = [part if isinstance(part, Model) else exact_form(_constant(part, like), like) for part in (left, right)]
    if models[0].ndim != models[1].ndim:
        raise NoEnclosure(f"values of shapes {tuple(models[0].shape)} and {tuple(models[1].shape)} together")
    shape = common(like.shape, (models[1] if like is left else models[0]).shape)
    return _expanded(models[0], shape), _expanded(models[1], shape)


def _constant(value: Any, like: Model) -> Tensor:
    """Return a constant that meets a model, with as many axes."""
    values = shared(value, like)
    common(like.shape, values.shape)
    return values.reshape((1,) * (like.ndim - values.ndim) + values.shape)


@_own("exact_form")
def exact_form(values: Tensor, like: Model) -> Model:
    """Return constants (boxes, *features)."""
    return Model(each(exact(values), lambda part: part[None]), torch.zeros_like(values))


@_own("add")
def add(left: Any, right: Any, *, alpha: float = 1) -> Model:
    """The remainders add up."""
    if alpha != 1:
        raise NoEnclosure("add with alpha")
    longer, shorter = sorted(_together(left, right), key=lambda model: -len(model.coefficients))
    count = len(shorter.coefficients)
    total = numbers.add(rows(longer.coefficients, slice(count)), shorter.coefficients)
    coefficients = stacked([total, rows(longer.coefficients, slice(count, None))])
    return Model(coefficients, up(longer.radius + shorter.radius, 2))


@_own("neg")
def negate(model: Model) -> Model:
    """Exact."""
    return Model(numbers.negate(model.coefficients), model.radius)


@_own("sub")
def subtract(left: Any, right: Any, *, alpha: float = 1) -> Model:
    """left + (-right), of a constant as float64: the negative of an integer may be none of its type."""
    return add(left, negate(right) if isinstance(right, Model) else -constant(right, left), alpha=alpha)


OWN["rsub"] = lambda left, right: subtract(right, left)


@_own("mul")
def multiply(left: Any, right: Any) -> Model:
    """Model times model or constant."""
    if not isinstance(left, Model):
        left, right = right, left
    if isinstance(right, Model):
        return product(_table(), *_together(left, right))
    return _scaled(left, exact(_constant(right, left)))


def _scaled(model: Model, factor: DoubleDouble) -> Model:
    """Return a model times a factor with as many axes."""
    return Model(
        numbers.multiply(model.coefficients, each(factor, lambda part: part[None])),
        up(model.radius * sizes(factor), 4),
    )


@_own("div")
def divide(left: Any, right: Any, *, rounding_mode: None = None) -> Model:
    """left times 1 / right."""
    if rounding_mode is not None:
        raise NoEnclosure("div with rounding_mode")
    if isinstance(right, Model):
        return multiply(left, apply("reciprocal", right))
    return _scaled(left, numbers.reciprocal(exact(_constant(right, left))))


@_own("square")
def square(model: Model) -> Model:
    """f f."""
    return product(_table(), model, model)


@_own("univariate")
def univariate(name: Any, model: Model) -> Model:
    """g(f) for a function g that has a series here."""
    if name == "square":
        return square(model)
    if not isinstance(name, str) or name not in EXPANSIONS:
        raise NoEnclosure(f"{name if isinstance(name, str) else 'such a power'} in double-double")
    return compose(_table(), name, model)


@_own("softplus")
def softplus(model: Model, beta: float = 1.0, threshold: float = 20.0) -> Model:
    """log(1 + exp(beta x)) / beta; torch returns x where beta x > threshold, which is less by exp(-threshold)."""
    if beta <= 0.0:
        raise NoEnclosure("softplus with beta <= 0")
    scaled = multiply(model, beta)
    result = univariate("softplus", scaled)
    above = up(scaled.norm().add_(scaled.radius), len(scaled.coefficients) + 4) >= threshold
    result.radius += above * (1.01 * math.exp(-threshold))
    return divide(result, beta)


OWN["logsigmoid"] = lambda model: negate(univariate("softplus", negate(model)))


@_own("linear")
def linear(model: Model, weight: Tensor, bias: Tensor | None = None) -> Model:
    """torch.nn.functional.linear with constant weights of any dtype, upcast exactly."""
    coefficients = linear_numbers(model.coefficients, weight)
    if bias is not None:
        first = numbers.add(rows(coefficients, slice(1)), constant(bias, model))
        coefficients = stacked([first, rows(coefficients, slice(1, None))])
    radius = model.radius @ constant(weight, model).abs().T
    return Model(coefficients, up(radius, model.shape[-1] + 2))


@_own("sum")
def total(model: Model, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Model:
    """Sum over feature axes."""
    axes = feature_axes(model, dim)
    coefficients = numbers.total(model.coefficients, [axis + 1 for axis in axes], keepdim)
    count = math.prod(model.shape[axis] for axis in axes)
    return Model(coefficients, up(model.radius.sum(axes, keepdim=keepdim), count))


@_own("cat")
def cat(parts: Sequence[Any], dim: int = 0) -> Model:
    """Several one after the other along a feature axis."""
    like = next(part for part in parts if isinstance(part, Model))
    (axis,) = feature_axes(like, dim)
    models = [part if isinstance(part, Model) else exact_form(shared(part, like), like) for part in parts]
    if {(model.ndim, len(model)) for model in models} != {(like.ndim, len(like))}:
        raise NoEnclosure("cat of values of different boxes")
    count = max(len(model.coefficients) for model in models)
    columns = [padded(model.coefficients, count) for model in models]
    coefficients = DoubleDouble(
        *(torch.cat([getattr(part, name) for part in columns], axis + 1) for name in ("leading", "trailing", "radius"))
    )
    return Model(coefficients, torch.cat([model.radius for model in models], axis))


@_own("moved")
def _moved(model: Model, move: Callable[[Tensor, int], Tensor]) -> Model:
    return Model(each(model.coefficients, lambda part: move(part, 1)), move(model.radius, 0))


@_own("doubted")
def _doubted(model: Model, roundings: int) -> Model:
    radius = up(model.radius * (1 + gamma(roundings)), 2)
    return Model(doubted(model.coefficients, roundings), radius)


def _refused(name: str) -> Rule:
    def refuse(*_: Any, **__: Any) -> Model:
        raise NoEnclosure(f"{name} in double-double")

    return refuse


OWN["loosened"] = lambda model, by: Model(model.coefficients, up(model.radius + by, 2))
OWN["within"] = lambda model, *_: model
OWN.update({name: _refused(name) for name in ("root", "ge", "gt", "eq", "where", "atan2")})
