"""Sums of networks of one shape: what multi-stage fits make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from hpcsweep.approx.models.model import Model
from hpcsweep.config import ModelConfig


@final
class Sum(Model):
    """Networks of one shape added up: f1(x) + a2 f2(x) + ... + as fs(x), one for each of `stages`.

    The second corrects the first, and so on (`training.strategies.stages`); a stage that was not trained, or
    rejected, has amplitude 0 and parameters 0, so that the sum has the bits of the others. A class of a user must be
    finite with parameters 0.

    Attributes
    ----------
    network : the common shape of the networks
    stages : how many there are, s
    parameters : s * network.parameters + s - 1: the vectors of the networks, then the amplitudes a2 ... as
    """

    def __init__(self, config: ModelConfig, network: Model) -> None:
        """`config`: that of the network and the number of stages."""
        self.config, self.network, self.dimension = config, network, network.dimension
        self.stages: int = config.stages
        self.parameters = self.stages * network.parameters + self.stages - 1

    def init(self, seeds: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return the initial parameters (cells, parameters): the first network as it is alone, no other stage yet."""
        first = self.network.init(seeds, dtype)  # (cells, network.parameters)
        return torch.cat([first, first.new_zeros(len(first), self.parameters - first.shape[1])], dim=1)

    def networks(self, parameters: Tensor) -> Tensor:
        """Return the vectors of the networks (stages, network.parameters) in a flat vector (parameters,), as a view."""
        return parameters[: self.stages * self.network.parameters].view(self.stages, -1)

    def amplitudes(self, parameters: Tensor) -> Tensor:
        """Return the amplitudes (stages - 1,) of all networks but the first, as a view of a flat vector."""
        return parameters[self.stages * self.network.parameters :]

    def apply(self, parameters: Tensor, points: Tensor) -> Tensor:
        """Return the values (points,) of one sum (parameters,) at points (points, dimension), the first stage first."""
        first, *others = self.networks(parameters).unbind()
        total = self.network.apply(first, points)
        for amplitude, network in zip(self.amplitudes(parameters).unbind(), others, strict=True):
            total = total + amplitude * self.network.apply(network, points)
        return total
