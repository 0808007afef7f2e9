"""Random features: the hidden layers stay as they were drawn, the last one is solved for.

Rahimi and Recht, "Random features for large-scale kernel machines" (NeurIPS 2007); for a few hundred features of a
smooth function in one dimension this goes to machine precision in milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.kernels import iteration
from hpcsweep.approx.kernels.residuals import residuals
from hpcsweep.approx.training.operations.engine import Engine
from hpcsweep.approx.training.operations.linear_least_squares import solve
from hpcsweep.approx.training.operations.passes import Passes
from hpcsweep.approx.training.optimizers import cost_units
from hpcsweep.approx.training.optimizers.optimizer import Needs, Number, Optimizer
from hpcsweep.approx.training.optimizers.registry import register
from hpcsweep.approx.training.single.last_layer import LastLayerMethod
from hpcsweep.approx.training.single.methods import Start
from hpcsweep.config.limits import NotNegative


@dataclass
class Solved:
    """Which slots are solved, (slots,) bool: none before the first step, then all."""

    slots: Tensor


@final
class Alone(LastLayerMethod):
    """The training of one network."""

    def __init__(self, start: Start, scale: float) -> None:
        super().__init__(start)
        self._scale = scale

    def _move(self) -> bool:
        state = self.state
        if state.steps:
            return False
        point, scale = state.point, self._scale
        inputs, outputs = self.network.widths[:2]
        if len(self.network.widths) > 2 and scale > 0:
            first = point[: outputs * (inputs + 1)]
            with np.errstate(invalid="ignore"):  # what is infinite becomes NaN, and the loss says so
                first *= scale / math.sqrt(float(np.square(first).mean()) * inputs)
        features = torch.from_numpy(self._features(point)).unsqueeze(0)
        point[self._last] = solve(features, torch.from_numpy(self._values).unsqueeze(0))[0].numpy()
        state.numbers[iteration.STEPS] += 1
        return True


@final
@register("least_squares")
@dataclass(frozen=True)
class LeastSquares(Optimizer):
    """One step and settled: scales the first of several layers, minimises over the last.

    Attributes
    ----------
    feature_scale : weights and biases of the first layer are multiplied, per network, by what makes their root mean
        square feature_scale / sqrt(dimension); several digits depend on it (3 for a period or two, 10 for more).
        0 takes them as they are: after another optimizer
    """

    feature_scale: NotNegative = 3.0

    needs: ClassVar = Needs(all_samples=True, squares=True, rate=False, features=True)
    kernels: ClassVar = (iteration.write_note, residuals)

    def cost(self, widths: cost_units.Widths, samples: int, steps: int) -> cost_units.StepCost:
        """Return one decomposition, and the step is the last."""
        width = widths[-2] + 1
        others, held = 150.0 * width**2 * samples, 3 * samples * width + cost_units.size(widths)
        room = {"calls": 300.0, "calls_alone": 300.0, "most_steps": 1.0}
        return cost_units.StepCost(0, 3, 0, others, held, **room)

    def alone(self, start: Start) -> Alone:
        """Return the features as they were drawn."""
        return Alone(start, self.feature_scale)

    def block(self, parameters: int, samples: int) -> int:
        """Return all samples."""
        return samples

    def init(self, engine: Passes) -> Solved:
        """Return that nothing is solved."""
        return Solved(torch.zeros(engine.layout.slots, dtype=torch.bool, device=engine.weights.device))

    def tick(self, engine: Passes, state: Solved, numbers: Sequence[Number], rates: Tensor, loss: Tensor) -> None:
        """Solve, unless that is done."""
        assert isinstance(engine, Engine)  # whose layers are known, as `check_compatible` has seen to
        engine.loss(loss)
        if state.slots.all():
            return
        blocks = engine.layout.blocks(engine.weights)
        if len(blocks) > 1 and self.feature_scale > 0:
            size = (blocks[0].square().mean((1, 2), keepdim=True) * engine.points.shape[1]).sqrt()
            blocks[0].mul_(self.feature_scale / size)
        engine.forward()
        coefficients = solve(engine.features, engine.values[:, 0])
        blocks[-1].copy_(coefficients.unsqueeze(1))
        state.slots.fill_(True)

    def settled(self, engine: Passes, state: Solved) -> Tensor:
        """Return which slots are solved, (slots,) bool."""
        return state.slots
