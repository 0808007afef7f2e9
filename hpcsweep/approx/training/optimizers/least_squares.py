"""Random features: the hidden layers stay as they were drawn, the last one is solved for.

Rahimi and Recht, "Random features for large-scale kernel machines" (NeurIPS 2007); for a few hundred features of a
smooth function in one dimension this goes to machine precision in milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from hpcsweep.approx.training.operations.engine import Engine
from hpcsweep.approx.training.operations.least_squares import solve
from hpcsweep.approx.training.operations.passes import Passes
from hpcsweep.approx.training.optimizers.optimizer import Number, Optimizer


@dataclass
class Solved:
    """Which slots are solved, (slots,) bool: none before the first step, then all."""

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

    def init(self, engine: Passes) -> Solved:
        """Return that nothing is solved."""
        return Solved(torch.zeros(engine.layout.slots, dtype=torch.bool, device=engine.weights.device))

    def tick(self, engine: Passes, state: Solved, numbers: Sequence[Number], rates: Tensor, loss: Tensor) -> None:
        """Solve, unless that is done."""
        assert isinstance(engine, Engine)  # whose layers are known, as `suit` has seen to
        engine.loss(loss)
        if state.slots.all():
            return
        blocks = engine.layout.blocks(engine.weights)
        if len(blocks) > 1 and self.feature_scale > 0:
            size = (blocks[0].square().mean((1, 2), keepdim=True) * engine.points.shape[1]).sqrt()
            blocks[0].mul_(self.feature_scale / size)
        engine.forward()
        coefficients = solve(engine.weighted(engine.features), engine.weighted(engine.values)[:, 0])
        blocks[-1].copy_(coefficients.unsqueeze(1))
        state.slots.fill_(True)

    def settled(self, engine: Passes, state: Solved) -> Tensor:
        """Return which slots are solved, (slots,) bool."""
        return state.slots
