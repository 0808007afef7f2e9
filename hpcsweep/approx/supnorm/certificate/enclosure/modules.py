"""The rules of torch.nn's activations and normalizations, as they are after training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.affine import AffineForm, NoEnclosure, apply, constant, rule
from hpcsweep.approx.supnorm.certificate.enclosure.arithmetic import (
    add,
    divide,
    doubted,
    loosened,
    mean,
    multiply,
    negate,
    subtract,
    within,
)
from hpcsweep.approx.supnorm.certificate.enclosure.conditions import clamp, where
from hpcsweep.approx.supnorm.certificate.enclosure.elementary import univariate
from hpcsweep.approx.supnorm.certificate.enclosure.shapes import feature_axes, moved, narrow

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


@rule("elu")
def elu(form: AffineForm, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> AffineForm:
    """x for x >= 0, else alpha (exp x - 1): convex for alpha = 1; else that and (alpha - 1) (exp(-relu(-x)) - 1)."""
    if scale != 1.0 or input_scale != 1.0:
        raise NoEnclosure("elu with scales")
    convex = univariate("elu", form)
    if alpha == 1.0:
        return convex
    tail = subtract(apply("exp", negate(univariate("relu", negate(form)))), 1.0)
    return add(convex, doubted(multiply(tail, alpha - 1.0), 2))


@rule("celu")
def celu(form: AffineForm, alpha: float = 1.0) -> AffineForm:
    """alpha elu(x / alpha)."""
    if alpha <= 0.0:
        raise NoEnclosure("celu with alpha <= 0")
    return multiply(univariate("elu", divide(form, alpha)), alpha)


@rule("selu")
def selu(form: AffineForm) -> AffineForm:
    """A multiple of elu; both constants are known to a rounding."""
    bent = elu(form, _SELU_ALPHA)
    return doubted(multiply(loosened(bent, 4e-16), _SELU_SCALE), 2)  # the doubt of alpha, times at most 1


@rule("mish")
def mish(form: AffineForm) -> AffineForm:
    """x tanh(softplus x): between -0.309 and x or 0, whichever is farther."""
    least, most = form.range()
    result = multiply(form, apply("tanh", univariate("softplus", form)))
    return within(result, least.clamp(-0.309, 0.0), most.clamp(min=0.0))


@rule("hardswish")
def hardswish(form: AffineForm) -> AffineForm:
    """x clamp(x + 3, 0, 6) / 6 = (clamp(x, -3, 3) + 3/2)^2 / 6 - 3/8 + relu(x - 3)."""
    bow = apply("square", add(clamp(form, -3.0, 3.0), 1.5))
    return add(subtract(divide(bow, 6.0), 0.375), univariate("relu", subtract(form, 3.0)))


@rule("hardsigmoid")
def hardsigmoid(form: AffineForm) -> AffineForm:
    """clamp(x + 3, 0, 6) / 6."""
    return divide(clamp(add(form, 3.0), 0.0, 6.0), 6.0)


@rule("softshrink")
def softshrink(form: AffineForm, lambd: float = 0.5) -> AffineForm:
    """Nearer to zero by lambd, 0 within that."""
    return subtract(form, clamp(form, -lambd, lambd))


@rule("hardshrink")
def hardshrink(form: AffineForm, lambd: float = 0.5) -> AffineForm:
    """0 within lambd of zero."""
    return where(apply("abs", form) > lambd, form, 0.0)


@rule("tanhshrink")
def tanhshrink(form: AffineForm) -> AffineForm:
    """x - tanh x."""
    return subtract(form, apply("tanh", form))


@rule("_threshold", "threshold")
def threshold(form: AffineForm, threshold: float, value: float) -> AffineForm:
    """x above the threshold, else `value`."""
    return where(form > threshold, form, value)


@rule("prelu")
def prelu(form: AffineForm, weight: Tensor) -> AffineForm:
    """x for x >= 0, else weight x, one weight or one for each channel."""
    factor = constant(weight, form).reshape(-1)
    return subtract(univariate("relu", form), multiply(univariate("relu", negate(form)), _per_channel(factor, form)))


@rule("rrelu")
def rrelu(form: AffineForm, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> AffineForm:
    """leaky_relu with the middle slope, once training is over."""
    if training:
        raise NoEnclosure("rrelu while training")
    return apply("leaky_relu", form, (lower + upper) / 2)


@rule("glu")
def glu(form: AffineForm, dim: int = -1) -> AffineForm:
    """The first half times the sigmoid of the second."""
    (axis,) = feature_axes(form, dim)
    half = form.shape[axis] // 2
    return multiply(narrow(form, axis, 0, half), apply("sigmoid", narrow(form, axis, half, half)))


def _per_channel(values: Tensor, form: AffineForm) -> Tensor:
    """Return numbers (channels,) or (1,) so that they meet the first feature axis."""
    return values.reshape(-1, *[1] * (form.ndim - 2)) if len(values) > 1 else values


@rule("batch_norm")
def batch_norm(
    form: AffineForm,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *native: Any,
) -> AffineForm:
    """A linear function of each channel, once training is over; its factor has a root and three roundings more.

    torch's own operation has one argument more than `torch.nn.functional.batch_norm`, and the weights first.
    """
    if native:
        weight, bias, running_mean, running_var = running_mean, running_var, weight, bias
    if training or running_mean is None or running_var is None:
        raise NoEnclosure("batch norm by the points of a batch")
    factor = (constant(running_var, form) + eps).rsqrt()
    if weight is not None:
        factor = factor * constant(weight, form)
    shifted = subtract(form, _per_channel(constant(running_mean, form), form))
    scaled = doubted(multiply(shifted, _per_channel(factor, form)), 16)
    return scaled if bias is None else add(scaled, _per_channel(constant(bias, form), form))


def _standardised(form: AffineForm, axes: Sequence[int], eps: float, centred: bool = True) -> AffineForm:
    """Return (form - mean) / sqrt(variance + eps) over axes, which is never more than the root of their size."""
    centered = subtract(form, mean(form, axes, True)) if centred else form
    deviation = apply("sqrt", add(mean(apply("square", centered), axes, True), eps))
    most = math.sqrt(math.prod(form.shape[axis] for axis in axes)) * (1 + 1e-15)
    return within(divide(centered, deviation), -most, most)


def _scaled(form: AffineForm, weight: Tensor | None, bias: Tensor | None) -> AffineForm:
    form = form if weight is None else multiply(form, constant(weight, form))
    return form if bias is None else add(form, constant(bias, form))


@rule("layer_norm")
def layer_norm(
    form: AffineForm,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> AffineForm:
    """Over the last axes."""
    axes = list(range(form.ndim - len(normalized_shape), form.ndim))
    return _scaled(_standardised(form, axes, eps), weight, bias)


@rule("rms_norm")
def rms_norm(
    form: AffineForm, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> AffineForm:
    """The same without a mean."""
    axes = list(range(form.ndim - len(normalized_shape), form.ndim))
    return _scaled(_standardised(form, axes, 2.0**-52 if eps is None else eps, centred=False), weight, None)


@rule("group_norm")
def group_norm(
    form: AffineForm, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> AffineForm:
    """Over groups of channels."""
    shape = form.shape[1:]
    grouped = moved(form, lambda part, at: part.reshape(*part.shape[: at + 1], num_groups, -1))
    flat = _standardised(grouped, [2], eps)
    result = moved(flat, lambda part, at: part.reshape(*part.shape[: at + 1], *shape))
    weight, bias = (None if part is None else _per_channel(constant(part, form), form) for part in (weight, bias))
    return _scaled(result, weight, bias)
