"""Iterates of all slots and the searches between them: what the methods with a line search have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.kernels.updates.line_search import PATIENCE
from hpcsweep.approx.training.operations.passes import Passes
from hpcsweep.approx.training.optimizers.batched_search import Search

_LOSS, _DROP, _FAILURES, _FRESH, _SETTLED = range(5)
_UNTOUCHED = (0.0, 0.0, 0.0, 1.0, 0.0)


class Curvature(Protocol):
    """What a method knows of the second derivatives.

    Attributes
    ----------
    blank : (slots,) bool on the CPU: nothing, so that its directions have no scale
    """

    blank: Tensor

    def reset(self, where: np.ndarray) -> None:
        """Forget everything in some slots (slots,)."""
        ...


@dataclass
class QuasiNewtonStep:
    """What one tick brought: rows (slots, parameters), zero where no iterate was accepted; masks (slots,) on the host.

    Attributes
    ----------
    step, change : from the last iterate to this one, and of the gradient
    accepted : a new iterate
    ready : a slot that waits for a direction: after a new iterate, the first one, or a failed search
    """

    step: Tensor
    change: Tensor
    accepted: np.ndarray
    ready: np.ndarray


@dataclass
class SearchState:
    """The iterates, which lag behind the trials that the engine sees.

    Attributes
    ----------
    weights, gradient, direction, trial : rows (slots, parameters)
    search : along the directions
    table : (5, slots) float64 on the CPU. Row by row: the loss at the iterate; by how much it was less than the one
        before; searches in vain since; 1 before the first evaluation; 1 once there is nowhere to go
    """

    weights: Tensor
    gradient: Tensor
    direction: Tensor
    trial: Tensor
    search: Search
    table: Tensor

    @staticmethod
    def begin(engine: Passes) -> SearchState:
        """Return walks that start from the engine's weights; nothing is evaluated."""
        rows, slots = engine.layout.rows(engine.weights), engine.layout.slots
        table = torch.tensor(_UNTOUCHED, dtype=torch.float64).unsqueeze(1).repeat(1, slots)
        gradient, direction = torch.zeros_like(rows), torch.zeros_like(rows)
        return SearchState(rows, gradient, direction, rows.clone(), Search.idle(slots, rows.dtype), table)

    @np.errstate(all="ignore")
    def observe(self, engine: Passes, loss: Tensor) -> QuasiNewtonStep:
        """Evaluate the trials; write the losses at the iterates before this tick into `loss` (slots,)."""
        engine.descend(loss)
        gradient = engine.layout.rows(engine.gradient)
        found, slope = torch.stack([loss, (gradient * self.direction).sum(1)]).double().cpu().numpy()
        accepted, failed = self.search.advance(found, slope)
        table = self.table.numpy()
        fresh, moving = table[_FRESH] > 0, (table[_FRESH] + table[_SETTLED]) == 0
        accepted, failed = accepted & moving, failed & moving
        arrived = accepted | fresh
        loss.copy_(torch.from_numpy(np.where(fresh, found, table[_LOSS])))
        np.copyto(table[_DROP], table[_LOSS] - found, where=accepted)
        np.copyto(table[_LOSS], found, where=arrived)
        table[_FAILURES] = np.where(arrived, 0, table[_FAILURES] + failed)
        table[_FRESH] = 0
        return self._move(gradient, accepted, arrived, failed)

    def _move(self, gradient: Tensor, accepted: np.ndarray, arrived: np.ndarray, failed: np.ndarray) -> QuasiNewtonStep:
        taken, there = self._column(accepted), self._column(arrived)
        step = torch.where(taken, self.trial - self.weights, 0)
        change = torch.where(taken, gradient - self.gradient, 0)
        self.weights = torch.where(there, self.trial, self.weights)
        self.gradient = torch.where(there, gradient, self.gradient)
        return QuasiNewtonStep(step, change, accepted, arrived | failed)

    def _column(self, mask: np.ndarray) -> Tensor:
        return torch.from_numpy(mask).to(self.weights.device).unsqueeze(1)

    def flat(self, engine: Passes) -> Tensor:
        """Return the iterates laid out as the engine's weights."""
        buffer = torch.empty_like(engine.weights)
        engine.layout.fill(buffer, self.weights)
        return buffer

    def reset_if_stalled(self, move: QuasiNewtonStep, curvature: Curvature) -> None:
        """Reset the curvature where searches keep failing."""
        curvature.reset(move.ready & (self.table.numpy()[_FAILURES] >= PATIENCE) & ~curvature.blank.numpy())

    @property
    def loss(self) -> np.ndarray:
        """The losses (slots,) at the iterates, float64."""
        return self.table.numpy()[_LOSS]

    @property
    def settled(self) -> np.ndarray:
        """Which slots (slots,) have nowhere to go, bool."""
        return self.table.numpy()[_SETTLED] > 0

    @np.errstate(all="ignore")
    def launch(self, engine: Passes, ready: np.ndarray, direction: Tensor, curvature: Curvature) -> None:
        """Begin searches in the slots `ready` along `direction` (slots, parameters), and set the engine's weights.

        Where that is no direction of descent the curvature is reset and the negative gradient taken instead. A slot
        whose gradient is zero, or whose searches keep failing, becomes settled.
        """
        table, slope = self.table.numpy(), dots(direction, self.gradient)
        lost = ready & ~(slope < 0)
        if lost.any():
            curvature.reset(lost)
            direction = torch.where(self._column(lost), -self.gradient, direction)
            slope = np.where(lost, dots(direction, self.gradient), slope)
        hopeless = (slope == 0) | (table[_FAILURES] >= 2 * PATIENCE)
        table[_SETTLED] = np.where(ready, hopeless, table[_SETTLED])
        ready = ready & ~hopeless
        self.direction = torch.where(self._column(ready), direction, self.direction)
        self.search.begin(ready, self.loss, slope, self._first_trial(slope, curvature.blank.numpy()))
        steps = torch.from_numpy(np.where(self.settled, 0, self.search.steps))
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


def dots(one: Tensor, other: Tensor) -> np.ndarray:
    """Return the products (slots,) of rows (slots, parameters), float64 on the host."""
    return (one * other).sum(1).double().cpu().numpy()
