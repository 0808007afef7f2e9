"""Adam (Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015), as in torch.optim.Adam.

And AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019), as in torch.optim.AdamW.
"""

from __future__ import annotations

import math
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
from hpcsweep.approx.training.optimizers.optimizer import Number, Optimizer
from hpcsweep.approx.training.optimizers.registry import register
from hpcsweep.approx.training.single.methods import Compiled, Start, first_order_numbers
from hpcsweep.config.limits import NotNegative, PositiveFloat, Share


@dataclass
class Moments:
    """Adam's state: exponential means of the gradient and of its square, laid out like it.

    Attributes
    ----------
    first, second : the means, flat buffers
    scratch : a flat buffer; after a step the quotient of the two without its bias correction
    """

    first: Tensor
    second: Tensor
    scratch: Tensor


@final
@register("adamw")
@register("adam", weight_decay=0.0)
@dataclass(frozen=True)
class Adam(Optimizer):
    """Algorithm 1 of the paper: both moments with bias correction, `epsilon` outside the square root.

    With `weight_decay` it is AdamW: weights and biases are shrunk by the factor 1 - rate * `weight_decay` before each
    step.

    Attributes
    ----------
    beta1 : decay of the mean of the gradient
    beta2 : decay of the mean of its square
    epsilon : added to the root of that mean
    weight_decay : the decay of weights and biases
    """

    beta1: Share = 0.9
    beta2: Share = 0.999
    epsilon: PositiveFloat = 1e-8
    weight_decay: NotNegative = 0.01

    kernels: ClassVar = (iteration.advance, first_order.propose_adam, first_order.take)

    def cost(self, widths: cost_units.Widths, samples: int, steps: int) -> cost_units.StepCost:
        """Return some passes over the parameters, and both moments."""
        return cost_units.first_order(widths, vectors=2, each=26.0 if self.weight_decay else 24.0)

    def alone(self, start: Start) -> Compiled:
        """Return moments of zero."""
        numbers = first_order_numbers(start, self.beta1, self.beta2, self.epsilon, self.weight_decay)
        return Compiled(self.kernels[1:], start, numbers, aligned(2 * start.count, start.dtype))

    def init(self, engine: Passes) -> Moments:
        """Return moments of zero (the second of `floor`, see there)."""
        first = torch.zeros_like(engine.weights)
        return Moments(first, torch.full_like(first, floor(first)), torch.zeros_like(first))

    def upkeep(self, engine: Passes, state: Moments, count: int) -> bool:
        """Now and then, set what has decayed to `floor`; all ticks can be replayed."""
        if count % first_order.SWEEP == 0:
            state.first.masked_fill_(state.first.abs() < floor(state.first), 0)
            state.second.clamp_min_(floor(state.second))
        return True

    def numbers(self, count: int) -> list[float]:
        """Return b epsilon, and what the quotients of `divide` are multiplied by besides the rates, -b / a."""
        a, b = 1 - self.beta1 ** (count + 1), math.sqrt(1 - self.beta2 ** (count + 1))
        return [self.epsilon * b, -b / a]

    def tick(self, engine: Passes, state: Moments, numbers: Sequence[Number], rates: Tensor, loss: Tensor) -> None:
        """Move the weights by -rate m / (sqrt(v) + epsilon), m and v the moments corrected for their bias.

        The gradient is that at the weights before they shrink.
        """
        engine.descend(loss)
        if self.weight_decay:
            engine.weights.addcmul_(engine.weights, rates, value=-self.weight_decay)
        self.move(engine.weights, engine.gradient, state, numbers, rates)

    def move(self, weights: Tensor, gradient: Tensor, state: Moments, numbers: Sequence[Number], rates: Tensor) -> None:
        """Update the moments and the weights, in place, by a gradient; all are flat buffers."""
        epsilon, factor = numbers
        self.divide(gradient, state, epsilon)
        add_product(weights, factor, state.scratch, rates)

    def divide(self, gradient: Tensor, state: Moments, epsilon: Number) -> None:
        """Update the moments by a gradient and leave their quotient in the scratch buffer.

        (m / a) / (sqrt(v) / b + epsilon) = (b / a) m / (sqrt(v) + b epsilon): one operation less on the buffer if the
        corrections b / a wait for the rates, see `numbers`.
        """
        state.first.lerp_(gradient, 1 - self.beta1)
        state.second.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
        torch.sqrt(state.second, out=state.scratch).add_(epsilon)
        torch.div(state.first, state.scratch, out=state.scratch)


def add_product(buffer: Tensor, factor: Number, left: Tensor, right: Tensor) -> None:
    """Add factor * left * right to a buffer, of the same bits whatever the factor is; may overwrite `left`."""
    if isinstance(factor, Tensor):
        buffer.addcmul_(left.mul_(factor), right)  # first factor * left, as addcmul does
    else:
        buffer.addcmul_(left, right, value=factor)


def floor(like: Tensor) -> float:
    """Return the least second moment, and the least first moment but zero: 1e-277, in float32 6e-35.

    Far below anything that moves a weight. Without it the moments of a dead rectifier decay for ever, and processors
    are many times slower on subnormal numbers, as is MKL on the square root of zero.
    """
    return torch.finfo(like.dtype).tiny ** 0.9
