"""What separates a target from an approximant on boxes, as one Taylor model in double-double."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.affine import AffineForm, NoEnclosure
from hpcsweep.approx.supnorm.certificate.enclosure.difference import UpperBound, network
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.error_free import keeps_denormals
from hpcsweep.approx.supnorm.certificate.enclosure.precise.model import Model, places
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.difference import TaylorDifference
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.monomials import Monomials

_AT_ONCE = 64  # boxes, or more: calls of torch for fewer cost as much
_DOUBTFUL = 0.02  # of the remainder of a model in float64: roundings that it is worth while to avoid


class PreciseDifference(TaylorDifference):
    """The same difference by Taylor models in float64, and in double-double where roundings of float64 count.

    Parameters
    ----------
    plain: by models in float64.
    order: of the models in double-double.
    """

    def __init__(self, plain: TaylorDifference, order: int) -> None:
        super().__init__(plain, order)
        self._plain = plain

    def signed(self, centers: Tensor) -> Tensor:
        """Return target - approximant at unit points (points, dimension), to an ulp or so where that is known."""
        values = self.at(self.places(centers))
        return torch.where(values.radius.isfinite(), values.leading, super().signed(centers))

    def cost(self) -> float:
        """Return what one box takes, in proportion to that of another order."""
        return float(self._table().counts[-1] ** 2)

    def _bounds(self, centers: Tensor, radii: Tensor, level: float) -> tuple[UpperBound, UpperBound]:
        """Bound the difference and its negative; boxes in float64 have no noise, since smaller ones may do better."""
        form, share = self._plain._model(centers, radii, self._plain.order)
        doubtful = ~(self._plain.noise(centers) <= _DOUBTFUL * form.radius)
        sides = self._plain.both_sides(form, share, level)
        for side in sides:
            side.noise.zero_()
        if doubtful.any():
            precise = super()._bounds(centers[doubtful], radii[doubtful], level)
            for side, other in zip(sides, precise, strict=True):
                for number, values in zip(side.parts(), other.parts(), strict=True):
                    number[doubtful] = values
        return sides

    def try_code(self) -> None:
        """Run all code on models of a box, to raise what it raises."""
        centers = torch.zeros(2, len(self._domain), dtype=torch.float64)
        with torch.no_grad():
            self._model(centers, torch.full_like(centers, 0.5), self.order)

    def _boxes_at_once(self) -> int:
        return max(_AT_ONCE, super()._boxes_at_once())

    def _both(self, table: Monomials, centers: Tensor, radii: Tensor) -> tuple[AffineForm, AffineForm]:
        """Return the models of the difference and of the target (boxes,), their coefficients rounded to float64."""
        if not keeps_denormals():
            raise NoEnclosure("numbers below 2^-1022, which are flushed to zero here")
        points = places(centers, radii, self._domain, table.order)
        target = _model(self._target(points), points)
        difference = target
        for layers in self._layers:
            difference = difference - network(layers.dense, points)
        if not self._layers:
            difference = difference - _model(self._approximant(points), points)
        return difference.rounded(), target.rounded()


def _model(values: Any, points: Model) -> Model:
    """Return what a function gave as a model; a tensor, of a function that is constant, is exact."""
    return values if isinstance(values, Model) else points[:, 0] * 0.0 + values
