"""What separates a target from a network on boxes: both enclosed together, so that what is linear in both cancels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.affine import AffineForm, boxes
from hpcsweep.approx.supnorm.certificate.enclosure.layers import Bound, InputBoxes, Layers
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import TINY, gamma
from hpcsweep.approx.supnorm.dense import Dense

Function = Callable[[Any], Any]  # from points to values, from forms to forms
Domain = Sequence[tuple[float, float]]

_BLOCK = 1 << 14  # numbers of one activation of all boxes of a block: a dozen such arrays stay in an L2 cache
_SIGNS = (1.0, -1.0)


@dataclass(frozen=True, eq=False)
class UpperBound:
    """Upper bounds of sign * (target - approximant) on boxes, linear in their unit coordinates e in [-1, 1]^d.

    Attributes
    ----------
    center: (boxes,), remainder and roundings included
    slopes: (boxes, dimension)
    noise: (boxes,), the part of `center` that is roundings
    """

    center: Tensor
    slopes: Tensor
    noise: Tensor

    def top(self) -> Tensor:
        """Return the upper bound on the whole box, (boxes,); unbounded where it is not a number."""
        top = self.slopes.abs().sum(1).add_(self.center)
        return top.nan_to_num_(torch.inf, torch.inf, -torch.inf)


class Difference:
    """target - approximant on boxes of the domain, given in unit coordinates [-1, 1]^dimension.

    Parameters
    ----------
    target, approximant: (points, dimension) float64 -> (points,); the target runs on affine forms too.
    domain: (low, high) for each axis.
    terms: networks whose sum the approximant is; without, its own code runs on affine forms.
    full: bound hidden layers by backward passes too.
    """

    def __init__(
        self, target: Function, approximant: Function, domain: Domain, terms: Sequence[Dense] = (), full: bool = False
    ) -> None:
        self._target, self._approximant, self._full = target, approximant, full
        self._domain = tuple((float(low), float(high)) for low, high in domain)
        self._layers = [Layers(dense) for dense in terms]

    def fully(self) -> Difference | None:
        """Return the difference with full relaxation; None where there is no more to relax."""
        deep = any(len(layers.dense.weights) > 2 for layers in self._layers)
        if self._full or not deep:
            return None
        terms = [layers.dense for layers in self._layers]
        return Difference(self._target, self._approximant, self._domain, terms, full=True)

    def cost(self) -> float:
        """Return roughly the multiplications for one box."""
        return sum(layers.flops(len(self._domain), self._full) for layers in self._layers)

    def bounds(self, centers: Tensor, radii: Tensor) -> Tensor:
        """Return upper bounds of |target - approximant| on boxes, (boxes,), infinite where there is none.

        Parameters
        ----------
        centers, radii: (boxes, dimension), in unit coordinates.
        """
        everything = slice(0, len(centers))
        above, below = self.upper_bounds(centers, radii, everything, everything)
        return torch.maximum(above.top(), below.top())

    def upper_bounds(self, centers: Tensor, radii: Tensor, above: slice, below: slice) -> tuple[UpperBound, UpperBound]:
        """Bound target - approximant on the boxes `above`, and approximant - target on the boxes `below`.

        One slice begins with the first box, the other ends with the last.

        Raises
        ------
        NoEnclosure: if the target, or an approximant without layers, does what has no rule.
        """
        with torch.no_grad():
            if len(centers) == 1:  # of one box alone, code that reshapes does not tell which axis is that of the boxes
                centers, radii = centers.expand(2, -1), radii.expand(2, -1)
            places = boxes(centers, radii, self._domain)
            form = _form(self._target(places), places)
            if not self._layers:
                form = form - _form(self._approximant(places), places)
            parts = [_straight(form, sign, side) for sign, side in zip(_SIGNS, (above, below), strict=True)]
            for layers in self._layers:
                self._subtract(layers, layers.input_boxes(places), parts, (above, below))
        return parts[0], parts[1]

    def _subtract(
        self, layers: Layers, inputs: InputBoxes, parts: list[UpperBound], sides: tuple[slice, slice]
    ) -> None:
        """Add the bounds of -sign * network to the parts, block by block."""
        size = self._block(layers)
        for start in range(0, len(inputs), size):
            stop = min(start + size, len(inputs))
            block_inputs = inputs[start:stop]
            forward_pass = layers.forward(block_inputs, self._full)
            for part, side, sign in zip(parts, sides, _SIGNS, strict=True):
                first, last = max(start, side.start), min(stop, side.stop)
                if first < last:
                    own = slice(first - start, last - start)
                    bound = layers.above(forward_pass.cut(own), -sign)
                    _add(layers, bound, block_inputs[own], part, slice(first - side.start, last - side.start))

    def _block(self, layers: Layers) -> int:
        width = layers.dense.width * (2 * layers.dense.width if self._full else 1)
        return max(16, min(1024, _BLOCK // width))

    def errors(self, centers: Tensor) -> Tensor:
        """Return |target - approximant| at unit points (points, dimension), as float64 arithmetic has it: (points,)."""
        return self.signed(centers).abs_()

    def signed(self, centers: Tensor) -> Tensor:
        """Return target - approximant likewise."""
        places = self.places(centers)
        with torch.no_grad():
            return self._target(places) - self._approximant(places)

    def places(self, centers: Tensor) -> Tensor:
        """Return the points of the domain that unit points (points, dimension) stand for."""
        low, high = torch.tensor(self._domain, dtype=torch.float64, device=centers.device).T
        return torch.clamp((low + high) / 2 + centers * ((high - low) / 2), low, high)


def _form(values: AffineForm | Tensor, places: AffineForm) -> AffineForm:
    """Return what a function gave as a form; a tensor, of a function that is constant, is exact."""
    if isinstance(values, AffineForm):
        return values
    return (places[:, 0] * 0.0) + values


def _straight(form: AffineForm, sign: float, side: slice) -> UpperBound:
    """Return the upper bounds of sign * form on some boxes."""
    center, slopes = form.center[side] * sign, form.slopes[:, side].T * sign  # (boxes,), (boxes, dimension)
    noise = (form.center[side].abs() + slopes.abs().sum(1) + form.radius[side]) * gamma(8 + 2 * slopes.shape[1])
    return UpperBound(center + form.radius[side] + noise, slopes, noise + TINY)


def _add(layers: Layers, bound: Bound, inputs: InputBoxes, upper_bound: UpperBound, own: slice) -> None:
    """Add a bound of one row on some boxes to some of the boxes of a upper_bound."""
    row = bound.row[0]  # (boxes, dimension)
    size = row.abs()
    slopes = row * inputs.reach
    value = (row * inputs.center).sum(1).add_(bound.constant[0]).add_((size * inputs.radius).sum(1))
    noise = (size * inputs.mass()).sum(1).add_(bound.noise[0]).add_(bound.constant[0].abs())
    # Roundings of adding to the upper bound, and of adding up its slopes, are as many more of what is there.
    noise.add_(upper_bound.center[own].abs()).add_(upper_bound.slopes[own].abs().sum(1))
    noise.mul_(gamma(layers.roundings)).add_(TINY)
    upper_bound.center[own] += value.add_(noise)
    upper_bound.noise[own] += noise
    upper_bound.slopes[own] += slopes
