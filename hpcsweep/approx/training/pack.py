"""One pack: its cells train together, tick by tick, and leave one by one; others may take their slots."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hpcsweep.approx.training.record import Record, checkpoints, judged
from hpcsweep.approx.training.samples import Cells
from hpcsweep.approx.training.seats import FREE, Seats
from hpcsweep.approx.training.watch import LONGEST, Watch
from hpcsweep.approx.training.workspace import Task, Workspace

__all__ = ["Cells", "Pack", "Task"]

_PATIENCE = (20, 100)  # ticks: so many for each step, and so many besides; then a cell has to leave


class Pack:
    """Trains cells in the slots of a workspace, for one part of their chains.

    A *tick* is one evaluation of all slots, a *step* what the optimizer of a slot completes in one tick or in several.
    Losses stay on the device until the next look, when a divergence is found out, with the step at which it happened.
    Looks happen when a slot is at a checkpoint or at its end, when a loss is within its tolerance, and now and then.
    None of this changes the bits of a cell: not its slot, its companions, the ticks before it came, or the looks.
    """

    def __init__(
        self,
        task: Task,
        slots: int,
        record: Record,
        rows: Sequence[int],
        shrink: bool = False,
        saved: Mapping[str, Any] | None = None,
    ) -> None:
        """Let the cells `rows` pass through `slots` slots; they begin at `record.last`, and the record tells of them.

        `shrink`: let the pack become smaller when at most half of its slots are in use. `saved`: take up this `state`
        of a pack made with the same other arguments; the record must be the one of that time.
        """
        self._task, self._record, self._shrink = task, record, shrink
        common, count, batch = task.common, task.cells.values.shape[1], task.batch
        chain = task.cells.settings[0].chain
        self._steps, self._total = common.steps, sum(part.steps for part in chain)
        self._final = task.part == len(chain) - 1
        self._marks = checkpoints(self._total)
        self._marked = frozenset(self._marks.tolist())
        self._epoch = -(-count // batch) if batch else 1  # steps between looks at the tolerances
        self._judged = judged(common.steps, batch, count) if batch and common.keep == "best" else None
        self._flattening = any(task.settings(cell).gradient_tolerance > 0 for cell in rows)
        self._tolerant = any(task.settings(cell).loss_tolerance > 0 for cell in rows)
        each, besides = _PATIENCE
        self._patience = each * common.steps + besides
        self._cells = len(rows)
        if saved is None:
            self._tick, self._queue, self._seats = 0, deque(int(cell) for cell in rows), Seats.free(slots)
            for slot in range(min(slots, len(rows))):
                self._sit(slot)
        else:
            self._tick, self._queue, self._seats = saved["tick"], deque(saved["queue"]), Seats.restored(saved["seats"])
        self._furnish(Workspace(task, self._seats.cells, record.last))
        if saved is not None:
            self._workspace.restore(saved)

    def _sit(self, slot: int) -> int:
        cell = self._queue.popleft()
        self._seats.put(slot, cell, int(self._record.steps[cell]), self._tick)
        return cell

    def _furnish(self, workspace: Workspace) -> None:
        """Work in this workspace from now on."""
        self._workspace = workspace
        slots = len(self._seats.cells)
        self._tolerances = workspace.before.new_full((slots,), -1.0)  # no loss is ever so small
        for slot in self._seats.occupied:
            self._tolerate(slot)
        self._trace = workspace.before.new_zeros((LONGEST, slots))
        self._traced = np.zeros((LONGEST, slots), dtype=np.int64)  # the steps to which those losses belong
        self._first = self._due = self._tick  # the tick whose losses are the first in the trace; that of the next look

    def _tolerate(self, slot: int) -> None:
        tolerance = self._task.settings(self._seats.cells[slot]).loss_tolerance
        self._tolerances[slot] = tolerance if tolerance > 0 else -1.0

    def run(self, watch: Watch) -> None:
        """Train until every cell has left."""
        busy = True
        while busy:
            if self._advance(watch):
                self._refill()
                self._compact()
                busy = bool(len(self._seats.occupied) or self._queue)

    def _advance(self, watch: Watch) -> bool:
        """Do one tick, and look if it is time to; return whether it was."""
        row, seats, workspace = self._tick - self._first, self._seats, self._workspace
        look, always = self._tick >= self._due, self._tolerant and self._epoch == 1
        if look or always:
            workspace.keep()
        loss = self._trace[row]
        self._traced[row] = seats.steps
        advanced = workspace.advance(self._tick, seats.steps, seats.before + seats.steps, loss)
        look = look or (always and bool((loss <= self._tolerances).any()))
        if look:
            losses = self._trace[: row + 1].double().cpu().numpy()  # (ticks, slots)
            self._look(losses)
        settled = self._count(advanced)
        self._tick += 1
        if look:
            self._first = self._tick
            self._after(losses[-1], self._traced[row].copy(), watch)
        if settled:
            self._due = self._tick
        return look

    def _count(self, advanced: np.ndarray | None) -> bool:
        """Count the steps of a tick; return whether a slot will get no further."""
        self._seats.steps += 1 if advanced is None else advanced
        settled = self._workspace.settled()
        if settled is None:
            return False
        self._seats.settled |= settled & (self._seats.cells != FREE)
        return bool(self._seats.settled.any())

    def _look(self, losses: np.ndarray) -> None:
        """Read the losses since the last look; let those cells leave that have come to an end."""
        seats, last = self._seats, losses[-1]
        self._leave_diverged(losses)
        due = self._those(seats.steps >= seats.due).tolist()
        whole = self._judgement(due, last)
        self._note(due, last, whole)
        places = list(zip(seats.before[due].tolist(), seats.steps[due].tolist(), strict=True))
        events = {place: self._next_event(*place) for place in set(places)}  # slots that began together share them
        seats.due[due] = [events[place] for place in places]
        if self._tolerant:
            self._leave_within_tolerance(whole)
        if self._flattening:
            self._leave_flat([slot for slot in due if seats.cells[slot] != FREE], last)
        self._leave(self._those(seats.steps >= self._steps), last, "done", "")
        stuck = self._those(seats.settled)
        self._leave(stuck, last, "done", "No further progress was possible after step {step} of {total}.")
        late = self._those(self._tick - seats.born >= self._patience)
        self._leave(late, last, "done", f"Given up after {self._patience} evaluations, at step {{step}} of {{total}}.")

    def _those(self, where: np.ndarray) -> np.ndarray:
        """Return the slots in use where something is so."""
        here = self._seats.occupied
        return here[where[here]]

    def _judgement(self, due: Sequence[int], last: np.ndarray) -> np.ndarray:
        """Return the losses on all samples, (slots,), NaN where that would take an evaluation not worth its time."""
        if self._task.batch is None:
            return last
        steps = self._seats.steps
        epoch = self._tolerant and any(steps[slot] % self._epoch == 0 for slot in due)
        best = self._judged is not None and any(steps[slot] in self._judged for slot in due)
        return self._workspace.full_losses() if epoch or best else np.full(len(last), np.nan)

    def _note(self, due: Sequence[int], last: np.ndarray, whole: np.ndarray) -> None:
        """Take down the losses of slots at a checkpoint, and their parameters if they are the best."""
        seats, better = self._seats, []
        for slot in due:
            cell, step = int(seats.cells[slot]), int(seats.steps[slot])
            marked = int(seats.before[slot]) + step in self._marked
            if marked:
                self._record.note(cell, int(seats.before[slot] + step), float(last[slot]))
            if self._judged is None:
                counts, score = marked, last[slot]
            else:
                counts, score = step in self._judged, whole[slot]
            if counts and self._record.improves(cell, float(score)):
                better.append(slot)
        if better:
            self._record.best[seats.cells[better]] = self._workspace.rows(better)

    def _next_event(self, before: int, step: int) -> int:
        """Return the next step of this part at which a slot must be looked at, `step` after `before` in other parts."""
        place = np.searchsorted(self._marks, before + step, side="right")
        events = [self._steps, *(self._marks[place : place + 1] - before)]
        if self._tolerant and self._epoch > 1:
            events.append((step // self._epoch + 1) * self._epoch)
        if self._judged is not None:
            events += self._judged[np.searchsorted(self._judged, step, side="right") :][:1].tolist()
        return int(min(event for event in events if event > step or event == self._steps))

    def _leave_diverged(self, losses: np.ndarray) -> None:
        infinite = ~np.isfinite(losses)
        if not infinite.any():
            return
        for slot in self._seats.occupied[infinite.any(axis=0)[self._seats.occupied]]:
            row = int(infinite[:, slot].argmax())
            cell, loss = int(self._seats.cells[slot]), float(losses[row, slot])
            step = int(self._seats.before[slot] + self._traced[row, slot])
            self._record.last[cell] = self._record.best[cell]
            self._record.leave(cell, step, loss)
            self._record.finish(cell, "diverged", f"The loss was {loss} at step {step}.")
            self._vacate(slot)

    def _leave_within_tolerance(self, whole: np.ndarray) -> None:
        within = whole <= self._tolerances.double().cpu().numpy()
        slots = self._those(within & (self._seats.steps % self._epoch == 0))
        self._leave(slots, whole, "done", "Within the loss tolerance at step {step}.")

    def _leave_flat(self, due: Sequence[int], losses: np.ndarray) -> None:
        """At checkpoints only: the gradient there takes an evaluation of its own, whatever the optimizer knows."""
        seats, flat = self._seats, []
        slopes = self._workspace.slopes() if due else np.empty(0)
        for slot in due:
            if seats.steps[slot] == 0:
                seats.slope[slot] = slopes[slot]
            tolerance = self._task.settings(seats.cells[slot]).gradient_tolerance
            if tolerance > 0 and slopes[slot] <= tolerance * seats.slope[slot]:
                flat.append(slot)
        self._leave(flat, losses, "done", "Within the gradient tolerance at step {step}.")

    def _leave(
        self, slots: Sequence[int], losses: np.ndarray, outcome: str, message: str, steps: np.ndarray | None = None
    ) -> None:
        """Let cells leave with the parameters of before this tick, and their losses there."""
        if not len(slots):
            return
        cells, record, steps = self._seats.cells[slots], self._record, self._seats.steps if steps is None else steps
        record.last[cells] = self._workspace.rows(slots)
        for slot, cell in zip(slots, cells.tolist(), strict=True):
            step = int(self._seats.before[slot] + steps[slot])
            record.leave(cell, step, float(losses[slot]))
            if self._final or outcome == "interrupted":
                record.finish(cell, outcome, message.format(step=step, total=self._total))
            self._vacate(slot)

    def _vacate(self, slot: int) -> None:
        self._seats.leave(slot)
        self._tolerances[slot] = -1.0
        if len(self._seats.occupied) or self._queue:  # else nobody computes on
            self._workspace.silence(slot)

    def _after(self, losses: np.ndarray, steps: np.ndarray, watch: Watch) -> None:
        """After a look: heed requests to stop, save, report, and decide when to look again."""
        verdict = watch.verdict()
        if watch.saves(verdict):
            watch.save(self.state())
        if verdict:
            self._leave(self._seats.occupied, losses, verdict, "Stopped at step {step} of {total}.", steps)
            self._dismiss(verdict)
        watch.progress(self._share())
        pause = min(watch.pause(self._tick), LONGEST, 1 + self._seats.wait(self._tick, self._patience))
        self._due = self._tick + pause - 1

    def _dismiss(self, verdict: str) -> None:
        """Let those leave who have not begun."""
        for cell in self._queue:
            step = int(self._record.steps[cell])
            self._record.leave(cell, step, float("nan"))
            self._record.finish(cell, verdict, f"Stopped at step {step} of {self._total}.")
        self._queue.clear()

    def _share(self) -> float:
        """Return the share of the pack's work that is done."""
        here = self._seats.occupied
        waiting, work = len(self._queue), self._seats.steps[here].sum() / max(self._steps, 1)
        gone = self._cells - waiting - len(here)
        return float((gone + work) / self._cells)

    def _refill(self) -> None:
        """Give free slots to waiting cells; with minibatches between epochs only, so that all are judged together."""
        here = self._seats.occupied
        if not self._queue or len(here) == len(self._seats.cells):
            return
        late = int(self._tick - self._seats.born[here[0]]) % self._epoch if len(here) else 0
        if late:
            self._due = min(self._due, self._tick - late + self._epoch - 1)  # the next chance is after that look
            return
        for slot in np.flatnonzero(self._seats.cells == FREE)[: len(self._queue)]:
            cell = self._sit(slot)
            self._workspace.put(slot, cell, self._record.last[cell])
            self._tolerate(slot)
            self._due = self._tick

    def _compact(self) -> None:
        """Leave the free slots behind where at most half of the slots are in use; two are the fewest."""
        here, slots = self._seats.occupied, len(self._seats.cells)
        if not self._shrink or self._queue or not len(here) or 2 * max(len(here), 2) > slots:
            return
        kept = here if len(here) > 1 else np.array([*here, next(slot for slot in range(slots) if slot not in here)])
        small = self._workspace.shrunk(kept, self._seats.cells[kept], self._record.last)
        if small is None:
            self._shrink = False
            return
        self._seats = self._seats.taken(kept)
        self._furnish(small)

    def state(self) -> dict[str, Any]:
        """Return what a later pack can take up, in plain values, arrays and tensors; between two ticks."""
        seats = self._seats.state()
        return {"tick": self._tick, "queue": list(self._queue), "seats": seats, **self._workspace.state()}
