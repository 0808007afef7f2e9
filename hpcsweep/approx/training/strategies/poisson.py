"""Poisson's equation by manufactured solutions: collocation rows and the values that a network should have there.

Raissi, Perdikaris and Karniadakis, "Physics-informed neural networks" (J. Comput. Phys. 378, 2019): the residual of the
equation at collocation points and of the boundary values are squared and added up. The right-hand side is made from the
exact solution, so that the error of the network can be measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jvp


def minus_laplacian(target: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """Return minus the sum of the second derivatives of a target (points, d) -> (points,), by forward derivatives.

    A value depends on its own point only, so that one direction serves all points at once.
    """
    total = points.new_zeros(len(points))
    for axis in range(points.shape[1]):
        direction = torch.zeros_like(points)
        direction[:, axis] = 1.0
        total = total - _second_derivative(target, points, direction)
    return total


def _second_derivative(target: Callable[[Tensor], Tensor], points: Tensor, direction: Tensor) -> Tensor:
    def slope(places: Tensor) -> Tensor:
        return jvp(target, (places,), (direction,))[1]

    return jvp(slope, (points,), (direction,))[1]


def residual_rows(
    target: Callable[[Tensor], Tensor], inside: Tensor, edge: Tensor, weight: float
) -> tuple[Tensor, Tensor]:
    """Return what `models.operators.SecondOrder` is to learn: rows (n + b, 2 d + 1) and values (n + b,), float64.

    Their mean square is n / (n + b) times mean over `inside` + `weight` * mean over `edge`, of squared residuals.

    Parameters
    ----------
    target : the exact solution, twice differentiable
    inside, edge : (n, d) collocation points and (b, d) points of the boundary
    weight : lambda
    """
    factor = math.sqrt(weight * len(inside) / len(edge))
    rows = torch.cat([_operator(inside, -1.0, 0.0), _operator(edge, 0.0, factor)])
    return rows, torch.cat([minus_laplacian(target, inside), factor * target(edge)])


def _operator(points: Tensor, curved: float, valued: float) -> Tensor:
    """Return points (points, d) with their operator, (points, 2 d + 1)."""
    return torch.cat([points, torch.full_like(points, curved), torch.full_like(points[:, :1], valued)], dim=1)
