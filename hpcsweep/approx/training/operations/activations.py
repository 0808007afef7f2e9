"""Activations and their derivatives in closed form, written into tensors that already exist.

Each is a pair of halves of the backward pass, so that one buffer serves for pre-activations and for gradients:
`prepare` is called while the pre-activations still exist, `pull` after the gradient has taken their place. Only
operations whose vector body and scalar tail agree to the last bit are used (no sigmoid, silu, gelu, pow of torch): the
bits of a value do not depend on its position in the pack.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

_TANH_BACKWARD = torch.ops.aten.tanh_backward.grad_input
_RELU_BACKWARD = torch.ops.aten.threshold_backward.grad_input


class Activation(ABC):
    """A function of one variable s: `inputs` are the pre-activations z, `outputs` are s(z), of equal shapes."""

    @abstractmethod
    def value(self, inputs: Tensor, outputs: Tensor) -> None:
        """Write s(inputs) into `outputs`; `inputs` are kept."""

    @abstractmethod
    def prepare(self, inputs: Tensor, outputs: Tensor) -> None:
        """Leave in `outputs`, which holds s(inputs), what `pull` will need; `inputs` may be destroyed."""

    @abstractmethod
    def pull(self, gradient: Tensor, outputs: Tensor) -> None:
        """Multiply `gradient` in place by s'(inputs); `outputs` as `prepare` left them."""


class Relu(Activation):
    """max(z, 0), with derivative 0 at the kink, as in torch."""

    def value(self, inputs: Tensor, outputs: Tensor) -> None:
        torch.clamp_min(inputs, 0, out=outputs)

    def prepare(self, inputs: Tensor, outputs: Tensor) -> None:
        """Nothing: the derivative is 1 where the output is positive."""

    def pull(self, gradient: Tensor, outputs: Tensor) -> None:
        _RELU_BACKWARD(gradient, outputs, 0, grad_input=gradient)


class Tanh(Activation):
    """tanh(z), with derivative 1 - tanh(z)^2."""

    def value(self, inputs: Tensor, outputs: Tensor) -> None:
        torch.tanh(inputs, out=outputs)

    def prepare(self, inputs: Tensor, outputs: Tensor) -> None:
        """Nothing: the derivative is a function of the output."""

    def pull(self, gradient: Tensor, outputs: Tensor) -> None:
        _TANH_BACKWARD(gradient, outputs, grad_input=gradient)


class Sin(Activation):
    """sin(z), with derivative cos(z)."""

    def value(self, inputs: Tensor, outputs: Tensor) -> None:
        torch.sin(inputs, out=outputs)

    def prepare(self, inputs: Tensor, outputs: Tensor) -> None:
        torch.cos(inputs, out=outputs)

    def pull(self, gradient: Tensor, outputs: Tensor) -> None:
        gradient.mul_(outputs)


class Gelu(Activation):
    """z F(z) with the normal distribution function F(z) = (1 + erf(z / sqrt 2)) / 2; derivative F(z) + z F'(z).

    Hendrycks and Gimpel (2016), the exact form.
    """

    def value(self, inputs: Tensor, outputs: Tensor) -> None:
        _normal_distribution(inputs, outputs)
        outputs.mul_(inputs)

    def prepare(self, inputs: Tensor, outputs: Tensor) -> None:
        torch.mul(inputs, inputs, out=outputs)
        outputs.mul_(-0.5).exp_().mul_(inputs).mul_(1 / math.sqrt(2 * math.pi))  # z F'(z)
        _normal_distribution(inputs, inputs)
        outputs.add_(inputs)

    def pull(self, gradient: Tensor, outputs: Tensor) -> None:
        gradient.mul_(outputs)


class Silu(Activation):
    """z h(z) with the logistic function h(z) = (1 + tanh(z / 2)) / 2; derivative h(z) + z h(z) (1 - h(z))."""

    def value(self, inputs: Tensor, outputs: Tensor) -> None:
        _logistic(inputs, outputs)
        outputs.mul_(inputs)

    def prepare(self, inputs: Tensor, outputs: Tensor) -> None:
        # `outputs` is z h: the derivative is h + (z h) (1 - h) = z h + h - (z h) h.
        _logistic(inputs, inputs)
        torch.addcmul(outputs, outputs, inputs, value=-1, out=outputs)
        outputs.add_(inputs)

    def pull(self, gradient: Tensor, outputs: Tensor) -> None:
        gradient.mul_(outputs)


def _normal_distribution(inputs: Tensor, outputs: Tensor) -> None:
    torch.mul(inputs, 1 / math.sqrt(2), out=outputs)
    outputs.erf_().mul_(0.5).add_(0.5)


def _logistic(inputs: Tensor, outputs: Tensor) -> None:
    torch.mul(inputs, 0.5, out=outputs)
    outputs.tanh_().mul_(0.5).add_(0.5)


ACTIVATIONS: Mapping[str, Activation] = {
    "relu": Relu(),
    "tanh": Tanh(),
    "sin": Sin(),
    "gelu": Gelu(),
    "silu": Silu(),
}
