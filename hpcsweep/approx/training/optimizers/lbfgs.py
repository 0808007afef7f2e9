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
from typing import final

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.training.optimizers.optimizer import Number, Optimizer
from hpcsweep.approx.training.optimizers.walk import FLAT, Move, Walk, dots
from hpcsweep.approx.training.passes import Passes


@dataclass
class Memory:
    """The state.

    Attributes
    ----------
    walk : the iterates
    steps, changes : (slots, memory, parameters), rings; zero where nothing has been written
    triangle : (slots, memory, memory), R, oldest first; the identity where nothing has been written
    scale : (slots,) float64 on the CPU, c
    written : (slots,) int64 on the CPU, pairs since the beginning or a reset
    blank : (slots,) bool on the CPU: none
    """

    walk: Walk
    steps: Tensor
    changes: Tensor
    triangle: Tensor
    scale: Tensor
    written: Tensor
    blank: Tensor

    def reset(self, where: np.ndarray) -> None:
        """Forget all pairs of some slots."""
        for slot in np.flatnonzero(where).tolist():
            self.steps[slot], self.changes[slot] = 0, 0
            self.triangle[slot].zero_().fill_diagonal_(1)
            self.scale[slot], self.written[slot], self.blank[slot] = 1, 0, True


@final
@dataclass(frozen=True)
class LBFGS(Optimizer):
    """The inverse Hessian of BFGS from the latest `memory` steps, starting from s'y / y'y of the last one."""

    memory: int = 50

    def init(self, engine: Passes) -> Memory:
        walk = Walk.begin(engine)
        slots, parameters = walk.weights.shape
        steps, changes = walk.weights.new_zeros((2, slots, self.memory, parameters))
        identity = torch.eye(self.memory).to(steps).repeat(slots, 1, 1)
        host = {"dtype": torch.float64, "device": "cpu"}
        blank = torch.ones(slots, dtype=torch.bool)
        return Memory(walk, steps, changes, identity, torch.ones(slots, **host), (~blank).long(), blank)

    def tick(self, engine: Passes, state: Memory, numbers: Sequence[Number], rates: Tensor, loss: Tensor) -> Tensor:
        """Do one tick; return which slots have a new iterate."""
        walk = state.walk
        move = walk.observe(engine, loss)
        walk.weary(move, state)
        good = self._remember(state, move)
        walk.launch(engine, move.ready, self._direction(state, move, good), state)
        return torch.from_numpy(move.accepted)

    @np.errstate(all="ignore")
    def _remember(self, state: Memory, move: Move) -> np.ndarray:
        """Write new pairs of enough curvature into the rings; return where (slots,)."""
        step, change = move.step, move.change
        curvature, squares = dots(step, change), dots(change, change)
        good = move.accepted & (curvature > FLAT * np.sqrt(dots(step, step) * squares))
        written, slots = state.written.numpy(), torch.arange(len(good), device=step.device)
        place = torch.from_numpy(written % self.memory).to(step.device)
        where = torch.from_numpy(good).to(step.device).unsqueeze(1)
        for ring, row in ((state.steps, step), (state.changes, change)):
            ring[slots, place] = torch.where(where, row, ring[slots, place])
        written += good
        np.copyto(state.scale.numpy(), curvature / squares, where=good)
        np.copyto(state.blank.numpy(), False, where=good)
        return good

    def _direction(self, state: Memory, move: Move, good: np.ndarray) -> Tensor:
        """Bring R up to date where a pair is new; return minus the product of H with the gradients."""
        gradient = state.walk.gradient.unsqueeze(1)
        oldest = state.written.unsqueeze(1) + torch.arange(self.memory)
        order = (oldest % self.memory).to(gradient.device)  # (slots, memory) places in the rings, oldest first
        products = torch.bmm(torch.cat([move.change.unsqueeze(1), gradient], 1), state.steps.transpose(1, 2))
        newest, right = products.gather(2, order.unsqueeze(1).expand(-1, 2, -1)).unbind(1)  # S y, S g
        self._extend(state.triangle, newest, torch.from_numpy(good).to(gradient.device))
        first = torch.linalg.solve_triangular(state.triangle, right.unsqueeze(2), upper=True)[:, :, 0]
        rest = gradient - torch.bmm(_ring(first, order).unsqueeze(1), state.changes)
        scale = state.scale.to(gradient).unsqueeze(1)
        seen = torch.bmm(rest, state.changes.transpose(1, 2))[:, 0].gather(1, order)
        right = state.triangle.diagonal(dim1=1, dim2=2) * first - scale * seen
        lower = state.triangle.transpose(1, 2)
        second = torch.linalg.solve_triangular(lower, right.unsqueeze(2), upper=False)[:, :, 0]
        return -(scale * rest[:, 0] + torch.bmm(_ring(second, order).unsqueeze(1), state.steps)[:, 0])

    def _extend(self, triangle: Tensor, newest: Tensor, good: Tensor) -> None:
        """Drop the first row and column and append the column `newest` (slots, memory) where `good`."""
        shifted = torch.where(good.view(-1, 1, 1), triangle[:, 1:, 1:], triangle[:, :-1, :-1])
        last = torch.where(good.unsqueeze(1), newest, triangle[:, :, -1])
        triangle[:, :-1, :-1] = shifted
        triangle[:, :, -1] = last

    def iterate(self, engine: Passes, state: Memory) -> Tensor:
        return state.walk.flat(engine)

    def settled(self, engine: Passes, state: Memory) -> Tensor:
        return torch.from_numpy(state.walk.settled)


def _ring(sorted_: Tensor, order: Tensor) -> Tensor:
    """Return coefficients (slots, memory), oldest first, in the order of the rings."""
    return torch.empty_like(sorted_).scatter_(1, order, sorted_)
