"""Random features: the hidden layers stay as they were drawn, the last one is solved for.

Rahimi and Recht, "Random features for large-scale kernel machines" (NeurIPS 2007); for a few hundred features of a
smooth function in one dimension this goes to machine precision in milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from hpcsweep.approx.training.engine import Engine
from hpcsweep.approx.training.least_squares import solve
from hpcsweep.approx.training.optimizers.optimizer import Optimizer


@dataclass
class Solved:
    """Which slots are solved, (slots,) bool: all others are in the next step."""

    slots: Tensor


@final
@dataclass(frozen=True)
class LeastSquares(Optimizer):
    """One step and settled: scales the first of several layers, minimises over the last.

    Attributes
    ----------
    feature_scale : weights and biases of the first layer are multiplied, per network, by what makes their root mean
        square feature_scale / sqrt(dimension); several digits depend on it (3 for a period or two, 10 for more).
        0 takes them as they are: after another optimizer
    """

    feature_scale: float = 3.0

    def init(self, engine: Engine) -> Solved:
        """Return that no slot is solved."""
        return Solved(torch.zeros(engine.layout.slots, dtype=torch.bool, device=engine.weights.device))

    def step(self, engine: Engine, state: Solved, count: int, rates: Tensor, loss: Tensor) -> None:
        """Solve in the slots where that is still to be done."""
        engine.loss(loss)
        if state.slots.all():
            return  # saves work, changes nothing
        blocks = engine.layout.blocks(engine.weights)
        before = engine.layout.rows(engine.weights)  # (slots, parameters)
        if len(blocks) > 1 and self.feature_scale > 0:
            size = (blocks[0].square().mean((1, 2), keepdim=True) * engine.points.shape[1]).sqrt()
            blocks[0].mul_(self.feature_scale / size)
        engine.forward()
        coefficients = solve(engine.weighted(engine.features), engine.weighted(engine.values)[:, 0])
        blocks[-1].copy_(coefficients.unsqueeze(1))
        after = engine.layout.rows(engine.weights)
        engine.layout.fill(engine.weights, torch.where(state.slots.unsqueeze(1), before, after))
        state.slots.fill_(True)

    def forget(self, engine: Engine, state: Solved, slot: int) -> None:
        state.slots[slot] = False

    def settled(self, engine: Engine, state: Solved) -> Tensor:
        """Return which slots are solved, (slots,) bool."""
        return state.slots.clone()
