"""Differential operators of perceptrons, by forward propagation of values, slopes and curvatures through the layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import Tensor

from hpcsweep.approx.models.activations import ACTIVATIONS, Activation
from hpcsweep.approx.models.mlp import MLP
from hpcsweep.approx.models.model import Model

TWICE_DIFFERENTIABLE: Mapping[str, Activation] = {  # those that have a second derivative
    name: one for name, one in ACTIVATIONS.items() if one.derivatives(torch.zeros(1)) is not None
}


@final
class SecondOrder(Model):
    """Of a perceptron u: w u + sum_j c_j d^2 u / dx_j^2, at points (x, c, w) that say the operator for themselves.

    So that differential equations and their boundary values are samples of one function of the parameters, which any
    optimizer can fit: -Laplace u at x is (x, -1, ..., -1, 0), the value times a weight is (x, 0, ..., 0, weight). The
    parameters are those of the perceptron. With z = W h + b in a layer, D z = sum_j c_j d^2 z / dx_j^2 and an
    activation a: D a(z) = a'(z) D z + a''(z) sum_j c_j (dz / dx_j)^2 (the forward Laplacian: Li et al., arXiv
    2307.08214, section 3). ReLU networks have no such thing: their second derivatives are zero or do not exist.

    Attributes
    ----------
    network : the perceptron u, in d variables
    dimension : 2 d + 1, the columns of a point
    """

    def __init__(self, network: MLP) -> None:
        self.network, self.config, self.widths = network, network.config, network.widths
        self.dimension, self.parameters = 2 * network.dimension + 1, network.parameters
        self._activation = TWICE_DIFFERENTIABLE[network.activation]

    def init(self, seeds: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return the initial parameters (cells, parameters) of the perceptron."""
        return self.network.init(seeds, dtype)

    def standardised(self, points: Tensor) -> Tensor:
        """Return points (..., 2 d + 1) with the standardised image of x, and c as it is for derivatives by that."""
        places, curved, valued = self._split(points, -1)
        factor = 1.0 if self.network.factor is None else self.network.factor.to(points)
        return torch.cat([self.network.standardised(places), curved * factor**2, valued], dim=-1)

    def apply(self, parameters: Tensor, points: Tensor) -> Tensor:
        """Return the values (points,) of the operator for the perceptron `parameters` at points (points, 2 d + 1)."""
        return self.evaluate(parameters, self.standardised(points))

    def evaluate(self, parameters: Tensor, inputs: Tensor) -> Tensor:
        """Return the values (points,) for standardised inputs (points, 2 d + 1)."""
        places, curved, valued = self._split(inputs.T, 0)  # (d, points), (d, points), (1, points)
        first, *hidden, last = self.network.layers(parameters)
        value = torch.addmm(first[:, -1:], first[:, :-1], places)  # (width, points)
        slopes = first[:, :-1].unsqueeze(2).expand(-1, -1, len(inputs))  # (width, d, points)
        signals = self._bent(value, slopes, torch.zeros_like(value), curved)
        for block in hidden:
            moved = (block[:, :-1] @ signals.flatten(1)).view(len(block), *signals.shape[1:])
            value, slopes, curvature = moved[:, 0] + block[:, -1:], moved[:, 1:-1], moved[:, -1]
            signals = self._bent(value, slopes, curvature, curved)
        # The last layer is linear: one product for the value and the curvature together.
        return (last[:, :-1] @ (valued * signals[:, 0] + signals[:, -1]) + last[:, -1:] * valued)[0]

    def _bent(self, value: Tensor, slopes: Tensor, curvature: Tensor, curved: Tensor) -> Tensor:
        """Return value, slopes and curvature behind an activation, (width, d + 2, points)."""
        derivatives = self._activation.derivatives(value)
        assert derivatives is not None  # as of all in TWICE_DIFFERENTIABLE
        bent, slope, second = derivatives
        further = second * (curved * slopes * slopes).sum(dim=1) + slope * curvature
        return torch.cat([bent.unsqueeze(1), slope.unsqueeze(1) * slopes, further.unsqueeze(1)], dim=1)

    def _split(self, points: Tensor, axis: int) -> tuple[Tensor, ...]:
        return points.split([self.network.dimension, self.network.dimension, 1], dim=axis)
