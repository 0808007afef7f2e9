"""Iterates of all slots and the searches between them: what the quasi-Newton methods have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.kernels.updates.line_search import PATIENCE
from hpcsweep.approx.training.operations.passes import Passes
from hpcsweep.approx.training.optimizers.batched_search import Search
from hpcsweep.approx.training.optimizers.optimizer import Number

_LOSS, _DROP, _FAILURES, _FRESH, _SETTLED = range(5)
_UNTOUCHED = (0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass
class QuasiNewtonStep:
    """What one tick brought: rows (slots, parameters), zero where no iterate was accepted; masks (slots,) on the host.

    Attributes
    ----------
    displacement, change : from the last iterate to this one, and of the gradient
    accepted : a new iterate
    ready : a slot that waits for a direction: after a new iterate, the first one, or a failed search
    """

    displacement: Tensor
    change: Tensor
    accepted: np.ndarray
    ready: np.ndarray


@dataclass
class SearchState:
    """The iterates, which lag behind the trials that the engine sees.

    Attributes
    ----------
    weights, gradient, direction, trial : rows (slots, parameters)
    line_search : along the directions
    table : (5, slots) float64 on the CPU. Row by row: the loss at the iterate; by how much it was less than the one
        before; searches in vain since; 1 before the first evaluation; 1 once there is nowhere to go
    """

    weights: Tensor
    gradient: Tensor
    direction: Tensor
    trial: Tensor
    line_search: Search
    table: Tensor

    @staticmethod
    def begin(engine: Passes) -> SearchState:
        """Return the state at the engine's weights; nothing is evaluated."""
        rows, slots = engine.layout.rows(engine.weights), engine.layout.slots
        table = torch.tensor(_UNTOUCHED, dtype=torch.float64).unsqueeze(1).repeat(1, slots)
        gradient, direction = torch.zeros_like(rows), torch.zeros_like(rows)
        return SearchState(rows, gradient, direction, rows.clone(), Search.idle(slots, rows.dtype), table)

    @np.errstate(all="ignore")
    def observe(self, engine: Passes, loss: Tensor) -> QuasiNewtonStep:
        """Evaluate the trials; write the losses at the iterates before this tick into `loss` (slots,)."""
        engine.descend(loss)
        gradient = engine.layout.rows(engine.gradient)
        trial_loss, slope = torch.stack([loss, (gradient * self.direction).sum(1)]).double().cpu().numpy()
        accepted, failed = self.line_search.advance(trial_loss, slope)
        table = self.table.numpy()
        fresh, moving = table[_FRESH] > 0, (table[_FRESH] + table[_SETTLED]) == 0
        accepted, failed = accepted & moving, failed & moving
        arrived = accepted | fresh
        loss.copy_(torch.from_numpy(np.where(fresh, trial_loss, table[_LOSS])))
        np.copyto(table[_DROP], table[_LOSS] - trial_loss, where=accepted)
        np.copyto(table[_LOSS], trial_loss, where=arrived)
        table[_FAILURES] = np.where(arrived, 0, table[_FAILURES] + failed)
        table[_FRESH] = 0
        return self._move(gradient, accepted, arrived, failed)

    def _move(self, gradient: Tensor, accepted: np.ndarray, arrived: np.ndarray, failed: np.ndarray) -> QuasiNewtonStep:
        is_accepted, has_arrived = self._column(accepted), self._column(arrived)
        displacement = torch.where(is_accepted, self.trial - self.weights, 0)
        change = torch.where(is_accepted, gradient - self.gradient, 0)
        self.weights = torch.where(has_arrived, self.trial, self.weights)
        self.gradient = torch.where(has_arrived, gradient, self.gradient)
        return QuasiNewtonStep(displacement, change, accepted, arrived | failed)

    def _column(self, mask: np.ndarray) -> Tensor:
        return torch.from_numpy(mask).to(self.weights.device).unsqueeze(1)

    def flat(self, engine: Passes) -> Tensor:
        """Return the iterates laid out as the engine's weights."""
        buffer = torch.empty_like(engine.weights)
        engine.layout.fill(buffer, self.weights)
        return buffer

    @property
    def loss(self) -> np.ndarray:
        """The losses (slots,) at the iterates, float64."""
        return self.table.numpy()[_LOSS]

    @property
    def settled(self) -> np.ndarray:
        """Which slots (slots,) have nowhere to go, bool."""
        return self.table.numpy()[_SETTLED] > 0

    def stalled(self, ready: np.ndarray) -> np.ndarray:
        """Return which of the slots `ready` have searches that keep failing, (slots,)."""
        return ready & (self.table.numpy()[_FAILURES] >= PATIENCE)

    @np.errstate(all="ignore")
    def launch(self, engine: Passes, ready: np.ndarray, direction: Tensor, curvature: Curvature) -> None:
        """Begin searches in the slots `ready` along `direction` (slots, parameters), and set the engine's weights.

        Where that is no direction of descent the curvature is reset and the negative gradient taken instead. A slot
        whose gradient is zero, or whose searches keep failing, becomes settled.
        """
        table, slope = self.table.numpy(), dots(direction, self.gradient)
        ascending = ready & ~(slope < 0)
        if ascending.any():
            curvature.reset(ascending)
            direction = torch.where(self._column(ascending), -self.gradient, direction)
            slope = np.where(ascending, dots(direction, self.gradient), slope)
        hopeless = (slope == 0) | (table[_FAILURES] >= 2 * PATIENCE)
        table[_SETTLED] = np.where(ready, hopeless, table[_SETTLED])
        ready = ready & ~hopeless
        self.direction = torch.where(self._column(ready), direction, self.direction)
        self.line_search.begin(ready, self.loss, slope, self._first_trial(slope, curvature.blank.numpy()))
        steps = torch.from_numpy(np.where(self.settled, 0, self.line_search.steps))
        self.trial = self.weights + self.direction * steps.to(self.weights).unsqueeze(1)
        engine.layout.fill(engine.weights, self.trial)

    def _first_trial(self, slope: np.ndarray, blank: np.ndarray) -> np.ndarray:
        """Return the first steps (slots,) to try.

        They assume that the loss decreases as it did last time, but are at most 1 (Nocedal and Wright, equation 3.60),
        and at least 0.05; without a scale they move the weights by 1 in all, or by the gradient. After a failure they
        are 1, 2 ... powers of four shorter, or the next search would be the same.
        """
        table = self.table.numpy()
        step = -2.02 * table[_DROP] / slope
        step = np.where(step > 0, np.minimum(np.maximum(step, 0.05), 1), 1)
        if blank.any():
            total = self.gradient.abs().sum(1).double().cpu().numpy()
            step = np.where(blank, np.minimum(1, 1 / total), step)
        return np.ldexp(step, -2 * table[_FAILURES].astype(int))


