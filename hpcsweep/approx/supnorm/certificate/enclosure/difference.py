"""What separates a target from a network on boxes: both enclosed together, so that what is linear in both cancels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.affine import AffineForm, NoEnclosure, apply, boxes
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.arithmetic import lower_ends
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.error_free import keeps_denormals
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.number import DoubleDouble, exact
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.perceptrons import perceptron
from hpcsweep.approx.supnorm.certificate.enclosure.layers import InputBoxes, Layers, Value
from hpcsweep.approx.supnorm.certificate.enclosure.remembered import Forms, Pair
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import TINY, gamma
from hpcsweep.approx.supnorm.certificate.enclosure.shapes import moved
from hpcsweep.approx.supnorm.dense import Dense

Function = Callable[[Any], Any]  # from points to values, from forms to forms
Domain = Sequence[tuple[float, float]]

_SIGNS = (1.0, -1.0)
ROUNDING = 1e-9  # of the sizes of target and approximant: what an evaluation in float64 may pass a proof by
_EPSILON = 2.0**-52


@dataclass(frozen=True, eq=False)
class UpperBound:
    """Upper bounds of sign * (target - approximant) on boxes, linear in their unit coordinates e in [-1, 1]^d.

    Attributes
    ----------
    center: (boxes,), remainder and roundings included
    slopes: (boxes, dimension)
    noise: (boxes,), the part of `center` that is roundings
    share: (boxes, dimension), what halving along each axis may gain; None: what the slopes say
    closer: (boxes,), bounds on whole boxes where these are closer than those of the slopes; None: nowhere
    """

    center: Tensor
    slopes: Tensor
    noise: Tensor
    share: Tensor | None = None
    closer: Tensor | None = None

    def cut(self, side: slice) -> UpperBound:
        """Return the bounds on some of the boxes."""
        return UpperBound(*(part[side] for part in self.parts()))

    def parts(self) -> list[Tensor]:
        """Return the tensors that there are."""
        return [part for part in (self.center, self.slopes, self.noise, self.share, self.closer) if part is not None]

    def top(self) -> Tensor:
        """Return the upper bound on the whole box, (boxes,); unbounded where it is not a number."""
        top = self.slopes.abs().sum(1).add_(self.center)
        return top.nan_to_num_(torch.inf, torch.inf, -torch.inf)

    def least(self) -> Tensor:
        """Return the least upper bound on the whole box that is known, (boxes,)."""
        return self.top() if self.closer is None else torch.minimum(self.top(), self.closer)


class Difference:
    """target - approximant on boxes of the domain, given in unit coordinates [-1, 1]^dimension.

    Parameters
    ----------
    target, approximant: (points, dimension) float64 -> (points,); the target runs on affine forms too.
    domain: (low, high) for each axis.
    terms: networks whose sum the approximant is; without, its own code runs on affine forms.
    full: bound hidden layers by backward passes too.
    forms: of the target, if it is pure, to be shared with other differences of it on this domain.

    Attributes
    ----------
    order: of Taylor models; 0 of straight lines.
    """

    order = 0

    def __init__(
        self,
        target: Function,
        approximant: Function,
        domain: Domain,
        terms: Sequence[Dense] = (),
        full: bool = False,
        forms: Forms | None = None,
    ) -> None:
        self._target, self._approximant, self._full = target, approximant, full
        self.is_ours, self._forms = forms is not None, forms
        self._domain = tuple((float(low), float(high)) for low, high in domain)
        self._layers = [Layers(dense) for dense in terms]

    def fully(self) -> Difference | None:
        """Return the difference with full relaxation; None where there is no more to relax."""
        deep = any(len(layers.dense.weights) > 2 for layers in self._layers)
        if self._full or not deep:
            return None
        terms = [layers.dense for layers in self._layers]
        return Difference(self._target, self._approximant, self._domain, terms, True, self._forms)

    def cost(self) -> float:
        """Return roughly the multiplications for one box; of code whose layers are not known, for one operation."""
        return sum(layers.flops(len(self._domain), self._full) for layers in self._layers) or 1.0 + len(self._domain)

    def bounds(self, centers: Tensor, radii: Tensor) -> Tensor:
        """Return upper bounds of |target - approximant| on boxes, (boxes,), infinite where there is none.

        Parameters
        ----------
        centers, radii: (boxes, dimension), in unit coordinates.
        """
        everything = slice(0, len(centers))
        above, below = self.upper_bounds(centers, radii, everything, everything)
        return torch.maximum(above.top(), below.top())

    def upper_bounds(
        self, centers: Tensor, radii: Tensor, above: slice, below: slice, level: float = math.inf
    ) -> tuple[UpperBound, UpperBound]:
        """Bound target - approximant on the boxes `above`, and approximant - target on the boxes `below`.

        One slice begins with the first box, the other ends with the last. Bounds below the level need not be closer.

        Raises
        ------
        NoEnclosure: if the target, or an approximant without layers, does what has no rule.
        """
        with torch.no_grad():
            if len(centers) == 1:  # of one box alone, code that reshapes does not tell which axis is that of the boxes
                centers, radii = centers.expand(2, -1), radii.expand(2, -1)
            places, form = self._remembered(centers, radii, None, lambda: self._on_boxes(centers, radii))
            if not self._layers:
                form = form - _form(self._approximant(places), places)
            parts = [_straight(form, sign, side) for sign, side in zip(_SIGNS, (above, below), strict=True)]
            for layers in self._layers:
                self._subtract(layers, layers.input_boxes(places), parts, (above, below))
        return parts[0], parts[1]

    def _remembered(self, centers: Tensor, radii: Tensor, kind: int | None, make: Callable[[], Pair]) -> Pair:
        return make() if self._forms is None else self._forms.get(centers, radii, kind, make)

    def _on_boxes(self, centers: Tensor, radii: Tensor) -> Pair:
        """Return the places of boxes and the target there."""
        places = boxes(centers, radii, self._domain)
        return places, _form(self._target(places), places)

    def _subtract(
        self, layers: Layers, inputs: InputBoxes, parts: list[UpperBound], sides: tuple[slice, slice]
    ) -> None:
        """Add the bounds of -sign * network to the parts."""
        bounded = layers.values if layers.loops is None else layers.compiled_values
        for part, value in zip(parts, bounded(inputs, sides, self._full), strict=True):
            _add(layers, value, part)

    def errors(self, centers: Tensor) -> Tensor:
        """Return |target - approximant| at unit points (points, dimension), as float64 arithmetic has it: (points,)."""
        return self.signed(centers).abs_()

    def signed(self, centers: Tensor) -> Tensor:
        """Return target - approximant likewise."""
        return self.evaluated(self.places(centers))

    def evaluated(self, points: Tensor) -> Tensor:
        """Return target - approximant at points (points, dimension) of the domain likewise."""
        with torch.no_grad():
            return self._target(points.clone()) - self._approximant(points.clone())

    def at(self, points: Tensor) -> DoubleDouble:
        """Return target - approximant at points (points, dimension) of the domain enclosed, in real arithmetic.

        Raises
        ------
        NoEnclosure: if a function does what has no rule.
        """
        if not keeps_denormals():
            raise NoEnclosure("numbers below 2^-1022, which are flushed to zero here")
        if len(points) == 1:  # see `upper_bounds`
            return moved(self.at(points.expand(2, -1)), lambda part, _: part[:1])
        with torch.no_grad():
            error = _at(self._target, points)
            if not self._layers:
                return error - _at(self._approximant, points)
            for layers in self._layers:
                error = error - network(layers.dense, exact(points))
        return error

    def lower_end(self, point: Tensor, seen: float) -> float:
        """Return what |target - approximant| surely reaches at a point (1, dimension), where `seen` was evaluated.

        That itself where it is not finite, or contradicts what is proved there.
        """
        if not math.isfinite(seen) or self.contradicted(point, seen):
            return seen
        return float(lower_ends(self.at(point))[0])

    def contradicted(self, places: Tensor, seen: float = 0.0, claimed: float = math.inf) -> bool:
        """Return whether an evaluation passes what is proved there by more than rounding.

        Parameters
        ----------
        places: (places, dimension) in the domain.
        seen: an |error| that was seen at every one of them, beside what it is now.
        claimed: a bound that was proved everywhere, beside what is proved there.

        Raises
        ------
        NoEnclosure: where nothing can be proved.
        """
        upper = self.bounds(*around(places, self._domain))  # (places,)
        with torch.no_grad():
            target, approximant = self._target(places.clone()), self._approximant(places.clone())
        errors = (target - approximant).abs().clamp(min=seen)
        slack = ROUNDING * torch.maximum(target.abs(), approximant.abs())
        if (errors - upper > slack).any():  # never of NaN
            return True
        return bool((errors - claimed > slack).any()) and self._are_above(places, errors - slack, upper, claimed)

    def _are_above(self, places: Tensor, errors: Tensor, upper: Tensor, claimed: float) -> bool:
        """Return whether errors pass a claim by more than what is added to them by roundings in float64."""
        try:
            least = lower_ends(self.at(places))
        except NoEnclosure:
            return True
        roundings = (upper - least).clamp(min=0.0).nan_to_num(0.0, 0.0, 0.0)
        return bool((errors - claimed > roundings).any())

    def places(self, centers: Tensor) -> Tensor:
        """Return the points of the domain that unit points (points, dimension) stand for."""
        low, high = torch.tensor(self._domain, dtype=torch.float64, device=centers.device).T
        return torch.clamp((low + high) / 2 + centers * ((high - low) / 2), low, high)


def around(places: Tensor, domain: Domain) -> tuple[Tensor, Tensor]:
    """Return boxes in which places (places, dimension) are, rounded or not: centers and radii in unit coordinates."""
    low, high = torch.tensor([tuple(side) for side in domain], dtype=torch.float64).T
    middle, half = low / 2 + high / 2, high / 2 - low / 2
    centers = ((places - middle) / half).clamp(-1.0, 1.0)
    return centers, (8 * _EPSILON * (1 + middle.abs() / half)).expand_as(centers)


def _at(function: Function, points: Tensor) -> DoubleDouble:
    """Return a function at points as double-doubles; where these have no rule, by affine forms without slopes."""
    try:
        values = function(exact(points))
    except NoEnclosure:
        terms = points.new_zeros(1 + points.shape[1], *points.shape)
        terms[0] = points
        places = AffineForm(terms, torch.zeros_like(points))
        form = _form(function(places), places)
        return DoubleDouble(form.center, torch.zeros_like(form.center), form.spread())
    return values if isinstance(values, DoubleDouble) else exact(points.new_zeros(len(points))) + values


def network(term: Dense, points: Any) -> DoubleDouble:
    """Return the values (points,) of a network at points (points, dimension), double-doubles both."""
    signal: Any = term.standardised(points)
    if term.activation == "tanh" and isinstance(signal, DoubleDouble):
        return apply("mul", perceptron(term, signal)[:, 0], term.amplitude)
    for layer, (weight, bias) in enumerate(zip(term.weights, term.biases, strict=True)):
        signal = apply("linear", signal, weight, bias)
        if layer + 1 < len(term.weights):
            signal = apply(term.activation, signal)
    return apply("mul", signal[:, 0], term.amplitude)


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


def _add(layers: Layers, value: Value, upper_bound: UpperBound) -> None:
    """Add what a network adds to an upper bound."""
    # Roundings of adding to the upper bound, and of adding up its slopes, are as many more of what is there.
    noise = value.mass + upper_bound.center.abs()
    noise.add_(upper_bound.slopes.abs().sum(1)).mul_(gamma(layers.roundings)).add_(TINY)
    upper_bound.center.add_(value.value).add_(noise)
    upper_bound.noise.add_(noise)
    upper_bound.slopes.add_(value.slopes)
