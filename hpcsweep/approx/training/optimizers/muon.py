"""Muon (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024), as in torch.optim.Muon."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from hpcsweep.approx.training.engine import Engine, Layout
from hpcsweep.approx.training.optimizers.adam import Adam, Moments
from hpcsweep.approx.training.optimizers.optimizer import Optimizer

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic x -> a x + b x^3 + c x^5 that drives singular values to 1
_ITERATIONS = 5


@dataclass
class Momenta:
    """The state of Muon: Adam's for the outer layers, and the mean gradient of the inner ones, a flat buffer."""

    outer: list[Moments]
    mean: Tensor


@final
@dataclass(frozen=True)
class Muon(Optimizer):
    """Moves the maps between hidden layers along the orthogonal factor of their mean gradient; Adam moves the others.

    A layer is its block (outputs, inputs + 1): biases are the weights of an input that is always one, and belong to the
    matrix that is made orthogonal. Its step has the root mean square of one of Adam, 0.2 rate, whatever its shape (Liu
    et al., "Muon is scalable for LLM training", 2025; "match_rms_adamw" in torch), so that one learning rate serves
    both. No weight decay. torch iterates in bfloat16, we in the precision of the weights.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    momentum: float = 0.95
    nesterov: bool = True

    @property
    def _adam(self) -> Adam:
        return Adam(self.beta1, self.beta2, self.epsilon)

    def init(self, engine: Engine) -> Momenta:
        """Return moments of zero."""
        outer = [self._adam.moments(layout, engine.weights[part]) for layout, part in _outer(engine.layout)]
        return Momenta(outer, torch.zeros_like(engine.weights[_inner(engine.layout)]))

    def step(self, engine: Engine, state: Momenta, count: int, rates: Tensor, loss: Tensor) -> None:
        """Move the outer layers by Adam; the inner ones by -0.2 rate sqrt(the longer side) times the orthogonal factor.

        That of the mean m = `momentum` m + (1 - `momentum`) g, or, `nesterov`, of `momentum` m + (1 - `momentum`) g.
        """
        engine.descend(loss)
        for (layout, part), moments in zip(_outer(engine.layout), state.outer, strict=True):
            self._adam.move(layout, engine.weights[part], engine.gradient[part], moments, count, rates[part])
        inner = _inner(engine.layout)
        gradient = engine.gradient[inner]
        state.mean.lerp_(gradient, 1 - self.momentum)
        ahead = gradient.lerp(state.mean, self.momentum) if self.nesterov else state.mean
        layout = Layout(engine.layout.widths[1:-1], engine.layout.slots)
        for block, rate, direction in zip(*map(layout.blocks, (engine.weights[inner], rates[inner], ahead)), strict=True):
            length = 0.2 * math.sqrt(max(block.shape[1:]))
            block.addcmul_(orthogonal(direction), rate, value=-length)

    def forget(self, engine: Engine, state: Momenta, slot: int) -> None:
        """Set the moments of one slot as in `init`."""
        for (layout, _), moments in zip(_outer(engine.layout), state.outer, strict=True):
            self._adam.reset(layout, moments, slot)
        for block in Layout(engine.layout.widths[1:-1], engine.layout.slots).blocks(state.mean):
            block[slot].zero_()


def orthogonal(matrices: Tensor) -> Tensor:
    """Return about U V^T of each matrix U S V^T in (slots, rows, columns): singular values between 0.7 and 1.2.

    Five Newton-Schulz iterations on the shorter side, from the matrix divided by its Frobenius norm; zero stays zero.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    signal = matrices.transpose(1, 2).contiguous() if tall else matrices  # (slots, short, long)
    tiniest = math.sqrt(torch.finfo(signal.dtype).tiny)  # squares of less than this vanish
    signal = signal / signal.square().sum(dim=(1, 2), keepdim=True).sqrt_().clamp_min_(tiniest)
    first, third, fifth = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        gram = torch.bmm(signal, signal.transpose(1, 2))
        odd = torch.baddbmm(gram, gram, gram, beta=third, alpha=fifth)
        signal = torch.baddbmm(signal, odd, signal, beta=first)
    return signal.transpose(1, 2) if tall else signal


def _outer(layout: Layout) -> list[tuple[Layout, slice]]:
    """Return the layouts of the first and the last layer alone, and where they lie in a flat buffer."""
    first, last = Layout(layout.widths[:2], layout.slots), Layout(layout.widths[-2:], layout.slots)
    total = layout.slots * layout.parameters
    ends = slice(0, first.slots * first.parameters), slice(total - last.slots * last.parameters, total)
    return list(zip((first, last), ends, strict=True))[: len(layout.widths) - 1]


def _inner(layout: Layout) -> slice:
    """Return where the layers between the first and the last lie in a flat buffer, all together."""
    parts = [part for _, part in _outer(layout)]
    return slice(parts[0].stop, max(parts[0].stop, parts[-1].start))
