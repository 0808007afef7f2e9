"""What separates a target from an approximant on boxes, as one Taylor model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.affine import AffineForm, boxes
from hpcsweep.approx.supnorm.certificate.enclosure.difference import Difference, UpperBound, _form
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import TINY, gamma
from hpcsweep.approx.supnorm.certificate.enclosure.shapes import moved, of_one_degree
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.compositions import compose
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.monomials import Monomials, monomials, of_order
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.series import SERIES
from hpcsweep.approx.supnorm.certificate.enclosure.univariate.registry import relax
from hpcsweep.approx.supnorm.dense import Dense

_BLOCK = 1 << 18  # numbers of one layer of all boxes of a block: some of them stay in an L2 cache

_PASSES, _SERIES = 50.0, 28  # multiplications for each term of a neuron, and terms that a series costs besides
_SMALL = 2.0**-6  # radius of boxes on which roundings may be most of a remainder: they are looked at apart


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
        super().__init__(difference._target, difference._approximant, difference._domain, terms)
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

    def upper_bounds(self, centers: Tensor, radii: Tensor, above: slice, below: slice) -> tuple[UpperBound, UpperBound]:
        """Bound the difference and its negative; see `Difference.upper_bounds`."""
        size = self._boxes_at_once()
        with torch.no_grad():
            blocks = [
                self._bounds(centers[start : start + size], radii[start : start + size])
                for start in range(0, len(centers), size)
            ]
        sides = []
        for number, side in enumerate((above, below)):
            parts = [block[number] for block in blocks]
            names = ("center", "slopes", "noise", "share")
            sides.append(UpperBound(*(torch.cat([getattr(part, name) for part in parts])[side] for name in names)))
        return sides[0], sides[1]

    def _boxes_at_once(self) -> int:
        widest = max((layers.dense.width for layers in self._layers), default=8)
        return max(32, min(4096, _BLOCK // (widest * self._table().counts[-1])))

    def _table(self) -> Monomials:
        return monomials(len(self._domain), self.order)

    def _bounds(self, centers: Tensor, radii: Tensor) -> tuple[UpperBound, UpperBound]:
        form, share = self._model(centers, radii, self.order)
        noise, small = centers.new_zeros(len(centers)), radii.amax(1) < _SMALL
        if small.any():
            noise[small] = self._model(centers[small], torch.zeros_like(radii[small]), 0)[0].radius
        return _upper_bound(self._table(), form, 1.0, noise, share), _upper_bound(
            self._table(), form, -1.0, noise, share
        )

    def _model(self, centers: Tensor, radii: Tensor, order: int) -> tuple[AffineForm, Tensor]:
        """Return the model of the difference (boxes,), and what halving along each axis may gain (boxes, dimension)."""
        if len(centers) == 1:  # see `Difference.upper_bounds`
            form, share = self._model(centers.expand(2, -1), radii.expand(2, -1), order)
            return moved(form, lambda part, at: part.narrow(at, 0, 1)), share[:1]
        with of_order(len(self._domain), order) as table:
            places = boxes(centers, radii, self._domain)
            if order == 0:
                places = AffineForm(places.terms[:1], places.radius)
            form = target = _form(self._target(places), places)
            for layers in self._layers:
                form = form - _network(table, layers.dense, places)
            if not self._layers:
                form = form - _form(self._approximant(places), places)
            return form, _share(table, form, target)


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


def _upper_bound(table: Monomials, form: AffineForm, sign: float, noise: Tensor, share: Tensor) -> UpperBound:
    """Bound sign * form from above by a linear function of the unit coordinates.

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
    doubt = form.mass().mul_(gamma(rows + 3 * dimension + 8)).add_(TINY)
    return UpperBound(center + doubt, slopes, noise + doubt, share)
