"""Residual networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from hpcsweep.approx.models.checks import resolve
from hpcsweep.approx.models.layers import ACTIVATE, BOUNDED, blocks_of, count, draw
from hpcsweep.approx.models.model import FIELDS, Domain, Model, input_map, mapped


@final
class Residual(Model):
    """h <- h + a(W h + b), once for each hidden width, which are all equal; a linear layer before, another behind.

    He, Zhang, Ren and Sun, "Deep residual learning for image recognition" (arXiv 1512.03385), equation 1, with a
    residual function of one layer. Inside it the activation stands behind the weights; there is none behind the sum,
    as in their "Identity mappings in deep residual networks" (arXiv 1603.05027): what is added up is never bent again.
    With as many activations, a network has one matrix more than an `MLP` of the same hidden widths.

    Attributes
    ----------
    widths : (dimension, width, ..., width, 1): the first block lifts the inputs, the last one reads off the value
    activation : a
    shift, factor : the input map, as of `MLP`
    """

    fields: ClassVar = FIELDS

    def __init__(self, given: Mapping[str, Any], dimension: int, domain: Domain) -> None:
        if len(domain) != dimension:
            raise ValueError(f"the domain has {len(domain)} axes, the model {dimension} inputs")
        self.config = config = resolve(given)
        self.dimension = dimension
        self.widths = residual_widths(config.hidden, dimension)
        self.parameters = count(self.widths)
        self.activation: str = config.activation
        self.shift: Tensor | None
        self.factor: Tensor | None
        self.shift, self.factor = input_map(config.standardise, domain) or (None, None)

    def init(self, seeds: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Draw initial parameters (cells, parameters) as `layers.draw` says."""
        return draw(self.widths, self.config, seeds, dtype)

    def standardised(self, points: Tensor) -> Tensor:
        """Return what the first layer sees of points (..., dimension): the points, or their standardised image."""
        return mapped(points, self.shift, self.factor)

    def layers(self, parameters: Tensor) -> list[Tensor]:
        """Return the blocks (outputs, inputs + 1) of one network's flat vector (parameters,) as views."""
        return blocks_of(self.widths, parameters)

    def apply(self, parameters: Tensor, points: Tensor) -> Tensor:
        """Return the values (points,) of the network `parameters` (parameters,) at `points` (points, dimension)."""
        return self.evaluate(parameters, self.standardised(points))

    def evaluate(self, parameters: Tensor, inputs: Tensor) -> Tensor:
        """Return the values (points,) for standardised inputs (points, dimension)."""
        activate = ACTIVATE[self.activation]
        first, *bends, last = self.layers(parameters)
        signal = torch.addmm(first[:, -1:], first[:, :-1], inputs.T)  # (width, points)
        for block in bends:
            signal = signal + activate(torch.addmm(block[:, -1:], block[:, :-1], signal))
        return torch.addmm(last[:, -1:], last[:, :-1], signal)[0]

    def frequency_layer(self, parameters: Tensor) -> Tensor | None:
        """Return the first layer with an activation: the one before it also goes around that, unbounded."""
        return self.layers(parameters)[1] if self.activation in BOUNDED else None


def residual_widths(hidden: Sequence[int], dimension: int) -> tuple[int, ...]:
    """Return (dimension, width, ..., width, 1) of a residual network: one width more than it has activations."""
    return (dimension, hidden[0], *hidden, 1)
