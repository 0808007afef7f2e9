"""The places of data as a point set: they exist already, and are finitely many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.points.pointset import Indices, PointSet, listed


@final
@dataclass(frozen=True, eq=False)
class Rows(PointSet):
    """Given points, to the bit. Means over them are means over the data.

    Parameters
    ----------
    places: (count, dimension) float64.
    """

    places: Tensor

    def numbers(self, indices: Indices, device: torch.device) -> Tensor:
        """Return the points as they are, (dimension, points); beyond the end of the set it begins again."""
        return self.places.to(device)[listed(indices, device) % self.count].T

    def _placed(self, indices: Indices, device: torch.device) -> Tensor:
        return self.numbers(indices, device).T