@dataclass
class Curvature(ABC):
    """The state of a method: its iterates, and what it knows of the second derivatives.

    Attributes
    ----------
    search : the iterates
    blank : (slots,) bool on the CPU: nothing is known, so that directions have no scale
    """

    search: SearchState
    blank: Tensor

    @abstractmethod
    def reset(self, where: np.ndarray) -> None:
        """Forget everything in some slots (slots,)."""

    @abstractmethod
    def update(self, step: QuasiNewtonStep) -> None:
        """Take in what the accepted steps say, where they have enough curvature."""

    @abstractmethod
    def direction(self) -> Tensor:
        """Return minus the product of the inverse Hessian with the gradients, (slots, parameters)."""

    @np.errstate(all="ignore")
    def tick(self, engine: Passes, loss: Tensor) -> Tensor:
        """Do one tick; return which slots have a new iterate."""
        step = self.search.observe(engine, loss)
        self.reset(self.search.stalled(step.ready) & ~self.blank.numpy())
        self.update(step)
        self.search.launch(engine, step.ready, self.direction(), self)
        return torch.from_numpy(step.accepted)


class BatchedQuasiNewton:
    """How the optimizers of this family train a pack: their state, a `Curvature`, does a tick."""

    def tick(self, engine: Passes, state: Curvature, numbers: Sequence[Number], rates: Tensor, loss: Tensor) -> Tensor:
        """Do one tick; return which slots have a new iterate."""
        return state.tick(engine, loss)

    def iterate(self, engine: Passes, state: Curvature) -> Tensor:
        return state.search.flat(engine)

    def settled(self, engine: Passes, state: Curvature) -> Tensor:
        return torch.from_numpy(state.search.settled)


def dots(one: Tensor, other: Tensor) -> np.ndarray:
    """Return the products (slots,) of rows (slots, parameters), float64 on the host."""
    return (one * other).sum(1).double().cpu().numpy()
