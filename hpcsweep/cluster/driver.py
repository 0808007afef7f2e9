"""The loop of rank 0: dispatch, collect, write, finish.

An ordinary `concurrent.futures` programme over a `Workforce`. Packs go out costliest first. A pack whose measurement
would take longer than `TIME_QUANTUM`, or has a proof that does, comes back trained, and the parts of its survey go out
to everyone as tasks of their own; they combine to the same bits in any order. A pack that raises is halved until the
culprit stands alone.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from hpcsweep.approx.supnorm.tasks import Task
from hpcsweep.cluster import checkpoints, stopping, worker
from hpcsweep.cluster.checkpoints import Saver, Shelf
from hpcsweep.cluster.pricing import Pricer
from hpcsweep.cluster.progress import Display
from hpcsweep.cluster.workforce import Workforce
from hpcsweep.store import layout
from hpcsweep.store.store import Record, Store
from hpcsweep.study.cells import Cell
from hpcsweep.study.plan import Pack

TIME_QUANTUM = 20.0  # seconds of measuring one pack, above which its tiles are shared out
STALL = 0.2  # seconds between two looks at signals and the display
NAMED = 4  # cells that are named, of those that come to no end


@dataclass
class _Job:
    """A pack on its way."""

    rows: tuple[int, ...]
    predicted: float
    started: bool = False  # its attempt is counted
    trained: worker.Trained | None = None  # set while parts of its survey are out
    pieces: int = 0  # into which its present stage is cut
    results: list[Any] = field(default_factory=list)  # of these parts, in order; None: not there yet
    seconds: float = 0.0  # measured so far
    saved: float = field(default_factory=time.monotonic)  # when that was done last


@dataclass
class _Task:
    """Something to be executed: the training of a job, a numbered part of its survey, or its end (neither)."""

    job: _Job
    part: Task | None = None
    number: int = 0
    last: bool = False


@dataclass
class Driver:
    """Runs packs into a store."""

    pricer: Pricer
    store: Store
    workforce: Workforce
    display: Display
    shelf: Shelf
    quantum: float = TIME_QUANTUM
    _queue: deque[_Task] = field(default_factory=deque)
    _out: dict[Future, _Task] = field(default_factory=dict)
    _remaining: float = 0.0  # predicted seconds of what is not finished
    _predicted: float = 0.0  # of what is finished
    _taken: float = 0.0  # what that really took
    _shown: float = -math.inf  # when the display was last told

    def run(self, packs: Sequence[Pack]) -> bool:
        """Run packs until all are finished (True) or an early end was asked for (False).

        Raises `stopping.Stuck` if some do not come to that end; all others are then in the store.
        """
        self._queue.extend(_Task(_Job(pack.rows, pack.seconds)) for pack in packs)
        self._remaining = sum(pack.seconds for pack in packs)
        try:
            while self._out or (self._queue and not stopping.asked()):
                self._dispatch()
                done = self.workforce.arrivals(STALL)
                self._dispatch()  # before results are written: nobody waits for that
                for future in done:
                    self._collect(self._out.pop(future), future.result())
                if stopping.asked():
                    self.workforce.stop_everyone()
                if self._out and stopping.overdue():
                    break
                if time.monotonic() - self._shown > STALL:
                    self._show()
        except BaseException:
            self.workforce.stop_everyone()  # nobody must train for hours what cannot be written
            raise
        self._show()
        stuck = {id(task.job): task.job for task in self._out.values()}
        queued = {id(task.job): task.job for task in self._queue if task.job.started}
        for job in (job for name, job in queued.items() if name not in stuck):
            self._save(job)
            self.store.release(job.rows)
        if stuck:  # marked running, so that they count as killed and have failed after some times
            cells = [cell for job in stuck.values() for cell in self._cells(job)]
            raise stopping.Stuck(_about(cells))
        return not len(self.store.pending())

    def _saver(self, job: _Job) -> Saver:
        keys = self.store.keys(job.rows)
        return Saver(self.shelf.path(keys), keys)

    def _cells(self, job: _Job) -> list[Cell]:
        return [self.store.cells.cell(row) for row in job.rows]

    def _dispatch(self) -> None:
        """Give a task to everyone who is free."""
        while self._queue and self.workforce.free and not stopping.asked():
            task = self._queue.popleft()
            self._out[self._submit(task)] = task

    def _submit(self, task: _Task) -> Future:
        job, cells, folder = task.job, self._cells(task.job), self.pricer.study.folder
        measurement = self.pricer.measurement(cells[0])
        if task.part is not None:
            return self.workforce.submit(worker.measure, task.part, folder)
        if task.last:
            assert job.trained is not None
            trained = job.trained
            whole = dataclasses.replace(trained, measuring_seconds=job.seconds)
            return self.workforce.submit(worker.finish_pack, cells, whole, folder)
        if not job.started:
            self.store.start(job.rows)
            job.started = True
        alone = self._measuring_seconds(cells) <= self.quantum
        return self.workforce.submit(worker.train_pack, cells, measurement, folder, alone, self._saver(job))

    def _measuring_seconds(self, cells: Sequence[Cell]) -> float:
        return len(cells) * self.pricer.measuring_seconds(cells[0])

    def _collect(self, task: _Task, result: object) -> None:
        """Take what a task gave: a finished pack, a trained one, some tiles, or a failure."""
        if isinstance(result, worker.Finished):
            stopping.learn(result.saving)
            self._finish(task.job, result)
        elif isinstance(result, worker.Trained):
            task.job.trained, task.job.seconds = result, result.measuring_seconds
            self._share_out(task.job)
        elif isinstance(result, worker.Done):
            self._measured(task, result)
        elif isinstance(result, worker.Failure):
            self._failed(task, result.message)

    def _share_out(self, job: _Job) -> None:
        """Send what can be measured now of a trained pack to everyone; its end, if nothing is left."""
        trained = job.trained
        assert trained is not None
        job.pieces = trained.pieces or math.ceil(self._measuring_seconds(self._cells(job)) / self.quantum)
        parts = trained.survey.tasks(job.pieces)
        job.results = list(trained.results) or [None] * len(parts)
        job.trained = dataclasses.replace(trained, pieces=0, results=())
        left = [number for number, result in enumerate(job.results) if result is None]
        assert left or not parts  # a stage is saved before its last part is done
        tasks = [_Task(job, parts[number], number) for number in left] or [_Task(job, last=True)]
        self._queue.extendleft(reversed(tasks))

    def _measured(self, task: _Task, done: worker.Done) -> None:
        job = task.job
        if job.trained is None:
            return  # another part of it failed: the pack is trained again
        job.trained.survey.put(job.results, task.number, done.result)
        job.seconds += done.seconds
        if all(one is not None for one in job.results):
            job.trained.survey.take(job.results)
            self._share_out(job)
        elif time.monotonic() - job.saved > checkpoints.every():
            self._save(job)

    def _save(self, job: _Job) -> None:
        """Save a trained pack with what is measured of it."""
        if job.trained is not None:
            state = dataclasses.replace(
                job.trained, measuring_seconds=job.seconds, pieces=job.pieces, results=job.results
            )
            self._saver(job).save(state)
            job.saved = time.monotonic()

    def _finish(self, job: _Job, done: worker.Finished) -> None:
        """Write what is finished; make pending again what was interrupted."""
        finished = [(row, record) for row, record in zip(job.rows, done.records, strict=True) if record is not None]
        if finished:
            self.store.put([row for row, _ in finished], [record for _, record in finished])
            self.shelf.forget(self.store.keys(job.rows))
        if len(finished) < len(job.rows):
            self.store.release([row for row, record in zip(job.rows, done.records, strict=True) if record is None])
            self.workforce.stop_everyone()  # somebody was asked to stop: all are
        self._account(job, done.seconds)

    def _account(self, job: _Job, taken: float) -> None:
        self._remaining -= job.predicted
        self._predicted += job.predicted
        self._taken += taken

    def _failed(self, task: _Task, message: str) -> None:
        """Halve a pack that raised; a cell that raises alone has failed."""
        job = task.job
        if task.part is not None and job.trained is None:
            return  # already dealt with
        job.trained = None
        self.shelf.forget(self.store.keys(job.rows))
        self._queue = deque(other for other in self._queue if other.job is not job)
        if len(job.rows) == 1:
            self.store.put(job.rows, [Record("failed", {"message": message})])
            self._account(job, job.predicted)
            return
        half = len(job.rows) // 2
        for rows in (job.rows[:half], job.rows[half:]):
            part = _Job(rows, job.predicted * len(rows) / len(job.rows), started=True)
            self._queue.appendleft(_Task(part))

    def _show(self) -> None:
        status = self.store.status[: self.store.planned]
        finished = sum(int((status == code).sum()) for code in layout.FINISHED)
        # Until something is known, trust the prediction; then correct it by what packs really took.
        ratio = self._taken / self._predicted if self._predicted else 1.0
        eta = self._remaining * ratio / self.workforce.size
        bad = int((status == layout.FAILED).sum())
        note = f"{bad} failed" if bad else ""
        note = "stopping: no new packs" if stopping.asked() else note
        self.display.show(finished, len(status), eta, note)
        self._shown = time.monotonic()


def _about(cells: Sequence[Cell]) -> str:
    """Say which cells come to no end."""
    told = [
        f"{cell.target['name']} in dimension {cell.dimension}, {cell.samples} samples, "
        f"{cell.optimizer['name']} ({cell.key})"
        for cell in cells
    ]
    more = f" and {len(told) - NAMED} more" if len(told) > NAMED else ""
    return f"{len(told)} cell(s) come to no end and are left: {'; '.join(told[:NAMED])}{more}"
