"""Functions that jump: floor, sign and their like. At a jump, both one-sided limits are enclosed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.affine import AffineForm, Constant, apply, rule
from hpcsweep.approx.supnorm.certificate.enclosure.arithmetic import divide, multiply, subtract, within

Term = AffineForm | Constant
# name: the function, and the range of its distance from x
_STEPS: dict[str, tuple[Callable[[Tensor], Tensor], float, float]] = {
    "floor": (torch.floor, -1.0, 0.0),
    "ceil": (torch.ceil, 0.0, 1.0),
    "round": (torch.round, -0.5, 0.5),
    "trunc": (torch.trunc, -1.0, 1.0),
}


def _stepwise(function: Callable[[Tensor], Tensor], least: float, most: float, form: AffineForm) -> AffineForm:
    """Enclose a rising step function by its values at the ends, or, over more than one step, by x and the distance."""
    bottom, top = map(function, form.range())
    flat = top - bottom <= 1.0  # not where it is infinite
    slope = torch.where(flat, 0.0, 1.0).to(bottom)
    result = form.affine(slope, torch.where(flat, bottom, least), torch.where(flat, top, most))
    result.known = bottom, top
    return result


for _name, _step in _STEPS.items():
    rule(_name)(partial(_stepwise, *_step))
rule("fix")(lambda form: apply("trunc", form))
rule("frac")(lambda form: subtract(form, apply("trunc", form)))


@rule("sign", "sgn")
def sign(form: AffineForm) -> AffineForm:
    """-1, 0 or 1; for what may be NaN anything."""
    low, high = form.range()
    known = torch.sign(low), torch.sign(high)
    result = form.affine(torch.zeros_like(low), *known)
    result.known = known
    return result


@rule("heaviside")
def heaviside(form: AffineForm, values: Any) -> AffineForm:
    """0 below zero, 1 above, `values` at zero."""
    return apply("where", apply("eq", form, 0.0), values, apply("where", apply("gt", form, 0.0), 1.0, 0.0))


@rule("floor_divide", "__floordiv__")
def floor_divide(left: Term, right: Term) -> AffineForm:
    """The floor of a quotient."""
    return apply("floor", divide(left, right))


@rule("remainder")
def remainder(left: Term, right: Term) -> AffineForm:
    """left - floor(left / right) right, which has the sign of `right`."""
    return _reduced(left, right, "floor")


@rule("fmod")
def fmod(left: Term, right: Term) -> AffineForm:
    """left - trunc(left / right) right, which has the sign of `left`."""
    return _reduced(left, right, "trunc")


def _reduced(left: Term, right: Term, step: str) -> AffineForm:
    turns = apply(step, divide(left, right))
    result = subtract(left, multiply(turns, right))
    if not isinstance(right, Constant):
        return result
    size = torch.as_tensor(right, dtype=torch.float64, device=result.device).abs().expand(result.shape)
    return within(result, -size, size)
