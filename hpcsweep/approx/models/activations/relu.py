"""The rectifier."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor, nn

from hpcsweep.approx.models.activations.activation import Activation
from hpcsweep.approx.models.activations.registry import register

_BACKWARD = torch.ops.aten.threshold_backward.grad_input


@final
@register("relu")
class Relu(Activation):
    """max(z, 0), with derivative 0 at the kink, as in torch."""

    module: ClassVar = nn.ReLU
    reference: ClassVar = (2e-10, 3e-10)

    def apply(self, inputs: Tensor) -> Tensor:
        return torch.relu_(inputs)

    def value(self, inputs: Tensor, outputs: Tensor) -> None:
        torch.clamp_min(inputs, 0, out=outputs)

    def prepare(self, inputs: Tensor, outputs: Tensor) -> None:
        """Nothing: the derivative is 1 where the output is positive."""

    def pull(self, gradient: Tensor, outputs: Tensor) -> None:
        _BACKWARD(gradient, outputs, 0, grad_input=gradient)
