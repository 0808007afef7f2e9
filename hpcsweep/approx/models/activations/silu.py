"""The sigmoid linear unit, or swish."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor, nn

from hpcsweep.approx.models.activations.activation import Activation, Derivatives, SelfGatedFunction
from hpcsweep.approx.models.activations.registry import register


def _curvature(x: Tensor) -> Tensor:
    """(1 - t^2) (1 - x t / 2) / 2 with t = tanh(x / 2), from sigmoid = (1 + t) / 2."""
    t = torch.tanh(0.5 * x)
    return (1.0 - t * t).mul_(1.0 - 0.5 * x * t).mul_(0.5)


@final
@register("silu")
class Silu(Activation):
    """z h(z) with the logistic function h(z) = (1 + tanh(z / 2)) / 2; derivative h(z) + z h(z) (1 - h(z)).

    Not torch's silu: its vector body and its scalar tail differ by one ulp, so that bits would depend on position.
    """

    module: ClassVar = nn.SiLU
    facts: ClassVar = SelfGatedFunction(
        value=lambda x: torch.tanh(x * 0.5).add_(1.0).mul_(0.5).mul_(x),
        curvature=_curvature,
        deepest=1.278464542761074,
        depth=0.2784645427610739,
        turning=3.4358409935106896,
        trough=-0.0369143731998932,
    )

    def apply(self, inputs: Tensor) -> Tensor:
        return inputs * (1 + torch.tanh(inputs / 2)) / 2

    def derivatives(self, inputs: Tensor) -> Derivatives:
        logistic = (1 + torch.tanh(inputs / 2)) / 2
        slope = logistic * (1 - logistic)
        return inputs * logistic, logistic + inputs * slope, slope * (2 + inputs * (1 - 2 * logistic))

    def value(self, inputs: Tensor, outputs: Tensor) -> None:
        _logistic(inputs, outputs)
        outputs.mul_(inputs)

    def prepare(self, inputs: Tensor, outputs: Tensor) -> None:
        # `outputs` is z h: the derivative is h + (z h) (1 - h) = z h + h - (z h) h.
        _logistic(inputs, inputs)
        torch.addcmul(outputs, outputs, inputs, value=-1, out=outputs)
        outputs.add_(inputs)


def _logistic(inputs: Tensor, outputs: Tensor) -> None:
    torch.mul(inputs, 0.5, out=outputs)
    outputs.tanh_().mul_(0.5).add_(0.5)
