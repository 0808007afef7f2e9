"""Convex and concave functions: the chord is one bound of the remainder, the parallel tangent the other."""

from __future__ import annotations

import math
from functools import reduce

import torch
from torch import Tensor

from hpcsweep.approx.models.activations import ConvexFunction
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import TINY, gamma, outward
from hpcsweep.approx.supnorm.certificate.enclosure.univariate.relaxation import Range, Relaxation, chord, remainder

_ROUNDINGS = 64  # of a value (at most two elementary functions), of slope * x, of a place near its true one


def relax(function: ConvexFunction, low: Tensor, high: Tensor) -> Relaxation:
    """Return slope, least and most as `registry.relax` does; not finite where g or the range is not."""
    low, high = low.clamp(*function.domain), high.clamp(*function.domain)
    below, above = function.value(low), function.value(high)
    slope = chord(below, above, low, high)
    touch = torch.minimum(torch.maximum(function.inverse_derivative(slope), low), high)
    ends = [remainder(at, slope, x) for at, x in ((below, low), (above, high), (function.value(touch), touch))]
    slack = slope.abs().mul_(torch.maximum(low.abs(), high.abs()))
    slack.add_(torch.maximum(below.abs(), above.abs())).mul_(gamma(_ROUNDINGS)).add_(TINY)
    least, most = (reduce(extreme, ends) for extreme in (torch.minimum, torch.maximum))
    return slope, least.sub_(slack), most.add_(slack)


def image(function: ConvexFunction, low: Tensor, high: Tensor) -> Range:
    """Return the range of g."""
    low, high = low.clamp(*function.domain), high.clamp(*function.domain)
    below, above = function.value(low), function.value(high)
    least, most = torch.minimum(below, above), torch.maximum(below, above)
    if function.minimizer is not None:
        at_bottom = torch.full_like(low, function.minimizer)
        least = function.value(torch.minimum(torch.maximum(at_bottom, low), high))
    return outward(least, most, _ROUNDINGS - 1, 0.0)


def reciprocal(low: Tensor, high: Tensor) -> Relaxation:
    """Relax 1 / x: convex right of zero, and left of it the mirror image; NaN where the range contains zero."""
    mirrored = high < 0.0
    near, far = torch.where(mirrored, -high, low), torch.where(mirrored, -low, high)
    near = near.masked_fill(_zero(low, high), math.nan)
    slope, least, most = relax(_RECIPROCAL, near, far)
    return slope, torch.where(mirrored, -most, least), torch.where(mirrored, -least, most)


def reciprocal_image(low: Tensor, high: Tensor) -> Range:
    """Return the range of 1 / x, the whole line where zero is a possible divisor."""
    zero = _zero(low, high)
    least, most = outward(1.0 / high, 1.0 / low, _ROUNDINGS - 1, 0.0)
    return least.masked_fill_(zero, -math.inf), most.masked_fill_(zero, math.inf)


def softplus(inputs: Tensor) -> Tensor:
    """Return log(1 + exp x) without overflow."""
    return inputs.abs().neg_().exp_().log1p_().add_(inputs.clamp(min=0.0))


def _zero(low: Tensor, high: Tensor) -> Tensor:
    return (low <= 0.0) & (high >= 0.0)


def _logit(slope: Tensor) -> Tensor:
    slope = slope.clamp(0.0, 1.0)
    return torch.log(slope).sub_(torch.log1p(-slope))


def power(exponent: float) -> ConvexFunction:
    """Return x ** exponent for x >= 0: convex or concave, and monotone.

    The place where the slope is s, (s / exponent)^(1 / (exponent - 1)), comes with a relative error of some roundings
    of |log s| over |exponent - 1|; its square is what the remainder errs by. s / exponent itself might underflow.
    """
    return ConvexFunction(
        lambda x: torch.pow(x, exponent),
        lambda slope: slope.abs().log_().sub_(math.log(abs(exponent))).div_(exponent - 1.0).exp_(),
        domain=(0.0, math.inf),
    )


CONVEX = {
    "exp": ConvexFunction(torch.exp, torch.log),
    "log": ConvexFunction(torch.log, torch.reciprocal, domain=(0.0, math.inf)),
    "sqrt": ConvexFunction(torch.sqrt, lambda slope: (4.0 * slope * slope).reciprocal_(), domain=(0.0, math.inf)),
    "square": ConvexFunction(torch.square, lambda slope: 0.5 * slope, minimizer=0.0),
    "abs": ConvexFunction(torch.abs, torch.zeros_like, minimizer=0.0),
    "cosh": ConvexFunction(torch.cosh, torch.asinh, minimizer=0.0),
    "softplus": ConvexFunction(softplus, _logit),
    "elu": ConvexFunction(
        lambda x: torch.where(x > 0.0, x, torch.expm1(x)), lambda slope: slope.clamp(0.0, 1.0).log_()
    ),
}
_RECIPROCAL = ConvexFunction(torch.reciprocal, lambda slope: (-slope).rsqrt_())
