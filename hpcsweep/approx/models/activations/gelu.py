"""The Gaussian error linear unit (Hendrycks and Gimpel, 2016), in its exact form."""

from __future__ import annotations

import math
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from hpcsweep.approx.models.activations.activation import Activation, Derivatives, SelfGatedFunction
from hpcsweep.approx.models.activations.registry import register


def _curvature(x: Tensor) -> Tensor:
    """(2 - x^2) exp(-x^2 / 2) / sqrt(2 pi)."""
    square = torch.square(x)
    return torch.exp(-0.5 * square).mul_(2.0 - square).mul_(1 / math.sqrt(2 * math.pi))


@final
@register("gelu")
class Gelu(Activation):
    """z F(z) with the normal distribution function F(z) = (1 + erf(z / sqrt 2)) / 2; derivative F(z) + z F'(z)."""

    module: ClassVar = nn.GELU
    facts: ClassVar = SelfGatedFunction(
        value=lambda x: torch.erf(x * math.sqrt(0.5)).add_(1.0).mul_(0.5).mul_(x),
        curvature=_curvature,
        deepest=0.7517915246935646,
        depth=0.16997120747990372,
        turning=2.0,
        trough=-0.10798193302637612,
    )

    def is_module(self, part: nn.Module) -> bool:
        """Return whether it is the exact form, not the approximation by tanh."""
        return type(part) is nn.GELU and part.approximate == "none"

    def apply(self, inputs: Tensor) -> Tensor:
        return inputs * (1 + torch.erf(inputs / math.sqrt(2))) / 2

    def derivatives(self, inputs: Tensor) -> Derivatives:
        distribution = (1 + torch.erf(inputs / math.sqrt(2))) / 2
        density = torch.exp(-inputs * inputs / 2) / math.sqrt(2 * math.pi)
        return inputs * distribution, distribution + inputs * density, density * (2 - inputs * inputs)

    def value(self, inputs: Tensor, outputs: Tensor) -> None:
        _distribution(inputs, outputs)
        outputs.mul_(inputs)

    def prepare(self, inputs: Tensor, outputs: Tensor) -> None:
        torch.mul(inputs, inputs, out=outputs)
        outputs.mul_(-0.5).exp_().mul_(inputs).mul_(1 / math.sqrt(2 * math.pi))  # z F'(z)
        _distribution(inputs, inputs)
        outputs.add_(inputs)


def _distribution(inputs: Tensor, outputs: Tensor) -> None:
    torch.mul(inputs, 1 / math.sqrt(2), out=outputs)
    outputs.erf_().mul_(0.5).add_(0.5)
