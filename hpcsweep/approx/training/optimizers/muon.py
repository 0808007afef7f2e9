"""Muon (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024), as in torch.optim.Muon."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.kernels import iteration
from hpcsweep.approx.kernels.problem import aligned
from hpcsweep.approx.kernels.updates import first_order, muon
from hpcsweep.approx.training.operations.parameter_layout import Layout
from hpcsweep.approx.training.operations.passes import Passes
from hpcsweep.approx.training.optimizers import cost_units
from hpcsweep.approx.training.optimizers.adam import Adam, Moments
from hpcsweep.approx.training.optimizers.optimizer import Needs, Number, Optimizer
from hpcsweep.approx.training.optimizers.registry import register
from hpcsweep.approx.training.single.methods import Compiled, Start, first_order_numbers
from hpcsweep.config.limits import PositiveFloat, Share


@final
@register("muon")
@dataclass(frozen=True)
class Muon(Optimizer):
    """Moves the maps between hidden layers along the orthogonal factor of their mean gradient; Adam moves the others.

    A layer is its block (outputs, inputs + 1): biases are the weights of an input that is always one, and belong to the
    matrix that is made orthogonal. Its step has the root mean square of one of Adam, 0.2 rate, whatever its shape (Liu
    et al., "Muon is scalable for LLM training", 2025; "match_rms_adamw" in torch), so that one learning rate serves
    both. No weight decay. torch iterates in bfloat16, we in the precision of the weights.

    Attributes
    ----------
    beta1, beta2, epsilon : of Adam
    momentum : decay of the mean gradient of the maps between hidden layers
    nesterov : whether the gradient is mixed into that mean once more
    """

    beta1: Share = 0.9
    beta2: Share = 0.999
    epsilon: PositiveFloat = 1e-8
    momentum: Share = 0.95
    nesterov: bool = True

    needs: ClassVar = Needs(matrices=True)
    kernels: ClassVar = (iteration.advance, muon.propose_muon, first_order.take)

    def cost(self, widths: cost_units.Widths, samples: int, steps: int) -> cost_units.StepCost:
        """Return the iterations of the inner layers, and some passes over the parameters."""
        size, inner = cost_units.size(widths), [sorted(block) for block in cost_units.blocks(widths)[1:-1]]
        products = sum(5 * short * short * (2 * long + short) for short, long in inner)
        held = muon.VECTORS * size + muon.room(widths, cost_units.LANES)
        return cost_units.StepCost(products=products, others=350.0 * size, held=held, calls=100)

    def alone(self, start: Start) -> Compiled:
        """Return moments of zero, and room for the matrices."""
        own = self.momentum, self.nesterov, float(np.finfo(start.dtype).tiny) ** 0.5
        numbers = first_order_numbers(start, self.beta1, self.beta2, self.epsilon, own=own)
        size = muon.VECTORS * start.count + muon.room(start.network.widths, start.lanes)
        return Compiled(self.kernels[1:], start, numbers, aligned(size, start.dtype))

    @property
    def _adam(self) -> Adam:
        return Adam(self.beta1, self.beta2, self.epsilon, weight_decay=0.0)

    def init(self, engine: Passes) -> Moments:
        """Return the moments of Adam; of the inner layers the first is the mean gradient and the second is not used."""
        return self._adam.init(engine)

    def upkeep(self, engine: Passes, state: Moments, count: int) -> bool:
        """Do that of Adam; all ticks can be replayed."""
        return self._adam.upkeep(engine, state, count)

    def numbers(self, count: int) -> list[float]:
        """Return those of Adam."""
        return self._adam.numbers(count)

    def tick(self, engine: Passes, state: Moments, numbers: Sequence[Number], rates: Tensor, loss: Tensor) -> None:
        """Move the outer layers by Adam; the inner ones by -0.2 rate sqrt(the longer side) times the orthogonal factor.

        That of the mean m = `momentum` m + (1 - `momentum`) g, or, `nesterov`, of `momentum` m + (1 - `momentum`) g.
        """
        engine.descend(loss)
        weights, gradient = engine.weights, engine.gradient
        outer, inner = _parts(engine.layout)
        for part in outer:
            moments = Moments(state.first[part], state.second[part], state.scratch[part])
            self._adam.move(weights[part], gradient[part], moments, numbers, rates[part])
        mean = state.first[inner].lerp_(gradient[inner], 1 - self.momentum)
        torch.lerp(gradient[inner], mean, self.momentum if self.nesterov else 1.0, out=state.scratch[inner])
        blocks = (engine.layout.blocks(buffer)[1:-1] for buffer in (weights, rates, state.scratch))
        for block, rate, direction in zip(*blocks, strict=True):
            block.addcmul_(orthogonal(direction), rate, value=-0.2 * math.sqrt(max(block.shape[1:])))


def orthogonal(matrices: Tensor) -> Tensor:
    """Return about U V^T of each matrix U S V^T in (slots, rows, columns): most singular values come to 0.7 ... 1.2.

    Five Newton-Schulz iterations on the shorter side, from the matrix divided by its Frobenius norm; zero stays zero.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    signal = matrices.transpose(1, 2).contiguous() if tall else matrices  # (slots, short, long)
    tiniest = math.sqrt(torch.finfo(signal.dtype).tiny)  # squares of less than this vanish
    signal = signal / signal.square().sum(dim=(1, 2), keepdim=True).sqrt_().clamp_min_(tiniest)
    first, third, fifth = muon.COEFFICIENTS
    for _ in range(muon.ITERATIONS):
        gram = torch.bmm(signal, signal.transpose(1, 2))
        odd = torch.baddbmm(gram, gram, gram, beta=third, alpha=fifth)
        signal = torch.baddbmm(signal, odd, signal, beta=first)
    return signal.transpose(1, 2) if tall else signal


def _parts(layout: Layout) -> tuple[list[slice], slice]:
    """Return where the first and the last layer lie in a flat buffer, and where all those between them do."""
    total, (first, *others) = layout.slots * layout.parameters, layout.sizes
    last = total - (others[-1] if others else 0)
    return [slice(first), slice(last, total)][: len(layout.sizes)], slice(first, last)
