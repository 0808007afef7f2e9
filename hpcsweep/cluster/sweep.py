"""The packs of a study, run into its store: costliest first, halved where they raise.

A pack whose measurement would take longer than `TIME_QUANTUM`, or has a proof that does, comes back trained, and the
parts of its survey go out to everyone. A pack that raises is halved until the culprit stands alone.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from hpcsweep.cluster import worker
from hpcsweep.cluster.checkpoints import CheckpointDir
from hpcsweep.cluster.driver import Call, Driver, Job, Step
from hpcsweep.cluster.pricing import Pricer
from hpcsweep.cluster.progress import Display
from hpcsweep.cluster.workforce import Workforce
from hpcsweep.config import Cell
from hpcsweep.store import layout
from hpcsweep.store.store import Record, Store
from hpcsweep.study.plan import Pack

TIME_QUANTUM = 20.0  # seconds of measuring one pack, above which its tiles are shared out
NAMED = 4  # cells that are named, of those that come to no end


@dataclass
class Sweep:
    """Runs packs into a store."""

    pricer: Pricer
    store: Store
    workforce: Workforce
    display: Display
    checkpoints: CheckpointDir
    quantum: float = TIME_QUANTUM

    def run(self, packs: Sequence[Pack]) -> bool:
        """Run packs until all are finished (True) or an early end was asked for (False).

        Raises `stopping.Stuck` if some do not come to that end; all others are then in the store.
        """
        Driver(self.workforce, self.show).run(_Job(self, pack.rows, alone=pack.alone) for pack in packs)
        return not len(self.store.pending())

    def measuring_seconds(self, cells: Sequence[Cell]) -> float:
        """Return the seconds that measuring a pack is predicted to take on one rank."""
        return self.pricer.pack_seconds(cells)

    def show(self) -> None:
        """Show how many cells are finished, and how long the others will take."""
        self.store.settle(now=False)
        status = self.store.status[: self.store.planned]
        finished = sum(int((status == code).sum()) for code in layout.FINISHED)
        bad = int((status == layout.FAILED).sum())
        note = f"{bad} failed" if bad else ""
        note = "stopping: no new packs" if self.workforce.stop.asked() else note
        self.display.show(finished, len(status), self.store.seconds_ahead(), note)


class Raised(Record):
    """The record of a cell that raised alone: its message is all that is known."""


class _Job(Job):
    """A pack on its way into the store."""

    def __init__(self, sweep: Sweep, rows: tuple[int, ...], started: bool = False, alone: bool = False) -> None:
        super().__init__(sweep.pricer.study.folder, sweep.checkpoints.every)
        self.sweep, self.rows, self.alone = sweep, rows, alone
        self.started = started  # its attempt is counted
        self.trained: worker.TrainedPack | None = None

    def cells(self) -> list[Cell]:
        return [self.sweep.store.cells.cell(row) for row in self.rows]

    def others(self) -> list[Step]:
        return [Step(self)]

    def call(self, step: Step) -> Call:
        if step.part is not None:
            return super().call(step)
        cells, sweep = self.cells(), self.sweep
        if self.trained is not None:
            whole = dataclasses.replace(self.trained, measuring_seconds=self.seconds)
            return worker.finish_pack, (cells, whole, self.folder)
        measurement, saver = sweep.pricer.measurement(cells[0]), sweep.checkpoints.saver(sweep.store.keys(self.rows))
        if not self.started:
            sweep.store.start(self.rows)
            self.started = True
        alone = sweep.measuring_seconds(cells) <= sweep.quantum
        return worker.train_pack, (cells, measurement, self.folder, alone, saver, sweep.workforce.stop)

    def take(self, step: Step, result: object) -> list[Step]:
        if isinstance(result, worker.Finished):
            self.finish(result)
            return []
        if not isinstance(result, worker.TrainedPack):
            return super().take(step, result)
        quanta = math.ceil(self.sweep.measuring_seconds(self.cells()) / self.sweep.quantum)
        self.survey, self.seconds = result.survey, result.measuring_seconds
        self.pieces, self.results = result.pieces or quanta, list(result.results)
        self.trained = dataclasses.replace(result, pieces=0, results=())
        return self.steps()

    def save(self) -> None:
        """Save a trained pack with what is measured of it."""
        self.saved = time.monotonic()
        if self.trained is not None:
            now = dataclasses.replace(self.trained, pieces=self.pieces, results=self.results)
            saver = self.sweep.checkpoints.saver(self.sweep.store.keys(self.rows))
            saver.save(dataclasses.replace(now, measuring_seconds=self.seconds).progress())

    def finish(self, done: worker.Finished) -> None:
        """Write a pack that is finished; make one pending again that was interrupted."""
        sweep, store = self.sweep, self.sweep.store
        sweep.workforce.stop.learn(done.saving)
        if done.records:
            keys = store.keys(self.rows)
            store.put(self.rows, done.records, lambda: sweep.checkpoints.clear(keys))
        else:
            store.release(self.rows)
            sweep.workforce.stop_everyone()  # somebody was asked to stop: all are

    def fail(self, message: str) -> list[Step]:
        """Halve a pack that raised; a cell that raises alone has failed."""
        self.over, store = True, self.sweep.store
        self.sweep.checkpoints.clear(store.keys(self.rows))
        if len(self.rows) == 1:
            store.put(self.rows, [Raised("failed", {"message": message})])
            return []
        half = len(self.rows) // 2
        halves = (self.rows[half:], self.rows[:half])
        return [Step(_Job(self.sweep, rows, started=True)) for rows in halves]

    def leave(self) -> None:
        if self.started:
            self.save()
            self.sweep.store.release(self.rows)

    def hang(self, steps: Sequence[Step]) -> str:
        # They stay marked running, so that they count as killed and have failed after some times.
        jobs = dict.fromkeys(step.job for step in steps)
        told = [
            f"{cell.target.name} in dimension {cell.dimension}, {cell.samples} samples, "
            f"{cell.optimizer.name} ({cell.key})"
            for job in jobs
            if isinstance(job, _Job)
            for cell in job.cells()
        ]
        more = f" and {len(told) - NAMED} more" if len(told) > NAMED else ""
        return f"{len(told)} cell(s) do not end and are abandoned: {'; '.join(told[:NAMED])}{more}"
