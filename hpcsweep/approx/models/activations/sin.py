"""The sine."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor

from hpcsweep.approx.models.activations.activation import Activation, Derivatives
from hpcsweep.approx.models.activations.registry import register


@final
@register("sin")
class Sin(Activation):
    """sin(z), with derivative cos(z)."""

    is_bounded: ClassVar = True
    reference: ClassVar = (1e-9, 1.3e-9)

    def apply(self, inputs: Tensor) -> Tensor:
        return torch.sin_(inputs)

    def derivatives(self, inputs: Tensor) -> Derivatives:
        value = torch.sin(inputs)
        return value, torch.cos(inputs), -value

    def value(self, inputs: Tensor, outputs: Tensor) -> None:
        torch.sin(inputs, out=outputs)

    def prepare(self, inputs: Tensor, outputs: Tensor) -> None:
        torch.cos(inputs, out=outputs)
