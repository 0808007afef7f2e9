"""Gradient descent with momentum, as in torch.optim.SGD (Sutskever, Martens, Dahl and Hinton, ICML 2013)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from hpcsweep.approx.training.optimizers import slotwise
from hpcsweep.approx.training.optimizers.adam import floor
from hpcsweep.approx.training.optimizers.optimizer import Optimizer
from hpcsweep.approx.training.passes import Passes

_SWEEP = 64  # steps between sweeps of the velocity


@dataclass
class Velocity:
    """The decaying sum of the gradients, a scratch buffer of that size, and the births of the slots."""

    sum: Tensor
    scratch: Tensor
    born: Tensor


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
        zero = torch.zeros_like(engine.weights)
        return Velocity(zero, torch.zeros_like(zero), slotwise.newcomers(engine.layout.slots))

    def step(self, engine: Passes, state: Velocity, count: int, rates: Tensor, loss: Tensor) -> None:
        """Move the weights along the velocity."""
        self.upkeep(engine, state, count)
        self.tick(engine, state, [], rates, loss)

    def upkeep(self, engine: Passes, state: Velocity, count: int) -> bool:
        """Do what a tick needs now and then; return True: what remains of it can be replayed."""
        # A sum that nothing feeds decays into subnormal numbers, on which processors are slow.
        slots = slotwise.due(engine.layout, slotwise.ages(state.born, count), _SWEEP)
        for part in slotwise.parts(engine.layout, slots, state.sum) if slots else []:
            part.masked_fill_(part.abs() < floor(part), 0)
        return True

    def numbers(self, state: Velocity, count: int) -> list[list[float]]:
        """Return nothing: no number differs from tick to tick."""
        return []

    def tick(
        self, engine: Passes, state: Velocity, numbers: Sequence[slotwise.Number], rates: Tensor, loss: Tensor
    ) -> None:
        """Do the rest of a step."""
        engine.descend(loss)
        state.sum.mul_(self.momentum).add_(engine.gradient)
        direction = state.sum
        if self.nesterov:
            direction = torch.add(engine.gradient, state.sum, alpha=self.momentum, out=state.scratch)
        engine.weights.addcmul_(direction, rates, value=-1)

    def forget(self, engine: Passes, state: Velocity, slot: int) -> None:
        """Set the velocity of one slot to zero."""
        state.born[slot] = slotwise.NEWCOMER
        for block in engine.layout.blocks(state.sum):
            block[slot].zero_()
