"""What separates a target from an approximant on boxes, as one Taylor model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.kernels.bounds.peaks import peaks, roundings
from hpcsweep.approx.supnorm.certificate.enclosure.affine import AffineForm, boxes
from hpcsweep.approx.supnorm.certificate.enclosure.difference import Difference, UpperBound, _form
from hpcsweep.approx.supnorm.certificate.enclosure.remembered import Pair
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import TINY, gamma
from hpcsweep.approx.supnorm.certificate.enclosure.shapes import moved, of_one_degree
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.compositions import compose
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.monomials import Monomials, monomials, of_order
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.series import SERIES
from hpcsweep.approx.supnorm.certificate.enclosure.univariate.registry import relax
from hpcsweep.approx.supnorm.dense import Dense

_BLOCK = 1 << 18  # numbers of one layer of all boxes of a block: some of them stay in an L2 cache

_PASSES, _SERIES = 50.0, 28  # multiplications for each term of a neuron, and terms that a series costs besides
_SMALL = 2.0**-6  # radius of boxes on which roundings may be most of a remainder


def is_smooth(difference: Difference) -> bool:
    """Return whether all activations of the layers have Taylor series; code without layers may be smooth or not."""
    return all(layers.dense.activation in SERIES for layers in difference._layers)


class TaylorDifference(Difference):
    """The same difference by Taylor models.

    Parameters
    ----------
    difference: by affine forms; see `is_smooth`.
    order: of the models, 1 or more.
    """

    def __init__(self, difference: Difference, order: int) -> None:
        terms = [layers.dense for layers in difference._layers]
        super().__init__(
            difference._target, difference._approximant, difference._domain, terms, forms=difference._forms
        )
        self.order = order

    def cost(self) -> float:
        """Return roughly the multiplications for one box, measured; of code whose layers are not known, as lines do."""
        count, total = self._table().counts[-1], 0.0
        for layers in self._layers:
            for weight in layers.dense.weights[:-1]:
                total += len(weight) * (weight.shape[1] * count + _PASSES * (count + _SERIES))
        return total or float(self.order * count)

    def fully(self) -> None:
        """Models of hidden layers are what they are."""

    def upper_bounds(
        self, centers: Tensor, radii: Tensor, above: slice, below: slice, level: float = math.inf
    ) -> tuple[UpperBound, UpperBound]:
        """Bound the difference and its negative; see `Difference.upper_bounds`."""
        size = self._boxes_at_once()
        with torch.no_grad():
            blocks = [
                self._bounds(centers[start : start + size], radii[start : start + size], level)
                for start in range(0, len(centers), size)
            ]
        sides = [
            UpperBound(*map(torch.cat, zip(*(part.parts() for part in parts), strict=True)))
            for parts in zip(*blocks, strict=True)
        ]
        return sides[0].cut(above), sides[1].cut(below)

    def _boxes_at_once(self) -> int:
        widest = max((layers.dense.width for layers in self._layers), default=8)
        return max(32, min(4096, _BLOCK // (widest * self._table().counts[-1])))

    def _table(self) -> Monomials:
        return monomials(len(self._domain), self.order)

    def _bounds(self, centers: Tensor, radii: Tensor, level: float) -> tuple[UpperBound, UpperBound]:
        form, share = self._model(centers, radii, self.order)
        above, below = self.both_sides(form, share, level)
        small = (radii.amax(1) < _SMALL) & (torch.maximum(above.least(), below.least()) > level)
        if small.any():
            noise = self.noise(centers[small])
            above.noise[small] += noise
            below.noise[small] += noise
        return above, below

    def both_sides(self, form: AffineForm, share: Tensor, level: float) -> tuple[UpperBound, UpperBound]:
        """Return the upper bounds of a model and of its negative."""
        above, below = (_upper_bound(self._table(), form, sign, share, level) for sign in (1.0, -1.0))
        return above, below

    def noise(self, centers: Tensor) -> Tensor:
        """Return the roundings that are counted at unit points (points, dimension), which no smaller box avoids."""
        return self._model(centers, torch.zeros_like(centers), 0)[0].radius

    def _model(self, centers: Tensor, radii: Tensor, order: int) -> tuple[AffineForm, Tensor]:
        """Return the model of the difference (boxes,), and what halving along each axis may gain (boxes, dimension)."""
        if len(centers) == 1:  # see `Difference.upper_bounds`
            form, share = self._model(centers.expand(2, -1), radii.expand(2, -1), order)
            return moved(form, lambda part, at: part.narrow(at, 0, 1)), share[:1]
        with of_order(len(self._domain), order) as table:
            form, target = self._both(table, centers, radii)
            return form, _share(table, form, target)

    def _both(self, table: Monomials, centers: Tensor, radii: Tensor) -> tuple[AffineForm, AffineForm]:
        """Return the models of the difference and of the target, (boxes,) each."""
        places, target = self._remembered(
            centers, radii, table.order, lambda: self._of_order(centers, radii, table.order)
        )
        form = target
        for layers in self._layers:
            form = form - _network(table, layers.dense, places)
        if not self._layers:
            form = form - _form(self._approximant(places), places)
        return form, target

    def try_code(self) -> None:
        """Run all code whose layers are not known on models of a box, to raise what it raises."""
        centers = torch.zeros(2, len(self._domain), dtype=torch.float64)
        radii = torch.full_like(centers, 0.5)
        with torch.no_grad(), of_order(len(self._domain), self.order):
            places, _ = self._remembered(centers, radii, self.order, lambda: self._of_order(centers, radii, self.order))
            if not self._layers:
                self._approximant(places)

    def _of_order(self, centers: Tensor, radii: Tensor, order: int) -> Pair:
        """Return the places of boxes and the target there, as models of the present order."""
        places = boxes(centers, radii, self._domain)
        if order == 0:
            places = AffineForm(places.terms[:1], places.radius)
        return places, _form(self._target(places), places)


def _network(table: Monomials, dense: Dense, places: Any) -> AffineForm:
    """Return the model of a network (boxes,)."""

    def straight(part: AffineForm) -> AffineForm:
        return part.affine(*relax(dense.activation, *part.range()))

    signal: Any = dense.standardised(places)
    for layer, (weight, bias) in enumerate(zip(dense.weights, dense.biases, strict=True)):
        signal = signal.linear(weight, bias)
        if layer + 1 < len(dense.weights):
            signal = compose(table, dense.activation, signal, straight)
    value = signal[:, 0]
    return value if dense.amplitude == 1.0 else value * dense.amplitude


def _share(table: Monomials, form: AffineForm, target: AffineForm) -> Tensor:
    """Return what each axis contributes to all but the linear part: (boxes, dimension).

    A remainder belongs to the axes as the terms of the two highest degrees of the target do, which the approximant has
    too, and which hardly cancel there: of two degrees, since an even function has none of an odd one.
    """
    exponents = torch.from_numpy(table.exponents).double()
    own, other = of_one_degree(form, target)
    degree = table.degree(len(own.terms))
    last = table.degrees[max(degree - 1, 0)]
    highest = other.terms[last:].abs().T @ exponents[last : len(other.terms)]  # (boxes, dimension)
    highest.add_(TINY)
    highest.div_(highest.sum(1, keepdim=True)).mul_((table.order + 1) * own.radius[:, None])
    first = 1 + table.dimension
    return highest.add_(own.terms[first:].abs().T @ exponents[first : len(own.terms)])


def _upper_bound(table: Monomials, form: AffineForm, sign: float, share: Tensor, level: float) -> UpperBound:
    """Bound sign * form from above by a linear function of the unit coordinates; where that is above a level, closer.

    The constant and the linear terms are taken as they are, g t + a t^2 of each axis by the line above it that has the
    same maximum on [-1, 1]: g t + a for a >= 0, else the tangent in its highest point; all other terms by their sizes.
    """
    rows, dimension = len(form.terms), table.dimension
    terms = form.terms if sign == 1.0 else -form.terms
    center = form.radius + terms[0]
    slopes = terms[1 : 1 + dimension].T.clone() if rows > 1 else share.new_zeros(share.shape)
    if rows > 1 + dimension:
        others = terms[1 + dimension :].abs()
        others[[square - 1 - dimension for square in table.squares]] = 0.0
        center += others.sum(0)
        bent = terms[table.squares].T  # (boxes, dimension)
        inside = (bent < 0.0) & (slopes.abs() < -2.0 * bent)  # where the highest point is
        center += torch.where(inside, slopes * (slopes / (-4.0 * bent)), bent.abs()).sum(1)
        tilted = torch.addcmul(slopes, bent.clamp(max=0.0), slopes.sign(), value=2.0)
        slopes = tilted.masked_fill_(inside, 0.0)
    mass = form.mass()
    doubt = (mass * gamma(rows + 3 * dimension + 8)).add_(TINY)
    closer = torch.full_like(doubt, torch.inf)
    bound = UpperBound(center + doubt, slopes, doubt, share, closer)
    high = (bound.top() > level).nonzero()[:, 0]
    if rows > 1 + dimension and len(high):
        closer[high] = _peaks(table, terms[:, high], form.radius[high], mass[high], level)
    return bound


def _peaks(table: Monomials, terms: Tensor, radius: Tensor, mass: Tensor, level: float) -> Tensor:
    """Return bounds (boxes,) on whole boxes, at most the level, of models with these terms; infinite for none."""
    rows, count = table.counts[-1], len(radius)
    full = terms.new_zeros(rows, count)
    full[: len(terms)] = terms
    rest = torch.add(radius, mass, alpha=gamma(roundings(rows, table.dimension, table.order))).add_(TINY)
    out = np.empty(count)
    tables = table.exponents.reshape(-1), np.array(table.squares), table.move_starts, table.moves
    numbers = full.numpy().reshape(-1), rest.numpy(), np.full(count, level), out
    peaks[np.float64](table.order, table.dimension, rows, count, *tables, *numbers)
    return torch.from_numpy(out)
