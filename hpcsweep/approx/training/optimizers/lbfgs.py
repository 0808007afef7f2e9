"""L-BFGS: BFGS that remembers only its latest steps.

Liu and Nocedal, "On the limited memory BFGS method for large scale optimization", Math. Program. 45 (1989). Its two
loops over the memory are two triangular solutions, the same recursion in a dozen operations instead of some hundred:
with steps S, changes of the gradient Y, one row each, oldest first, R the upper triangle of S Y' and D its diagonal,

    R a = S g,    q = g - Y' a,    R' b = D a - c Y q,    H g = c q + S' b

where c is the scale of the method's first guess (compare Byrd, Nocedal and Schnabel, Math. Program. 63 (1994), theorem
2.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.kernels import method
from hpcsweep.approx.kernels.problem import aligned
from hpcsweep.approx.kernels.updates import line_search, quasi_newton
from hpcsweep.approx.kernels.updates.line_search import FLAT
from hpcsweep.approx.training.operations.passes import Passes
from hpcsweep.approx.training.optimizers import step_cost
from hpcsweep.approx.training.optimizers.optimizer import Needs, Number, Optimizer
from hpcsweep.approx.training.optimizers.registry import register
from hpcsweep.approx.training.optimizers.walk import QuasiNewtonStep, SearchState, dots
from hpcsweep.approx.training.single.methods import Compiled, Start, searching_numbers
from hpcsweep.config.limits import PositiveInt


@dataclass
class Memory:
    """The state.

    Attributes
    ----------
    walk : the iterates
    steps, changes : (slots, memory, parameters), oldest first; zero where nothing has been written
    triangle : (slots, memory, memory), R; the identity where nothing has been written
    scale : (slots,) float64 on the CPU, c
    blank : (slots,) bool on the CPU: nothing has been written
    """

    walk: SearchState
    steps: Tensor
    changes: Tensor
    triangle: Tensor
    scale: Tensor
    blank: Tensor

    def reset(self, where: np.ndarray) -> None:
        """Forget all pairs of some slots."""
        for slot in np.flatnonzero(where).tolist():
            self.steps[slot], self.changes[slot] = 0, 0
            self.triangle[slot].zero_().fill_diagonal_(1)
            self.scale[slot], self.blank[slot] = 1, True


@final
@register("lbfgs")
@dataclass(frozen=True)
class LBFGS(Optimizer):
    """The inverse Hessian of BFGS from the latest `memory` steps, starting from s'y / y'y of the last one."""

    memory: PositiveInt = 50

    needs: ClassVar = Needs(all_samples=True, rate=False)
    is_fine: ClassVar = True
    kernels: ClassVar = (method.advance, quasi_newton.propose_limited, quasi_newton.take_limited)

    def cost(self, widths: step_cost.Widths, samples: int, steps: int) -> step_cost.StepCost:
        """Return two loops over as much memory as is filled, on average over all steps."""
        size, memory, steps = step_cost.size(widths), self.memory, max(steps, 1)
        kept = memory * (1 - memory / (2 * steps)) if steps > memory else steps / 2
        held = (line_search.VECTORS + 2 * memory) * size
        others = (10 * kept + 50) * size
        return step_cost.StepCost(step_cost.SEARCH, products=4 * kept * size, others=others, held=held, calls=550)

    def alone(self, start: Start) -> Compiled:
        """Return an empty memory."""
        numbers = searching_numbers(start)
        numbers[quasi_newton.MEMORY] = self.memory
        size = (line_search.VECTORS + 2 * self.memory) * start.count + 2 * self.memory
        return Compiled(self.kernels[1:], start, numbers, aligned(size, start.dtype))

    def init(self, engine: Passes) -> Memory:
        walk = SearchState.begin(engine)
        slots, parameters = walk.weights.shape
        steps, changes = walk.weights.new_zeros((2, slots, self.memory, parameters))
        identity = torch.eye(self.memory).to(steps).repeat(slots, 1, 1)
        blank = torch.ones(slots, dtype=torch.bool)
        return Memory(walk, steps, changes, identity, blank.double(), blank)

    def tick(self, engine: Passes, state: Memory, numbers: Sequence[Number], rates: Tensor, loss: Tensor) -> Tensor:
        """Do one tick; return which slots have a new iterate."""
        walk = state.walk
        move = walk.observe(engine, loss)
        walk.reset_if_stalled(move, state)
        _remember(state, move)
        walk.launch(engine, move.ready, _direction(state), state)
        return torch.from_numpy(move.accepted)

    def iterate(self, engine: Passes, state: Memory) -> Tensor:
        return state.walk.flat(engine)

    def settled(self, engine: Passes, state: Memory) -> Tensor:
        return torch.from_numpy(state.walk.settled)


@np.errstate(all="ignore")
def _remember(state: Memory, move: QuasiNewtonStep) -> None:
    """Append new pairs of enough curvature, and drop the oldest ones."""
    curvature, squares = dots(move.step, move.change), dots(move.change, move.change)
    good = move.accepted & (curvature > FLAT * np.sqrt(dots(move.step, move.step) * squares))
    np.copyto(state.scale.numpy(), curvature / squares, where=good)
    np.copyto(state.blank.numpy(), False, where=good)
    where = torch.from_numpy(good).to(move.step.device).view(-1, 1, 1)
    state.steps = torch.where(where, torch.cat([state.steps[:, 1:], move.step.unsqueeze(1)], 1), state.steps)
    state.changes = torch.where(where, torch.cat([state.changes[:, 1:], move.change.unsqueeze(1)], 1), state.changes)
    column = torch.bmm(state.steps, move.change.unsqueeze(2))  # S y
    rest = torch.nn.functional.pad(state.triangle[:, 1:, 1:], (0, 0, 0, 1))
    state.triangle = torch.where(where, torch.cat([rest, column], 2), state.triangle)


def _direction(state: Memory) -> Tensor:
    """Return minus the product of the inverse Hessian with the gradients, (slots, parameters)."""
    gradient, triangle = state.walk.gradient.unsqueeze(2), state.triangle
    first = torch.linalg.solve_triangular(triangle, torch.bmm(state.steps, gradient), upper=True)
    scale = state.scale.to(gradient).view(-1, 1, 1)
    rest = scale * (gradient - torch.bmm(state.changes.mT, first))  # c q
    right = triangle.diagonal(dim1=1, dim2=2).unsqueeze(2) * first - torch.bmm(state.changes, rest)
    second = torch.linalg.solve_triangular(triangle.mT, right, upper=False)
    return -(rest + torch.bmm(state.steps.mT, second))[:, :, 0]
