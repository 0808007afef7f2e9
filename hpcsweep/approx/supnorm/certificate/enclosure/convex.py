"""Convex and concave functions: the chord is one bound of the remainder, the parallel tangent the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.rounding import TINY, gamma

Relaxation = tuple[Tensor, Tensor, Tensor]
Range = tuple[Tensor, Tensor]
_ROUNDINGS = 64  # of a value (at most two elementary functions), of slope * x, of a place near its true one


@final
@dataclass(frozen=True)
class ConvexFunction:
    """A convex or concave function g on an interval.

    Parameters
    ----------
    value: g.
    place: s -> x with g'(x) = s, any x where there is none.
    bottom: where g is smallest inside its domain, or None where g is monotone.
    domain: g is not defined beyond these ends.
    """

    value: Callable[[Tensor], Tensor]
    place: Callable[[Tensor], Tensor]
    bottom: float | None = None
    domain: tuple[float, float] = (-math.inf, math.inf)

    def relax(self, low: Tensor, high: Tensor) -> Relaxation:
        """Return slope, least and most as `univariate.relax` does; not finite where g or the range is not."""
        low, high = low.clamp(*self.domain), high.clamp(*self.domain)
        below, above = self.value(low), self.value(high)
        slope = (above - below).div_((high - low).clamp_(min=TINY))
        touch = torch.minimum(torch.maximum(self.place(slope), low), high)
        at_touch = self.value(touch)
        ends = [torch.addcmul(at, slope, x, value=-1.0) for at, x in ((below, low), (above, high), (at_touch, touch))]
        slack = slope.abs().mul_(torch.maximum(low.abs(), high.abs()))
        slack.add_(torch.maximum(below.abs(), above.abs())).mul_(gamma(_ROUNDINGS)).add_(TINY)
        least = torch.minimum(torch.minimum(ends[0], ends[1]), ends[2])
        most = torch.maximum(torch.maximum(ends[0], ends[1]), ends[2])
        return slope, least.sub_(slack), most.add_(slack)

    def image(self, low: Tensor, high: Tensor) -> Range:
        """Return the range of g."""
        low, high = low.clamp(*self.domain), high.clamp(*self.domain)
        below, above = self.value(low), self.value(high)
        least, most = torch.minimum(below, above), torch.maximum(below, above)
        if self.bottom is not None:
            at_bottom = torch.full_like(low, self.bottom)
            least = self.value(torch.minimum(torch.maximum(at_bottom, low), high))
        return _outward(least, most)


def reciprocal(low: Tensor, high: Tensor) -> Relaxation:
    """Relax 1 / x: convex right of zero, and left of it the mirror image; NaN where the range contains zero."""
    mirrored = high < 0.0
    near, far = torch.where(mirrored, -high, low), torch.where(mirrored, -low, high)
    near = near.masked_fill(_zero(low, high), math.nan)
    slope, least, most = _RECIPROCAL.relax(near, far)
    return slope, torch.where(mirrored, -most, least), torch.where(mirrored, -least, most)


def reciprocal_image(low: Tensor, high: Tensor) -> Range:
    """Return the range of 1 / x, the whole line where zero is a possible divisor."""
    zero = _zero(low, high)
    least, most = _outward(1.0 / high, 1.0 / low)
    return least.masked_fill_(zero, -math.inf), most.masked_fill_(zero, math.inf)


def softplus(inputs: Tensor) -> Tensor:
    """Return log(1 + exp x) without overflow."""
    return inputs.abs().neg_().exp_().log1p_().add_(inputs.clamp(min=0.0))


def _zero(low: Tensor, high: Tensor) -> Tensor:
    return (low <= 0.0) & (high >= 0.0)


def _outward(least: Tensor, most: Tensor) -> Range:
    least = torch.sub(least, least.abs(), alpha=gamma(_ROUNDINGS))
    most = torch.add(most, most.abs(), alpha=gamma(_ROUNDINGS))
    return least.nan_to_num_(-math.inf, math.inf, -math.inf), most.nan_to_num_(math.inf, math.inf, -math.inf)


def _logit(slope: Tensor) -> Tensor:
    slope = slope.clamp(0.0, 1.0)
    return torch.log(slope).sub_(torch.log1p(-slope))


CONVEX = {
    "exp": ConvexFunction(torch.exp, torch.log),
    "log": ConvexFunction(torch.log, torch.reciprocal, domain=(0.0, math.inf)),
    "sqrt": ConvexFunction(torch.sqrt, lambda slope: (4.0 * slope * slope).reciprocal_(), domain=(0.0, math.inf)),
    "square": ConvexFunction(torch.square, lambda slope: 0.5 * slope, bottom=0.0),
    "abs": ConvexFunction(torch.abs, torch.zeros_like, bottom=0.0),
    "cosh": ConvexFunction(torch.cosh, torch.asinh, bottom=0.0),
    "softplus": ConvexFunction(softplus, _logit),
}
_RECIPROCAL = ConvexFunction(torch.reciprocal, lambda slope: (-slope).rsqrt_())
