"""Gradient descent with momentum, as in torch.optim.SGD (Sutskever, Martens, Dahl and Hinton, ICML 2013)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from hpcsweep.approx.kernels import iteration
from hpcsweep.approx.kernels.problem import aligned
from hpcsweep.approx.kernels.updates import first_order
from hpcsweep.approx.training.operations.passes import Passes
from hpcsweep.approx.training.optimizers import cost_units
from hpcsweep.approx.training.optimizers.adam import floor
from hpcsweep.approx.training.optimizers.optimizer import Number, Optimizer
from hpcsweep.approx.training.optimizers.registry import register
from hpcsweep.approx.training.single.methods import Compiled, Start, first_order_numbers
from hpcsweep.config.limits import Share


@dataclass
class Velocity:
    """The decaying sum of the gradients, and a scratch buffer of that size."""

    sum: Tensor
    scratch: Tensor


@final
@register("sgd")
@dataclass(frozen=True)
class SGD(Optimizer):
    """With b = `momentum` b + g the weights move by -rate b, or, `nesterov`, by -rate (g + `momentum` b).

    No damping, no weight decay. The gradient is that of the whole batch, be it of all samples or a minibatch.

    Attributes
    ----------
    momentum : decay of the sum of the gradients
    nesterov : whether the gradient is added to the step once more, as Nesterov's method does
    """

    momentum: Share = 0.9
    nesterov: bool = True

    kernels: ClassVar = (iteration.advance, first_order.propose_momentum, first_order.take)

    def cost(self, widths: cost_units.Widths, samples: int, steps: int) -> cost_units.StepCost:
        """Return a few passes over the parameters, and the velocity."""
        return cost_units.first_order(widths, vectors=1, each=8.0)

    def alone(self, start: Start) -> Compiled:
        """Return a velocity of zero."""
        numbers = first_order_numbers(start, self.momentum, self.nesterov)
        return Compiled(self.kernels[1:], start, numbers, aligned(start.count, start.dtype))

    def init(self, engine: Passes) -> Velocity:
        """Return a velocity of zero."""
        return Velocity(torch.zeros_like(engine.weights), torch.zeros_like(engine.weights))

    def upkeep(self, engine: Passes, state: Velocity, count: int) -> bool:
        """Now and then, clear what has decayed (see `adam.floor`); all ticks can be replayed."""
        if count % first_order.SWEEP == 0:
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
