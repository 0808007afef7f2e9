"""What perceptrons and residual networks have in common: configuration, input map, layers in one flat vector."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from hpcsweep.approx.models.checks import resolve
from hpcsweep.approx.models.layers import BOUNDED, blocks_of, count, draw
from hpcsweep.approx.models.model import FIELDS, Domain, Standardising


class Layered(Standardising):
    """A network of layers with one output, linear in its last layer.

    Attributes
    ----------
    activation : name of the activation of all hidden layers
    frequency_block : which block is the first layer with an activation
    """

    fields: ClassVar = FIELDS
    frequency_block: ClassVar[int]

    def __init__(self, given: Mapping[str, Any], dimension: int, domain: Domain) -> None:
        if len(domain) != dimension:
            raise ValueError(f"the domain has {len(domain)} axes, the model {dimension} inputs")
        super().__init__(resolve(given), domain)
        self.dimension = dimension
        self.widths = self.widths_of(self.config.hidden, dimension)
        self.parameters = count(self.widths)
        self.activation: str = self.config.activation

    @staticmethod
    @abstractmethod
    def widths_of(hidden: Sequence[int], dimension: int) -> tuple[int, ...]:
        """Return the widths, from the inputs to the output, of a network with these hidden widths."""

    def init(self, seeds: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Draw initial parameters (cells, parameters) as `layers.draw` says."""
        return draw(self.widths, self.config, seeds, dtype)

    def layers(self, parameters: Tensor) -> list[Tensor]:
        """Return the blocks (outputs, inputs + 1) of one network's flat vector (parameters,) as views."""
        return blocks_of(self.widths, parameters)

    def frequency_layer(self, parameters: Tensor) -> Tensor | None:
        """Return the first layer with an activation, biases included: the kinks stay where they are."""
        return self.layers(parameters)[self.frequency_block] if self.activation in BOUNDED else None
