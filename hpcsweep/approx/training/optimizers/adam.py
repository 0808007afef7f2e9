"""Adam (Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015), as in torch.optim.Adam."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from hpcsweep.approx.training.engine import Engine
from hpcsweep.approx.training.optimizers.optimizer import Optimizer

_SWEEP = 64  # steps between sweeps of the moments


@dataclass
class Moments:
    """Adam's state: exponential means of the gradient and of its square, and a scratch buffer; laid out like it."""

    first: Tensor
    second: Tensor
    scratch: Tensor


@final
@dataclass(frozen=True)
class Adam(Optimizer):
    """Algorithm 1 of the paper: both moments with bias correction, `epsilon` outside the square root."""

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def init(self, engine: Engine) -> Moments:
        """Return moments of zero (the second of `_floor`, see there)."""
        first, scratch = torch.zeros_like(engine.weights), torch.zeros_like(engine.weights)
        return Moments(first, torch.full_like(first, _floor(first)), scratch)

    def step(self, engine: Engine, state: Moments, count: int, rates: Tensor, loss: Tensor) -> None:
        """Move the weights by -rate m / (sqrt(v) + epsilon), m and v the moments corrected for their bias."""
        engine.descend(loss)
        self.move(engine.weights, engine.gradient, state, count, rates)

    def move(self, weights: Tensor, gradient: Tensor, state: Moments, count: int, rates: Tensor) -> None:
        """Update the moments and the weights, in place, by a gradient; all are laid out alike."""
        if count % _SWEEP == 0:
            state.first.masked_fill_(state.first.abs() < _floor(weights), 0)
            state.second.clamp_min_(_floor(weights))
        state.first.lerp_(gradient, 1 - self.beta1)
        state.second.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
        correction = math.sqrt(1 - self.beta2 ** (count + 1))
        # (m / a) / (sqrt(v) / b + epsilon) = (b / a) m / (sqrt(v) + b epsilon): one operation less on the buffer.
        torch.sqrt(state.second, out=state.scratch).add_(self.epsilon * correction)
        torch.div(state.first, state.scratch, out=state.scratch)
        weights.addcmul_(state.scratch, rates, value=-correction / (1 - self.beta1 ** (count + 1)))

    def forget(self, engine: Engine, state: Moments, slot: int) -> None:
        """Set the moments of one slot as in `init`; with a zero gradient they stay there."""
        for first, second in zip(*map(engine.layout.blocks, (state.first, state.second)), strict=True):
            first[slot].zero_()
            second[slot].fill_(_floor(second))


def _floor(like: Tensor) -> float:
    """Return the least second moment, and the least first moment but zero: 1e-277, in float32 6e-35.

    Far below anything that moves a weight. Without it the moments of a dead rectifier decay for ever, and processors
    are many times slower on subnormal numbers, as is MKL on the square root of zero.
    """
    return torch.finfo(like.dtype).tiny ** 0.9
