"""Least-squares fits by tensor Legendre polynomials."""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.models.classical.crosses import cross
from hpcsweep.approx.models.classical.direct import Direct, Unsolvable
from hpcsweep.approx.models.classical.pieces import are_numbers
from hpcsweep.approx.models.model import Domain
from hpcsweep.config import ModelConfig

_AT_ONCE = 1 << 18  # numbers of the matrix of polynomials that are made at once: 2 MiB, a core's cache
_ENCLOSED = 1024  # polynomials of which enclosures are not too large: a gigabyte
_WHOLE = 24  # degree up to which points of one dimension are not parted

Level = tuple[Tensor, Tensor]  # rows of the level before, and of the table of factors, (indices,) each


@final
class Legendre(Direct):
    """sum_nu c_nu psi_nu(x), psi_nu = prod_i sqrt(2 nu_i + 1) P_nu_i(u_i), over a hyperbolic cross; u in [-1, 1]^d.

    The psi are orthonormal under the uniform probability measure on the domain. The coefficients minimise the squared
    error on the samples; where these leave them open (more coefficients than samples, for instance) they are those of
    least norm, which is the least L2 norm over the domain. What Adcock and Dexter compare networks with ("The gap
    between theory and practice in function approximation with deep neural networks", SIAM J. Math. Data Sci. 2021).

    Attributes
    ----------
    indices : (parameters, dimension) int64, the nu that the coefficients follow: those with fewer positive degrees
        first, lexicographic among themselves
    """

    def __init__(self, config: ModelConfig, dimension: int, domain: Domain) -> None:
        """`config`: its `order` is that of the cross."""
        self.config, self.dimension = config, dimension
        indices = cross(config["order"], dimension)
        self.indices = indices[np.argsort((indices > 0).sum(axis=1), kind="stable")]
        self.parameters = len(self.indices)
        low, high = torch.tensor(domain, dtype=torch.float64).T
        self._middle, self._half = (low + high) / 2, (high - low) / 2
        self._degree = int(self.indices.max())
        self._levels = _levels(self.indices)
        self._scales = torch.from_numpy(np.sqrt(2.0 * self.indices + 1.0).prod(axis=1))  # (parameters,)

    def solve(self, places: np.ndarray, values: np.ndarray) -> Tensor:
        """Return the coefficients (parameters,) by singular values (LAPACK's gelsd), which is backward stable."""
        matrix = (self._products(torch.from_numpy(places)) * self._scales[:, None]).T  # (samples, parameters)
        try:
            solution = torch.linalg.lstsq(matrix, torch.from_numpy(values).unsqueeze(1), driver="gelsd")
        except RuntimeError as error:  # torch.linalg.LinAlgError is one
            raise Unsolvable(f"The least squares could not be solved: {error}") from error
        return solution.solution[:, 0].contiguous()

    def remark(self, samples: int) -> str:
        """Say it where samples leave coefficients open."""
        if self.parameters <= samples:
            return ""
        return f"{self.parameters} coefficients for {samples} samples: of all interpolants that of least L2 norm."

    def apply(self, parameters: Tensor, points: Tensor) -> Tensor:
        """Return the values (points,) at points (points, dimension), a block at a time."""
        scaled = parameters * self._scales.to(parameters)
        if self.dimension == 1 and self._degree <= _WHOLE:
            return torch.stack(self._polynomials(self._unit(points)[:, 0]), dim=1) @ scaled
        if not are_numbers(points) and self.parameters <= _ENCLOSED:  # boxes, of which no part can be taken
            return scaled @ self._products(points)
        block = max(64, _AT_ONCE // self.parameters)
        return torch.cat([scaled @ self._products(part) for part in points.split(block)])

    def _products(self, points: Tensor) -> Tensor:
        """Return all prod_i P_nu_i, (parameters, points), at points (points, dimension).

        Each is one with a positive degree less, times one factor: a multiplication for each, whatever the dimension.
        """
        unit = self._unit(points)
        factors = [one for axis in range(self.dimension) for one in self._polynomials(unit[:, axis])[1:]]
        table = torch.stack(factors)  # (axes * degrees, points)
        levels = [torch.ones_like(table[:1])]
        for rows, factor in self._levels:
            levels.append(levels[-1][rows.to(points.device)] * table[factor.to(points.device)])
        return torch.cat(levels)

    def _unit(self, points: Tensor) -> Tensor:
        """Return the coordinates in [-1, 1]^d of points (points, dimension)."""
        return (points - self._middle.to(points)) / self._half.to(points)

    def _polynomials(self, unit: Tensor) -> list[Tensor]:
        """Return P_0 ... P_n, (points,) each, at unit coordinates (points,), by the recurrence of three terms."""
        polynomials = [torch.ones_like(unit), unit]
        for n in range(1, self._degree):
            polynomials.append(((2 * n + 1) / (n + 1)) * (unit * polynomials[n]) - (n / (n + 1)) * polynomials[n - 1])
        return polynomials


def _levels(indices: np.ndarray) -> list[Level]:
    """Say how each index of 1, 2, ... positive degrees is made from one that lacks its last one."""
    positive, degree, levels = (indices > 0).sum(axis=1), int(indices.max()), []
    before = {tuple(index): row for row, index in enumerate(indices[positive == 0].tolist())}
    for count in range(1, int(positive.max()) + 1):
        these = indices[positive == count]
        last = indices.shape[1] - 1 - (these[:, ::-1] > 0).argmax(axis=1)  # the last axis with a positive degree
        parents, own = these.copy(), np.arange(len(these))
        parents[own, last] = 0
        rows = [before[tuple(parent)] for parent in parents.tolist()]
        levels.append((torch.tensor(rows), torch.from_numpy(last * degree + these[own, last] - 1)))
        before = {tuple(index): row for row, index in enumerate(these.tolist())}
    return levels
