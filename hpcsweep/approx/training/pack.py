"""One pack: its cells train together, step by step, and leave one by one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.training import optimizers
from hpcsweep.approx.training.engine import Engine, Layout, full_loss
from hpcsweep.approx.training.record import Record, checkpoints
from hpcsweep.approx.training.samples import FullBatch, Minibatches, Samples
from hpcsweep.approx.training.schedules import Rates
from hpcsweep.approx.training.settings import Settings, Trained
from hpcsweep.approx.training.watch import LONGEST, Watch

_NO_TOLERANCE = -1.0  # no loss is ever so small
_BLOCK = 256  # samples at a time, at least, where the loss on all samples is summed up


@dataclass(frozen=True)
class Cells:
    """What cells start from, one row or entry each.

    Attributes
    ----------
    parameters : (cells, parameters)
    inputs : (cells, samples, dimension), standardised already
    values : (cells, samples)
    settings, seeds : one per cell
    """

    parameters: Tensor
    inputs: Tensor
    values: Tensor
    settings: Sequence[Settings]
    seeds: Sequence[int]

    def part(self, start: int, stop: int) -> Cells:
        """Return the cells start ... stop - 1."""
        rows = slice(start, stop)
        return Cells(self.parameters[rows], self.inputs[rows], self.values[rows], self.settings[rows], self.seeds[rows])

    def padded(self, slots: int) -> Cells:
        """Return these cells followed by networks that are zero and learn zero, `slots` in all."""
        free = slots - len(self.settings)
        grown = [
            torch.cat([rows, rows.new_zeros((free, *rows.shape[1:]))])
            for rows in (self.parameters, self.inputs, self.values)
        ]
        return Cells(*grown, [*self.settings, *self.settings[:1] * free], [*self.seeds, *[0] * free])


class Pack:
    """Trains cells in the first slots of an engine; free slots hold networks that are zero and learn zero.

    So does the slot of a cell that has left: the others do not notice, to the last bit. Losses stay on the device until
    the next look, when a divergence is found out, with the step at which it happened.
    """

    def __init__(self, widths: tuple[int, ...], activation: str, cells: Cells, slots: int) -> None:
        common, count = cells.settings[0], cells.values.shape[1]
        batch = common.minibatch(count)
        self._count, self._common = len(cells.settings), common
        self._record = Record(self._count)
        self._cells = cells = cells.padded(slots)
        self._layout = Layout(widths, slots)
        self._weights = cells.parameters.new_empty(slots * self._layout.parameters)
        self._layout.fill(self._weights, cells.parameters)
        self._before = self._weights.clone()  # the weights to which the last loss belongs
        self._engine = self._judge = Engine(self._layout, activation, batch or count, self._weights)
        if batch is None:
            self._samples: Samples = FullBatch(self._engine, cells.inputs, cells.values)
        else:
            self._samples = Minibatches(self._engine, cells.inputs, cells.values, cells.seeds)
            self._judge = Engine(self._layout, activation, min(count, max(batch, _BLOCK)), self._before)
        self._epoch = -(-count // batch) if batch else 1  # steps between looks at the tolerances
        self._tolerances = self._weights.new_full((slots,), _NO_TOLERANCE)
        for cell, one in enumerate(cells.settings[: self._count]):
            self._tolerances[cell] = one.loss_tolerance if one.loss_tolerance > 0 else _NO_TOLERANCE
        self._tolerant = any(one.loss_tolerance > 0 for one in cells.settings)
        self._optimizer = optimizers.make(common.optimizer, asdict(common))
        self._state = self._optimizer.init(self._engine)
        self._rates = Rates(cells.settings, self._layout, self._weights)
        self._trace = self._weights.new_zeros((LONGEST, slots))
        self._checkpoints = checkpoints(common.steps)
        self._best, self._result = cells.parameters.clone(), cells.parameters.clone()

    def run(self, watch: Watch) -> Trained:
        """Train until every cell has an outcome."""
        begun = time.perf_counter()
        always = self._tolerant and self._epoch == 1
        first = due = 0  # the step whose loss is in the first row of the trace; the step of the next look
        for step in range(self._common.steps + 1):
            loss = self._trace[step - first]
            if always or step == due:
                self._before.copy_(self._weights)
            self._advance(step, loss)
            if step == due or (always and bool((loss <= self._tolerances).any())):
                self._look(first, step, watch)
                if not self._record.active.any():
                    break
                first, due = step + 1, self._next_look(step, watch)
        return self._trained(begun)

    def _advance(self, step: int, loss: Tensor) -> None:
        self._samples.feed(step)
        if step < self._common.steps:
            self._optimizer.step(self._engine, self._state, step, self._rates.at(step), loss)
        else:
            self._engine.loss(loss)  # nothing is left to do but to look

    def _next_look(self, step: int, watch: Watch) -> int:
        checkpoint = int(self._checkpoints[np.searchsorted(self._checkpoints, step, side="right")])
        epoch = (step // self._epoch + 1) * self._epoch if self._tolerant and self._epoch > 1 else checkpoint
        return min(step + watch.pause(step), checkpoint, epoch)

    def _look(self, first: int, step: int, watch: Watch) -> None:
        """Read the losses of the steps `first` ... `step`; let those cells leave that have come to an end."""
        losses = self._trace[: step - first + 1].double().cpu().numpy()[:, : self._count]  # (steps, cells)
        self._leave_diverged(first, losses)
        if step in self._checkpoints:
            better = np.flatnonzero(self._record.note(step, losses[-1]))
            self._best[better] = self._layout.rows(self._before)[better]
        if self._tolerant and step % self._epoch == 0:
            self._leave_within_tolerance(step, losses[-1])
        verdict = "done" if step == self._common.steps else watch.verdict()
        if verdict:
            message = "" if verdict == "done" else f"Stopped at step {step} of {self._common.steps}."
            self._leave(np.flatnonzero(self._record.active), step, losses[-1], verdict, message)
        watch.progress(step / max(self._common.steps, 1))

    def _leave_diverged(self, first: int, losses: np.ndarray) -> None:
        infinite = ~np.isfinite(losses)
        for cell in np.flatnonzero(infinite.any(axis=0) & self._record.active):
            row = int(infinite[:, cell].argmax())
            loss = float(losses[row, cell])
            self._result[cell] = self._best[cell]
            self._record.finish(cell, first + row, loss, "diverged", f"The loss was {loss} at step {first + row}.")
            self._silence(cell)

    def _leave_within_tolerance(self, step: int, losses: np.ndarray) -> None:
        full_batch = self._judge is self._engine
        whole = losses if full_batch else self._full_losses()
        reached = self._record.active & (whole <= self._tolerances.double().cpu().numpy()[: self._count])
        self._leave(np.flatnonzero(reached), step, losses, "done", f"Within the loss tolerance at step {step}.")

    def _leave(self, cells: np.ndarray, step: int, losses: np.ndarray, outcome: str, message: str) -> None:
        if len(cells) == 0:
            return
        self._result[cells] = self._layout.rows(self._before)[cells]
        for cell in cells:
            self._record.finish(cell, step, float(losses[cell]), outcome, message)
        if self._record.active.any():  # else nobody computes on
            for cell in cells:
                self._silence(cell)

    def _silence(self, cell: int) -> None:
        self._samples.silence(cell)
        self._optimizer.forget(self._engine, self._state, cell)
        self._tolerances[cell] = _NO_TOLERANCE

    def _full_losses(self) -> np.ndarray:
        """Return the losses on all samples at the weights of the judge, (cells,) float64."""
        losses = full_loss(self._judge, self._cells.inputs, self._cells.values)
        return losses.double().cpu().numpy()[: self._count]

    def _trained(self, begun: float) -> Trained:
        self._layout.fill(self._judge.weights, self._result)
        losses, record = self._full_losses(), self._record
        for cell in np.flatnonzero(~np.isfinite(losses)):
            if record.outcome[cell] != "diverged":  # no minibatch has seen it
                record.outcome[cell] = "diverged"
                record.message[cell] = f"The loss on all samples was {losses[cell]} at step {record.steps[cell]}."
        return Trained(
            parameters=self._result[: self._count],
            outcome=record.outcome,
            message=record.message,
            steps=record.steps,
            loss=losses,
            history_step=record.history_step,
            history_loss=record.history_loss,
            seconds=time.perf_counter() - begun,
        )
