"""Everything of a pack that is as large as its slots: weights, samples, the state of the optimizer, losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.models import Model
from hpcsweep.approx.training.batched import graph
from hpcsweep.approx.training.batched.general import layout_of, passes_of
from hpcsweep.approx.training.batched.samples import Minibatches, TrainingSet
from hpcsweep.approx.training.batched.schedules import Rates
from hpcsweep.approx.training.operations import losses
from hpcsweep.approx.training.operations.engine import full_loss
from hpcsweep.approx.training.operations.passes import Passes
from hpcsweep.approx.training.settings import method_of
from hpcsweep.config import OptimizerConfig

_BLOCK = 256  # samples at a time, at least, where the loss on all samples is summed up


@dataclass(frozen=True)
class Task:
    """What all slots of a pack do: a model of their shape, the cells to choose from, the part of their chains."""

    model: Model
    cells: TrainingSet
    part: int = 0

    def settings(self, cell: int) -> OptimizerConfig:
        """Return the settings of a cell for this part of its chain."""
        return self.cells.settings[cell].chain[self.part]

    @property
    def common(self) -> OptimizerConfig:
        """The settings that all cells share."""
        return self.settings(0)

    @property
    def batch(self) -> int | None:
        """Samples of a step, None for all."""
        return self.common.minibatch(self.cells.values.shape[1])


class Workspace:
    """The slots in which some cells are trained.

    Attributes
    ----------
    before : a flat buffer for the iterates before a tick, those to which its losses belong
    """

    def __init__(self, task: Task, rows: Sequence[int], starts: Tensor, done: np.ndarray) -> None:
        """Put the cells `rows` into slots; they begin at their rows of `starts`, with so many steps (slots,) `done`."""
        self._task, cells, batch = task, task.cells, task.batch
        self._index = torch.tensor(rows, device=starts.device)
        self._layout = layout_of(task.model, len(rows))
        weights = starts.new_empty(len(rows) * self._layout.parameters)
        self._layout.fill(weights, starts[self._index])
        self.before = weights.clone()
        self._engine = self._passes(batch or cells.values.shape[1], weights)
        self._judge: Passes | None = None
        self._minibatches: Minibatches | None = None
        if batch is None:
            self._feed(self._engine)
        else:
            self._minibatches = Minibatches(self._engine, cells, rows, done)
            self._judge = self._passes(min(cells.values.shape[1], max(batch, _BLOCK)), self.before)
        self._rates = Rates([task.settings(row) for row in rows], self._layout, weights)
        self._optimizer = method_of(task.common)
        self._state = self._optimizer.init(self._engine)
        self._replay: graph.Replay | None = None

    def _passes(self, samples: int, weights: Tensor) -> Passes:
        return passes_of(self._task.model, self._layout, samples, weights, losses.make(self._task.common.power))

    def _feed(self, passes: Passes) -> None:
        """Let some passes see all samples."""
        cells = self._task.cells
        passes.feed(cells.inputs[self._index], cells.values[self._index])

    def keep(self) -> None:
        """Copy the iterates to `before`."""
        self.before.copy_(self._optimizer.iterate(self._engine, self._state))

    def rows(self, slots: Sequence[int]) -> Tensor:
        """Return the parameters (slots, parameters) in `before` of some slots."""
        return self._layout.rows(self.before)[torch.tensor(slots, device=self.before.device)]

    def advance(self, tick: int, loss: Tensor) -> np.ndarray | int:
        """Do one tick after so many; write the losses of the iterates before it into `loss` (slots,).

        Return how many steps, 0 or 1, each slot completed.
        """
        if self._minibatches is not None:
            self._minibatches.feed(tick)
        rates = self._rates.at(tick)
        if self._replay is None and graph.possible(self._engine):
            self._replay = graph.Replay(self._optimizer, self._engine, self._state, rates)
        if self._replay is not None:
            advanced = self._replay.step(tick, loss)
        else:
            advanced = self._optimizer.step(self._engine, self._state, tick, rates, loss)
        return 1 if advanced is None else advanced.cpu().numpy()

    def settled(self) -> np.ndarray | bool:
        """Return which slots will get no further, (slots,) bool; False if there is no telling."""
        settled = self._optimizer.settled(self._engine, self._state)
        return False if settled is None else settled.cpu().numpy()

    def full_losses(self) -> np.ndarray:
        """Return the losses on all samples at the parameters in `before`, (slots,) float64, for minibatches."""
        assert self._minibatches is not None and self._judge is not None
        table, dimension = self._minibatches.table, self._task.model.dimension
        losses_of_slots = full_loss(self._judge, table[:, :, :dimension], table[:, :, dimension])
        return losses_of_slots.double().cpu().numpy()

    def slopes(self) -> np.ndarray:
        """Return the largest component of the gradient at the parameters in `before`, (slots,) float64; all samples."""
        if self._judge is None:
            self._judge = self._passes(self._engine.samples, self.before)
            self._feed(self._judge)
        self._judge.descend(self.before.new_empty(self._layout.slots))
        return self._layout.rows(self._judge.gradient).abs().amax(dim=1).double().cpu().numpy()

    def state(self) -> dict[str, Any]:
        """Return a copy of weights and optimizer state: plain values and tensors."""
        tensors = [tensor.clone() for tensor in _tensors(self._state)]
        return {"weights": self._engine.weights.clone(), "optimizer": tensors}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take up a state of the same slots."""
        kept = [self._engine.weights, *_tensors(self._state)]
        for tensor, value in zip(kept, [saved["weights"], *saved["optimizer"]], strict=True):
            tensor.copy_(value)


def _tensors(state: Any) -> list[Tensor]:
    """Return the tensors in nested dataclasses and lists, in a fixed order."""
    if isinstance(state, Tensor):
        return [state]
    if is_dataclass(state):
        state = [getattr(state, field.name) for field in fields(state)]
    return [tensor for part in state for tensor in _tensors(part)] if isinstance(state, list) else []
