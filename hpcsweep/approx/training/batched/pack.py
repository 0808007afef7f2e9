"""One pack: its cells begin together, train tick by tick, and leave one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcsweep.approx.training.batched.monitor import LONGEST, Monitor
from hpcsweep.approx.training.batched.samples import TrainingSet
from hpcsweep.approx.training.batched.workspace import Task, Workspace
from hpcsweep.approx.training.record import TrainingRecord, checkpoints, judged, patience

__all__ = ["BatchedTraining", "Task", "TrainingSet"]


@dataclass
class Progress:
    """How far a pack has come, with one entry per slot; what is saved of it beside its workspace.

    Attributes
    ----------
    tick : ticks done
    active : whether the cell is still here
    steps : steps that it has done in this part of its chain
    due : the step of this part at which it must be looked at
    slope : the largest component of its gradient at the start of this part, NaN if nobody asked
    """

    tick: int
    active: np.ndarray
    steps: np.ndarray
    due: np.ndarray
    slope: np.ndarray

    @staticmethod
    def none(slots: int, cells: int) -> Progress:
        """Return that of slots of which the first `cells` are in use."""
        steps, due = np.zeros((2, slots), dtype=np.int64)
        return Progress(0, np.arange(slots) < cells, steps, due, np.full(slots, np.nan))


class BatchedTraining:
    """Trains cells in the slots of a workspace, for one part of their chains.

    A *tick* is one evaluation of all slots, a *step* what the optimizer of a slot completes in one tick or in several.
    Losses stay on the device until the next look, when a divergence is found out, with the step at which it happened.
    Looks happen when a slot is at a checkpoint or at its end, when a loss is within its tolerance, and now and then.
    A slot whose cell has left computes on, unheeded, until all cells have left; so do slots beyond the cells.
    None of this changes the bits of a cell: not its slot, its companions, or the looks.
    """

    def __init__(
        self,
        task: Task,
        slots: int,
        record: TrainingRecord,
        rows: Sequence[int],
        saved: Mapping[str, Any] | None = None,
    ) -> None:
        """Put the cells `rows` into slots; they begin at `record.last`, and the record tells of them.

        `saved`: take up this `state` of a pack made with the same other arguments; the record must be the one of that
        time.
        """
        self._task, self._record = task, record
        common, count, batch = task.common, task.cells.values.shape[1], task.batch
        chain = task.cells.settings[0].chain
        self._end, self._total = common.steps, sum(part.steps for part in chain)
        self._final = task.part == len(chain) - 1
        self._marks = checkpoints(self._total)
        self._marked = frozenset(self._marks.tolist())
        self._epoch = -(-count // batch) if batch else 1  # steps between looks at the tolerances
        self._judged = judged(common.steps, batch, count) if batch and common.keep == "best" else None
        self._patience = patience(common.steps)
        self._rows, filled = len(rows), [*rows, *[rows[-1]] * (slots - len(rows))]  # the last cell fills the pack up
        self._cells = np.array(filled)
        self._earlier = record.steps[self._cells]  # steps in earlier parts of the chain
        self._flatness = np.array([task.settings(cell).gradient_tolerance for cell in filled])
        self._workspace = Workspace(task, filled, record.last, self._earlier)
        self._progress = Progress.none(slots, len(rows))
        if saved is not None:
            self._progress = Progress(**deepcopy(saved["progress"]))
            self._workspace.restore(saved["workspace"])
        self._furnish([task.settings(cell).loss_tolerance for cell in filled])

    def _furnish(self, tolerances: Sequence[float]) -> None:
        """Make room for what is on the device."""
        slots, before = len(tolerances), self._workspace.before
        self._tolerant = any(tolerance > 0 for tolerance in tolerances)
        self._limits = before.new_tensor([tolerance if tolerance > 0 else -1.0 for tolerance in tolerances])
        self._limits[~self._progress.active] = -1.0  # no loss is ever so small
        self._trace = before.new_zeros((LONGEST, slots))  # losses since the last look
        self._traced = np.zeros((LONGEST, slots), dtype=np.int64)  # the steps to which they belong
        self._at = self._traced[0]  # the steps to which the last of them belong
        self._first = self._look_at = self._progress.tick  # the tick of the first of them; that of the next look

    def state(self) -> dict[str, Any]:
        """Return what a later pack can take up, in plain values, arrays and tensors; between two ticks."""
        return {"progress": deepcopy(vars(self._progress)), "workspace": self._workspace.state()}

    def run(self, monitor: Monitor) -> None:
        """Train until every cell has left."""
        while self._progress.active.any():
            self._advance(monitor)

    def _advance(self, monitor: Monitor) -> None:
        """Do one tick, and look if it is time to."""
        progress, workspace = self._progress, self._workspace
        row, settled = progress.tick - self._first, workspace.settled() & progress.active
        look = progress.tick >= self._look_at or bool(settled.any())
        always = self._tolerant and self._epoch == 1
        if look or always:
            workspace.keep()
        loss, self._at = self._trace[row], self._traced[row]
        self._at[:] = progress.steps
        progress.steps += workspace.advance(progress.tick, loss)
        progress.tick += 1
        if look or (always and bool((loss <= self._limits).any())):
            losses = self._trace[: row + 1].double().cpu().numpy()  # (ticks, slots)
            self._look(losses, settled)
            self._first = progress.tick
            self._after(losses[-1], monitor)

    def _look(self, losses: np.ndarray, settled: np.ndarray) -> None:
        """Read the losses since the last look; let those cells leave that have come to an end."""
        at, last = self._at, losses[-1]
        self._leave_diverged(losses)
        due = self._those(at >= self._progress.due)
        whole = self._judgement(due, last)
        self._note(due, last, whole)
        steps = list(zip(self._earlier[due].tolist(), at[due].tolist(), strict=True))
        events = {pair: self._next_event(*pair) for pair in set(steps)}  # most slots share them
        self._progress.due[due] = [events[pair] for pair in steps]
        if self._tolerant:
            within = (whole <= self._limits.double().cpu().numpy()) & (at % self._epoch == 0)
            self._leave(self._those(within), whole, "Within the loss tolerance at step {step}.")
        self._leave_flat(due, last)
        self._leave(self._those(at >= self._end), last)
        self._leave(self._those(settled), last, "No further progress was possible after step {step} of {total}.")
        late = self._those(np.full(len(at), self._progress.tick > self._patience))
        self._leave(late, last, f"Given up after {self._patience} evaluations, at step {{step}} of {{total}}.")

    def _those(self, where: np.ndarray) -> np.ndarray:
        """Return the slots in use where something is so."""
        return np.flatnonzero(self._progress.active & where)

    def _judgement(self, due: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Return the losses on all samples, (slots,), NaN where that would take an evaluation not worth its time."""
        if self._task.batch is None:
            return last
        steps = self._at[due]
        epoch = self._tolerant and bool((steps % self._epoch == 0).any())
        best = self._judged is not None and bool(np.isin(steps, self._judged).any())
        return self._workspace.full_losses() if epoch or best else np.full(len(last), np.nan)

    def _note(self, due: np.ndarray, last: np.ndarray, whole: np.ndarray) -> None:
        """Take down the losses of slots at a checkpoint, and their parameters if they are the best."""
        better = []
        for slot in due.tolist():
            cell, step = int(self._cells[slot]), int(self._at[slot])
            marked = int(self._earlier[slot]) + step in self._marked
            if marked:
                self._record.note(cell, int(self._earlier[slot]) + step, float(last[slot]))
            if self._judged is None:
                counts, score = marked, last[slot]
            else:
                counts, score = step in self._judged, whole[slot]
            if counts and self._record.improves(cell, float(score)):
                better.append(slot)
        if better:
            self._record.best[self._cells[better]] = self._workspace.rows(better)

    def _next_event(self, earlier: int, step: int) -> int:
        """Return the next step at which to look at a slot that has done `step` steps, and `earlier` in other parts."""
        following = np.searchsorted(self._marks, earlier + step, side="right")
        events = [self._end, *(self._marks[following : following + 1] - earlier)]
        if self._tolerant and self._epoch > 1:
            events.append((step // self._epoch + 1) * self._epoch)
        if self._judged is not None:
            events += self._judged[np.searchsorted(self._judged, step, side="right") :][:1].tolist()
        return int(min(event for event in events if event > step or event == self._end))

    def _leave_diverged(self, losses: np.ndarray) -> None:
        infinite, record = ~np.isfinite(losses), self._record
        slots = self._those(infinite.any(axis=0))
        for slot in slots.tolist():
            row, cell = int(infinite[:, slot].argmax()), int(self._cells[slot])
            loss, step = float(losses[row, slot]), int(self._earlier[slot] + self._traced[row, slot])
            record.last[cell] = record.best[cell]
            record.leave(cell, step, loss)
            record.finish(cell, "diverged", f"The loss was {loss} at step {step}.")
        if len(slots):
            self._vacate(slots)

    def _leave_flat(self, due: np.ndarray, losses: np.ndarray) -> None:
        """At checkpoints only: the gradient there takes an evaluation of its own, whatever the optimizer knows."""
        due = due[self._progress.active[due] & (self._flatness[due] > 0)]
        if not len(due):
            return
        slopes, first = self._workspace.slopes(), self._progress.slope
        np.copyto(first, slopes, where=self._at == 0)
        flat = due[slopes[due] <= self._flatness[due] * first[due]]
        self._leave(flat, losses, "Within the gradient tolerance at step {step}.")

    def _leave(self, slots: np.ndarray, losses: np.ndarray, message: str = "", outcome: str = "done") -> None:
        """Let cells leave with the parameters of before this tick, and their losses there."""
        if not len(slots):
            return
        cells, record = self._cells[slots], self._record
        record.last[cells] = self._workspace.rows(slots.tolist())
        for slot, cell in zip(slots.tolist(), cells.tolist(), strict=True):
            step = int(self._earlier[slot] + self._at[slot])
            record.leave(cell, step, float(losses[slot]))
            if self._final or outcome == "interrupted":
                record.finish(cell, outcome, message.format(step=step, total=self._total))
        self._vacate(slots)

    def _vacate(self, slots: np.ndarray) -> None:
        self._progress.active[slots] = False
        self._limits[slots] = -1.0

    def _after(self, losses: np.ndarray, monitor: Monitor) -> None:
        """After a look: heed requests to stop, save, report, and decide when to look again."""
        progress, verdict = self._progress, monitor.verdict()
        if monitor.saves(verdict):
            monitor.save(self.state())
        if verdict:
            self._leave(np.flatnonzero(progress.active), losses, "Stopped at step {step} of {total}.", verdict)
        here = progress.active
        work = progress.steps[here].sum() / max(self._end, 1)
        monitor.progress(float((self._rows - here.sum() + work) / self._rows))
        if here.any():  # a tick completes one step at most
            wait = min((progress.due - progress.steps)[here].min(), self._patience - progress.tick)
            self._look_at = progress.tick + min(monitor.pause(progress.tick), LONGEST, 1 + max(0, int(wait))) - 1
