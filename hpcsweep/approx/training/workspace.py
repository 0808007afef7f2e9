"""Everything of a pack that is as large as its slots: weights, samples, the state of the optimizer, losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.models import Model
from hpcsweep.approx.training import graph, losses, optimizers, state
from hpcsweep.approx.training.engine import full_loss
from hpcsweep.approx.training.general import layout_of, passes_of
from hpcsweep.approx.training.passes import Passes
from hpcsweep.approx.training.samples import Cells, FullBatch, Minibatches, Samples
from hpcsweep.approx.training.schedules import Rates
from hpcsweep.approx.training.settings import Settings

_BLOCK = 256  # samples at a time, at least, where the loss on all samples is summed up


@dataclass(frozen=True)
class Task:
    """What all slots of a pack do: a model of their shape, the cells to choose from, the part of their chains."""

    model: Model
    cells: Cells
    part: int = 0

    def settings(self, cell: int) -> Settings:
        """Return the settings of a cell for this part of its chain."""
        return self.cells.settings[cell].chain[self.part]

    @property
    def common(self) -> Settings:
        """The settings that all cells share."""
        return self.settings(0)

    @property
    def batch(self) -> int | None:
        """Samples of a step, None for all."""
        return self.common.minibatch(self.cells.values.shape[1])


class Workspace:
    """Slots in which cells are trained; free ones hold networks that are zero and learn zero.

    Attributes
    ----------
    layout, engine, optimizer : see there
    before : a flat buffer for the iterates before a tick, those to which its losses belong
    """

    def __init__(self, task: Task, tenants: np.ndarray, starts: Tensor) -> None:
        """Put cells (a negative number is nobody) into slots; they begin at their rows of `starts`."""
        self.task, slots, count = task, len(tenants), task.cells.values.shape[1]
        self._loss = loss = losses.make(task.common.power)
        batch = task.batch
        self.layout = layout_of(task.model, slots)
        weights = starts.new_zeros(slots * self.layout.parameters)
        self.before = torch.zeros_like(weights)
        self.engine = passes_of(task.model, self.layout, batch or count, weights, loss)
        self._judge: Passes | None = None
        self._samples: Samples = FullBatch(self.engine, task.cells)
        if batch is not None:
            self._samples = self._table = Minibatches(self.engine, task.cells)
            block = min(count, max(batch, _BLOCK))
            self._judge = passes_of(task.model, self.layout, block, self.before, loss)
        self._rates = Rates([task.common] * slots, self.layout, weights)
        self.optimizer = optimizers.make(task.common.optimizer, vars(task.common))
        for slot, cell in enumerate(tenants.tolist()):
            if cell >= 0:
                self._put(slot, cell, starts[cell])
        self._state = self.optimizer.init(self.engine)
        self._replay: graph.Replay | None = None

    def _put(self, slot: int, cell: int, start: Tensor) -> None:
        self._samples.put(slot, cell)
        self._rates.put(slot, self.task.settings(cell))
        self._fill(slot, start)

    def _fill(self, slot: int, row: Tensor) -> None:
        blocks = self.layout.blocks(self.engine.weights)
        for block, part in zip(blocks, row.split([block[0].numel() for block in blocks]), strict=True):
            block[slot] = part.view(block[slot].shape)

    def put(self, slot: int, cell: int, start: Tensor) -> None:
        """Let a cell begin in a free slot from the parameters `start` (parameters,)."""
        self._put(slot, cell, start)
        self.optimizer.forget(self.engine, self._state, slot)

    def silence(self, slot: int) -> None:
        """Make a slot free."""
        self._samples.silence(slot)
        self.optimizer.forget(self.engine, self._state, slot)

    def keep(self) -> None:
        """Copy the iterates to `before`."""
        self.before.copy_(self.optimizer.iterate(self.engine, self._state))

    def rows(self, slots: Sequence[int]) -> Tensor:
        """Return the parameters (slots, parameters) in `before` of some slots."""
        index = torch.tensor(slots, device=self.before.device)
        return torch.cat([block[index].flatten(1) for block in self.layout.blocks(self.before)], dim=1)

    def advance(self, tick: int, steps: np.ndarray, done: np.ndarray, loss: Tensor) -> np.ndarray | None:
        """Do one tick; return which slots completed a step, None if all.

        Parameters
        ----------
        tick : ticks of the pack so far
        steps, done : (slots,) steps of each slot in this part, and in all
        loss : (slots,), receives the losses of the iterates before the tick
        """
        self._samples.feed(done)
        rates = self._rates.at(steps)
        if self._replay is None and graph.possible(self.optimizer, self.engine):
            self._replay = graph.Replay(self.optimizer, self.engine, self._state, rates)  # type: ignore[arg-type]
        if self._replay is not None:
            self._replay.step(tick, loss)
            return None
        advanced = self.optimizer.step(self.engine, self._state, tick, rates, loss)
        return None if advanced is None else advanced.cpu().numpy()

    def settled(self) -> np.ndarray | None:
        """Return which slots will get no further, (slots,) bool; None if there is no telling."""
        settled = self.optimizer.settled(self.engine, self._state)
        return None if settled is None else settled.cpu().numpy()

    def full_losses(self) -> np.ndarray:
        """Return the losses on all samples at the parameters in `before`, (slots,) float64, for minibatches."""
        assert self._judge is not None
        table, dimension = self._table.table, self.task.model.dimension
        importance = table[:, :, dimension + 1] if table.shape[2] > dimension + 1 else None
        losses = full_loss(self._judge, table[:, :, :dimension], table[:, :, dimension], importance)
        return losses.double().cpu().numpy()

    def slopes(self) -> np.ndarray:
        """Return the largest component of the gradient at the parameters in `before`, (slots,) float64; all samples."""
        if self._judge is None:
            self._judge = passes_of(self.task.model, self.layout, self.engine.samples, self.before, self._loss)
        judge = self._judge
        judge.points.copy_(self.engine.points)
        judge.values.copy_(self.engine.values)
        judge.importance = self.engine.importance
        judge.descend(self.before.new_empty(self.layout.slots))
        return self.layout.rows(judge.gradient).abs().amax(dim=1).double().cpu().numpy()

    def shrunk(self, slots: np.ndarray, tenants: np.ndarray, starts: Tensor) -> Workspace | None:
        """Return a workspace of these slots alone, where `tenants` go on; None if the optimizer cannot shrink."""
        index = torch.from_numpy(slots).to(self.before.device)
        small = Workspace(self.task, tenants, starts)
        taken = state.taken(self._state, small._state, index, self.layout, small.layout)
        if taken is None:
            return None
        small._state = taken
        small.layout.fill(small.engine.weights, self.layout.rows(self.engine.weights)[index])
        return small

    def state(self) -> dict[str, Any]:
        """Return a copy of weights and optimizer state: plain values and tensors."""
        leaves = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in state.leaves(self._state)]
        return {"weights": self.layout.rows(self.engine.weights), "optimizer": leaves}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take up a state of the same slots."""
        self.layout.fill(self.engine.weights, saved["weights"].to(self.engine.weights))
        self._state, self._replay = state.restored(self._state, saved["optimizer"]), None
