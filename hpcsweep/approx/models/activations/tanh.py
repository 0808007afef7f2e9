"""The hyperbolic tangent."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor, nn

from hpcsweep.approx.models.activations.activation import Activation, Derivatives
from hpcsweep.approx.models.activations.registry import register

_BACKWARD = torch.ops.aten.tanh_backward.grad_input


@final
@register("tanh")
class Tanh(Activation):
    """tanh(z), with derivative 1 - tanh(z)^2."""

    is_bounded: ClassVar = True
    module: ClassVar = nn.Tanh
    reference: ClassVar = (9e-10, 1.1e-9)

    def apply(self, inputs: Tensor) -> Tensor:
        return torch.tanh_(inputs)

    def derivatives(self, inputs: Tensor) -> Derivatives:
        value = torch.tanh(inputs)
        slope = 1 - value * value
        return value, slope, -2 * value * slope

    def value(self, inputs: Tensor, outputs: Tensor) -> None:
        torch.tanh(inputs, out=outputs)

    def prepare(self, inputs: Tensor, outputs: Tensor) -> None:
        """Nothing: the derivative is a function of the output."""

    def pull(self, gradient: Tensor, outputs: Tensor) -> None:
        _BACKWARD(gradient, outputs, grad_input=gradient)
