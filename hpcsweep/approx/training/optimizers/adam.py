"""Adam (Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015), as in torch.optim.Adam.

And AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019), as in torch.optim.AdamW.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from hpcsweep.approx.training.engine import Layout
from hpcsweep.approx.training.optimizers import slotwise
from hpcsweep.approx.training.optimizers.optimizer import Optimizer
from hpcsweep.approx.training.passes import Passes

_SWEEP = 64  # steps between sweeps of the moments


@dataclass
class Moments:
    """Adam's state: exponential means of the gradient and of its square, laid out like it.

    Attributes
    ----------
    first, second : the means, flat buffers
    scratch : a flat buffer; after a step the quotient of the two without its bias correction
    born : (slots,) the step of the pack before the first one of the slot (see `slotwise`)
    """

    first: Tensor
    second: Tensor
    scratch: Tensor
    born: Tensor


@final
@dataclass(frozen=True)
class Adam(Optimizer):
    """Algorithm 1 of the paper: both moments with bias correction, `epsilon` outside the square root."""

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def init(self, engine: Passes) -> Moments:
        """Return moments of zero (the second of `floor`, see there)."""
        return self.moments(engine.layout, engine.weights)

    def moments(self, layout: Layout, weights: Tensor) -> Moments:
        """Return the moments of a flat buffer before its first step."""
        first, scratch = torch.zeros_like(weights), torch.zeros_like(weights)
        return Moments(first, torch.full_like(first, floor(first)), scratch, slotwise.newcomers(layout.slots))

    def step(self, engine: Passes, state: Moments, count: int, rates: Tensor, loss: Tensor) -> None:
        """Move the weights by -rate m / (sqrt(v) + epsilon), m and v the moments corrected for their bias."""
        ages = slotwise.ages(state.born, count)
        self.sweep(engine.layout, state, ages)
        self.tick(engine, state, self.corrections(ages), rates, loss)

    def upkeep(self, engine: Passes, state: Moments, count: int) -> bool:
        """Do what a tick needs now and then; return True: what remains of it can be replayed."""
        self.sweep(engine.layout, state, slotwise.ages(state.born, count))
        return True

    def numbers(self, state: Moments, count: int) -> list[list[float]]:
        """Return what differs from tick to tick."""
        return self.corrections(slotwise.ages(state.born, count))

    def tick(
        self, engine: Passes, state: Moments, numbers: Sequence[slotwise.Number], rates: Tensor, loss: Tensor
    ) -> None:
        """Do the rest of a step."""
        engine.descend(loss)
        self.move(engine.layout, engine.weights, engine.gradient, state, numbers, rates)

    def move(
        self,
        layout: Layout,
        weights: Tensor,
        gradient: Tensor,
        state: Moments,
        numbers: Sequence[slotwise.Number],
        rates: Tensor,
    ) -> None:
        """Update the moments and the weights, in place, by a gradient; all are flat buffers of that layout."""
        epsilon, factor = numbers
        self.divide(layout, gradient, state, epsilon)
        slotwise.add_product(layout, weights, factor, state.scratch, rates)

    def divide(self, layout: Layout, gradient: Tensor, state: Moments, epsilon: slotwise.Number) -> None:
        """Update the moments by a gradient and leave their quotient in the scratch buffer.

        (m / a) / (sqrt(v) / b + epsilon) = (b / a) m / (sqrt(v) + b epsilon): one operation less on the buffer if the
        corrections b / a wait for the rates, see `corrections`.
        """
        state.first.lerp_(gradient, 1 - self.beta1)
        state.second.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
        torch.sqrt(state.second, out=state.scratch)
        slotwise.add(layout, state.scratch, epsilon)
        torch.div(state.first, state.scratch, out=state.scratch)

    def corrections(self, ages: Sequence[int]) -> list[list[float]]:
        """Return b epsilon, and what the quotients of `divide` are multiplied by besides the rates, -b / a, per age."""
        second = [math.sqrt(1 - self.beta2 ** (age + 1)) for age in ages]  # b
        first = [1 - self.beta1 ** (age + 1) for age in ages]  # a
        return [[self.epsilon * b for b in second], [-b / a for b, a in zip(second, first, strict=True)]]

    def sweep(self, layout: Layout, state: Moments, ages: Sequence[int]) -> None:
        """Now and then, set what has decayed to `floor`."""
        if slots := slotwise.due(layout, ages, _SWEEP):
            for first in slotwise.parts(layout, slots, state.first):
                first.masked_fill_(first.abs() < floor(first), 0)
            for second in slotwise.parts(layout, slots, state.second):
                second.clamp_min_(floor(second))

    def forget(self, engine: Passes, state: Moments, slot: int) -> None:
        """Set the moments of one slot as in `init`; with a zero gradient they stay there."""
        self.reset(engine.layout, state, slot)

    def reset(self, layout: Layout, state: Moments, slot: int) -> None:
        """Set the moments of one slot of that layout as `moments` makes them."""
        state.born[slot] = slotwise.NEWCOMER
        for first, second in zip(*map(layout.blocks, (state.first, state.second)), strict=True):
            first[slot].zero_()
            second[slot].fill_(floor(second))


@final
@dataclass(frozen=True)
class AdamW(Optimizer):
    """Adam, with weights and biases shrunk by the factor 1 - rate * `weight_decay` before each step."""

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.01

    @property
    def _adam(self) -> Adam:
        return Adam(self.beta1, self.beta2, self.epsilon)

    def init(self, engine: Passes) -> Moments:
        """Return the moments of Adam."""
        return self._adam.init(engine)

    def step(self, engine: Passes, state: Moments, count: int, rates: Tensor, loss: Tensor) -> None:
        """Shrink the weights, then move them as Adam does, by the gradient at the weights before."""
        ages = slotwise.ages(state.born, count)
        self._adam.sweep(engine.layout, state, ages)
        self.tick(engine, state, self._adam.corrections(ages), rates, loss)

    def upkeep(self, engine: Passes, state: Moments, count: int) -> bool:
        """Do what a tick needs now and then, as Adam."""
        return self._adam.upkeep(engine, state, count)

    def numbers(self, state: Moments, count: int) -> list[list[float]]:
        """Return what differs from tick to tick."""
        return self._adam.numbers(state, count)

    def tick(
        self, engine: Passes, state: Moments, numbers: Sequence[slotwise.Number], rates: Tensor, loss: Tensor
    ) -> None:
        """Do the rest of a step."""
        engine.descend(loss)
        engine.weights.addcmul_(engine.weights, rates, value=-self.weight_decay)
        self._adam.move(engine.layout, engine.weights, engine.gradient, state, numbers, rates)

    def forget(self, engine: Passes, state: Moments, slot: int) -> None:
        """Set the moments of one slot as in `init`."""
        self._adam.forget(engine, state, slot)


def floor(like: Tensor) -> float:
    """Return the least second moment, and the least first moment but zero: 1e-277, in float32 6e-35.

    Far below anything that moves a weight. Without it the moments of a dead rectifier decay for ever, and processors
    are many times slower on subnormal numbers, as is MKL on the square root of zero.
    """
    return torch.finfo(like.dtype).tiny ** 0.9
