"""L-BFGS: BFGS that remembers only its latest steps.

Liu and Nocedal, "On the limited memory BFGS method for large scale optimization", Math. Program. 45 (1989). Its two
loops over the memory are two triangular solutions, the same recursion in a dozen operations instead of some hundred:
with steps S, changes of the gradient Y, one row each, oldest first, R the upper triangle of S Y' and D its diagonal,

    R a = S g,    q = g - Y' a,    R' b = D a - c Y q,    H g = c q + S' b

where c is the scale of the method's first guess (compare Byrd, Nocedal and Schnabel, Math. Program. 63 (1994), theorem
2.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.kernels import iteration
from hpcsweep.approx.kernels.problem import aligned
from hpcsweep.approx.kernels.updates import line_search, quasi_newton
from hpcsweep.approx.kernels.updates.line_search import FLAT
from hpcsweep.approx.training.operations.passes import Passes
from hpcsweep.approx.training.optimizers import cost_units
from hpcsweep.approx.training.optimizers.optimizer import Needs, Optimizer
from hpcsweep.approx.training.optimizers.registry import register
from hpcsweep.approx.training.optimizers.search_state import (
    BatchedQuasiNewton,
    Curvature,
    QuasiNewtonStep,
    SearchState,
    dots,
)
from hpcsweep.approx.training.single.methods import Compiled, Start, quasi_newton_numbers
from hpcsweep.config.limits import PositiveInt


@dataclass
class Memory(Curvature):
    """The state.

    Attributes
    ----------
    those of `Curvature`, and
    steps, changes : (slots, memory, parameters), oldest first; zero where nothing has been written
    triangle : (slots, memory, memory), R; the identity where nothing has been written
    scale : (slots,) float64 on the CPU, c
    """

    steps: Tensor
    changes: Tensor
    triangle: Tensor
    scale: Tensor

    def reset(self, where: np.ndarray) -> None:
        """Forget all pairs of some slots."""
        for slot in np.flatnonzero(where).tolist():
            self.steps[slot], self.changes[slot] = 0, 0
            self.triangle[slot].zero_().fill_diagonal_(1)
            self.scale[slot], self.blank[slot] = 1, True

    def update(self, step: QuasiNewtonStep) -> None:
        """Append new pairs of enough curvature, and drop the oldest ones."""
        curvature, squares = dots(step.displacement, step.change), dots(step.change, step.change)
        good = step.accepted & (curvature > FLAT * np.sqrt(dots(step.displacement, step.displacement) * squares))
        np.copyto(self.scale.numpy(), curvature / squares, where=good)
        np.copyto(self.blank.numpy(), False, where=good)
        where = torch.from_numpy(good).to(step.displacement.device).view(-1, 1, 1)
        self.steps = torch.where(where, torch.cat([self.steps[:, 1:], step.displacement.unsqueeze(1)], 1), self.steps)
        self.changes = torch.where(where, torch.cat([self.changes[:, 1:], step.change.unsqueeze(1)], 1), self.changes)
        column = torch.bmm(self.steps, step.change.unsqueeze(2))  # S y
        rest = torch.nn.functional.pad(self.triangle[:, 1:, 1:], (0, 0, 0, 1))
        self.triangle = torch.where(where, torch.cat([rest, column], 2), self.triangle)

    def direction(self) -> Tensor:
        """Return minus the product of the inverse Hessian with the gradients, (slots, parameters)."""
        gradient, triangle = self.search.gradient.unsqueeze(2), self.triangle
        first = torch.linalg.solve_triangular(triangle, torch.bmm(self.steps, gradient), upper=True)
        scale = self.scale.to(gradient).view(-1, 1, 1)
        rest = scale * (gradient - torch.bmm(self.changes.mT, first))  # c q
        right = triangle.diagonal(dim1=1, dim2=2).unsqueeze(2) * first - torch.bmm(self.changes, rest)
        second = torch.linalg.solve_triangular(triangle.mT, right, upper=False)
        return -(rest + torch.bmm(self.steps.mT, second))[:, :, 0]


@final
@register("lbfgs")
@dataclass(frozen=True)
class LBFGS(BatchedQuasiNewton, Optimizer):
    """The inverse Hessian of BFGS from the latest `memory` steps, starting from s'y / y'y of the last one.

    Attributes
    ----------
    memory : number of steps that are remembered
    """

    memory: PositiveInt = 50

    needs: ClassVar = Needs(all_samples=True, rate=False)
    is_fine: ClassVar = True
    kernels: ClassVar = (iteration.advance, quasi_newton.propose, quasi_newton.take)

    def cost(self, widths: cost_units.Widths, samples: int, steps: int) -> cost_units.StepCost:
        """Return two loops over as much memory as is filled, on average over all steps."""
        size, memory, steps = cost_units.size(widths), self.memory, max(steps, 1)
        kept = memory * (1 - memory / (2 * steps)) if steps > memory else steps / 2
        held = (line_search.VECTORS + 2 * memory) * size
        others = (10 * kept + 50) * size
        return cost_units.StepCost(cost_units.SEARCH, products=4 * kept * size, others=others, held=held, calls=550)

    def alone(self, start: Start) -> Compiled:
        """Return an empty memory."""
        numbers = quasi_newton_numbers(start, quasi_newton.LBFGS)
        numbers[quasi_newton.MEMORY] = self.memory
        size = (line_search.VECTORS + 2 * self.memory) * start.count + 2 * self.memory
        return Compiled(self.kernels[1:], start, numbers, aligned(size, start.dtype))

    def init(self, engine: Passes) -> Memory:
        search = SearchState.begin(engine)
        slots, parameters = search.weights.shape
        steps, changes = search.weights.new_zeros((2, slots, self.memory, parameters))
        identity = torch.eye(self.memory).to(steps).repeat(slots, 1, 1)
        blank = torch.ones(slots, dtype=torch.bool)
        return Memory(search, blank, steps, changes, identity, blank.double())
