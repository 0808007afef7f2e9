"""Functions of one variable on many ranges: a slope, and the exact range of what it leaves.

For a range [low, high] and any slope s, the remainder g(x) - s x has its extremes at the ends and where g'(x) = s.
Where those places have a closed form, the remainder is enclosed exactly, whatever rounding made of s: a place that is
off by d shifts an extreme by d^2 only. s is the slope of the chord, with which both ends have one remainder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from hpcsweep.approx.models.activations import ACTIVATIONS, ConvexFunction, SelfGatedFunction
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import TINY
from hpcsweep.approx.supnorm.certificate.enclosure.univariate import convex, gelu_silu, relu_sigmoids, sin_cos
from hpcsweep.approx.supnorm.certificate.enclosure.univariate.relaxation import Range, Relaxation

_EVERYWHERE = (-math.inf, math.inf)
_OUTSIDE = 1e-9  # by so much of its size a range may leave a domain: that is rounding
_NOTHING = 1e-200  # and by so much where its size is zero: `TINY`, added up and scaled


@dataclass(frozen=True)
class Function:
    """A function of one variable: `relax` as below, `image(low, high)`, its own range, and where it is defined.

    Both of its own take of a range that leaves the domain the part inside.
    """

    relax: Callable[[Tensor, Tensor], Relaxation]
    image: Callable[[Tensor, Tensor], Range]
    domain: tuple[float, float] = _EVERYWHERE

    def undefined(self, low: Tensor, high: Tensor) -> Tensor | None:
        """Say where ranges leave the domain by more than roundings; None: nowhere."""
        if self.domain == _EVERYWHERE:
            return None
        size = torch.maximum(low.abs(), high.abs()).nan_to_num_(0.0, 0.0)  # no end may hide behind an infinite one
        slack = size.mul_(_OUTSIDE).add_(_NOTHING)
        outside = (low < self.domain[0] - slack) | (high > self.domain[1] + slack)
        return outside if outside.any() else None


def _described(function: SelfGatedFunction | ConvexFunction) -> Function:
    """Return the rule of a function that is known by its description."""
    if isinstance(function, SelfGatedFunction):
        return Function(partial(gelu_silu.relax, function), partial(gelu_silu.image, function))
    return Function(partial(convex.relax, function), partial(convex.image, function), function.domain)


_ARCSIN = relu_sigmoids.rising(lambda x: torch.arcsin(x.clamp(-1.0, 1.0)), 24)
FUNCTIONS: Mapping[str, Function] = {
    "relu": Function(relu_sigmoids.relu, lambda low, high: (low.clamp(min=0.0), high.clamp(min=0.0))),
    "tanh": Function(relu_sigmoids.tanh, relu_sigmoids.rising(torch.tanh)),
    "sigmoid": Function(relu_sigmoids.sigmoid, relu_sigmoids.rising(relu_sigmoids.logistic)),
    "erf": Function(relu_sigmoids.erf, relu_sigmoids.rising(torch.erf)),
    "arctan": Function(relu_sigmoids.arctan, relu_sigmoids.rising(torch.arctan)),
    "arcsin": Function(relu_sigmoids.arcsin, _ARCSIN, (-1.0, 1.0)),
    "arcsinh": Function(relu_sigmoids.arcsinh, relu_sigmoids.arcsinh_image),
    "softsign": Function(relu_sigmoids.softsign, relu_sigmoids.rising(relu_sigmoids.soft_sign)),
    "sin": Function(sin_cos.sin, partial(sin_cos.image, torch.sin, math.pi / 2)),
    "cos": Function(sin_cos.cos, partial(sin_cos.image, torch.cos, 0.0)),
    "reciprocal": Function(convex.reciprocal, convex.reciprocal_image),
    **{name: _described(function) for name, function in convex.CONVEX.items()},
    **{name: _described(known.facts) for name, known in ACTIVATIONS.items() if known.facts is not None},
}


def power(exponent: float) -> Function:
    """Return x ** exponent for x >= 0, an exponent that is no whole number and not next to 1."""
    return _described(convex.power(exponent))


def relax(name: str | Function, low: Tensor, high: Tensor) -> Relaxation:
    """Return (slope, least, most): g(x) - slope x lies in [least, most] for every real x in [low, high].

    All are tensors of one shape, rounding is included, and low <= high may be infinite. Where g is unbounded, so is the
    answer, with slope 0; it is never NaN. The same where the range leaves g's natural domain (log, sqrt, arcsin), by
    more than 1e-9 of its size: g may be no number there. By less, only the part inside is meant.
    """
    function = FUNCTIONS[name] if isinstance(name, str) else name
    slope, least, most = settled(*function.relax(low, high), lambda: image(function, low, high))
    undefined = function.undefined(low, high)
    if undefined is None:
        return slope, least, most
    least, most = least.masked_fill(undefined, -math.inf), most.masked_fill(undefined, math.inf)
    return slope.masked_fill(undefined, 0.0), least, most


def image(name: str | Function, low: Tensor, high: Tensor) -> Range:
    """Return (least, most) of g on [low, high], rounding included."""
    function = FUNCTIONS[name] if isinstance(name, str) else name
    least, most = function.image(low, high)
    undefined = function.undefined(low, high)
    if undefined is not None:
        least, most = least.masked_fill(undefined, -math.inf), most.masked_fill(undefined, math.inf)
    return least.sub_(TINY), most.add_(TINY)


def settled(slope: Tensor, least: Tensor, most: Tensor, constant: Callable[[], Range]) -> Relaxation:
    """Replace what infinite arguments have spoilt by the constant range of the function."""
    if all(math.isfinite(part.sum()) for part in (slope, least, most)):  # cheap, and nearly always so
        return slope, least, most
    spoilt = (slope + (most - least)).isfinite().logical_not_()
    low, high = constant()
    return slope.masked_fill(spoilt, 0.0), torch.where(spoilt, low, least), torch.where(spoilt, high, most)
