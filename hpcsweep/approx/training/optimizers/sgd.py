"""Gradient descent with momentum, as in torch.optim.SGD (Sutskever, Martens, Dahl and Hinton, ICML 2013)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from hpcsweep.approx.training.operations.passes import Passes
from hpcsweep.approx.training.optimizers.adam import floor
from hpcsweep.approx.training.optimizers.optimizer import Number, Optimizer

_SWEEP = 64  # steps between sweeps of the velocity


@dataclass
class Velocity:
    """The decaying sum of the gradients, and a scratch buffer of that size."""

    sum: Tensor
    scratch: Tensor


@final
@dataclass(frozen=True)
class SGD(Optimizer):
    """With b = `momentum` b + g the weights move by -rate b, or, `nesterov`, by -rate (g + `momentum` b).

    No damping, no weight decay. The gradient is that of the whole batch, be it of all samples or a minibatch.
    """

    momentum: float = 0.9
    nesterov: bool = True

    def init(self, engine: Passes) -> Velocity:
        """Return a velocity of zero."""
        return Velocity(torch.zeros_like(engine.weights), torch.zeros_like(engine.weights))

    def upkeep(self, engine: Passes, state: Velocity, count: int) -> bool:
        """Now and then, clear what has decayed; all ticks can be replayed."""
        if count % _SWEEP == 0:  # a sum that nothing feeds decays into subnormal numbers, on which processors are slow
            state.sum.masked_fill_(state.sum.abs() < floor(state.sum), 0)
        return True

    def tick(self, engine: Passes, state: Velocity, numbers: Sequence[Number], rates: Tensor, loss: Tensor) -> None:
        """Move the weights along the velocity."""
        engine.descend(loss)
        state.sum.mul_(self.momentum).add_(engine.gradient)
        direction = state.sum
        if self.nesterov:
            direction = torch.add(engine.gradient, state.sum, alpha=self.momentum, out=state.scratch)
        engine.weights.addcmul_(direction, rates, value=-1)
