"""Interpolating splines in one variable."""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.models.classical.direct import Direct, Unsolvable, distinct
from hpcsweep.approx.models.classical.pieces import are_numbers, chosen
from hpcsweep.approx.models.model import Domain
from hpcsweep.config import ModelConfig

DEGREES = (1, 3, 5)


@final
class Spline(Direct):
    """The spline of degree 1, 3 or 5 through all samples, "not a knot" at the ends, as of scipy's make_interp_spline.

    Its flat vector is the nodes in ascending order and, after them, as many coefficients of B-splines, whose knots
    follow from the nodes. Outside the outermost samples its last polynomials go on.
    """

    def __init__(self, config: ModelConfig, dimension: int, domain: Domain) -> None:
        """`config`: with its `degree` and how many `nodes` it has, one for each sample."""
        self.config, self.dimension = config, dimension
        self._degree: int = config["degree"]
        self._nodes: int = config["nodes"]
        self.parameters = 2 * self._nodes

    def solve(self, places: np.ndarray, values: np.ndarray) -> Tensor:
        """Return nodes and coefficients (parameters,)."""
        from scipy.interpolate import make_interp_spline  # here: it takes half a second, and most runs need none

        distinct(places)
        order = places[:, 0].argsort(kind="stable")
        nodes = places[order, 0]
        try:
            spline = make_interp_spline(nodes, values[order], k=self._degree)
        except ValueError as error:  # numpy's LinAlgError is one
            raise Unsolvable(f"There is no such spline: {error}") from error
        return torch.from_numpy(np.concatenate([nodes, spline.c]))

    def apply(self, parameters: Tensor, points: Tensor) -> Tensor:
        """Return the values (points,) at points (points, 1), by de Boor's algorithm."""
        nodes, coefficients = parameters.split(self._nodes)
        knots, degree, places = self.knots(nodes), self._degree, points[:, 0]
        if are_numbers(points):
            # The last knot before each point, as far as there is a whole polynomial to its right.
            at = torch.searchsorted(knots, places.detach().contiguous(), right=True).sub(1)
            return self._values(knots, coefficients, at.clamp(degree, self._nodes - 1), places)
        places = places[:, None]

        def pieces(numbers: Tensor) -> Tensor:
            return self._values(knots, coefficients, numbers + degree, places)

        return chosen(pieces, places, knots[degree + 1 : self._nodes])

    def _values(self, knots: Tensor, coefficients: Tensor, at: Tensor, places: Tensor) -> Tensor:
        """Return the values at places, each of the polynomial to the right of its knot, by number."""
        degree = self._degree
        before = [knots[at + offset] for offset in range(1 - degree, 1)]
        behind = [knots[at + offset] for offset in range(1, degree + 1)]
        values = [coefficients[at + offset] for offset in range(-degree, 1)]
        for level in range(degree):  # each level has one value less
            pairs = zip(values[:-1], values[1:], before[level:], behind, strict=False)
            shares = [(one, other, (places - low) / (high - low)) for one, other, low, high in pairs]
            values = [(1 - share) * one + share * other for one, other, share in shares]
        return values[0]

    def knots(self, nodes: Tensor) -> Tensor:
        """Return the knots (nodes + degree + 1,): the nodes but for the outer ones, the ends many times."""
        outer = (self._degree + 1) // 2
        ends = [nodes[end].expand(self._degree + 1) for end in (0, -1)]
        return torch.cat([ends[0], nodes[outer : self._nodes - outer], ends[1]])
