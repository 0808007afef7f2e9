"""The loop of rank 0: dispatch, collect, write, finish.

An ordinary `concurrent.futures` programme over a `Workforce`. Packs go out costliest first. A pack whose measurement
would take longer than `TIME_QUANTUM` comes back trained, and its tiles go out to everyone as tasks of their own; they
combine to the same bits in any order. A pack that raises is halved until the culprit stands alone.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field

from hpcsweep import layout
from hpcsweep.approx.meter.measure import Measurement
from hpcsweep.cells import Cell
from hpcsweep.cluster import stopping, worker
from hpcsweep.cluster.pricing import Pricer
from hpcsweep.cluster.progress import Display
from hpcsweep.cluster.workforce import Workforce
from hpcsweep.plan import Pack
from hpcsweep.store import Record, Store

TIME_QUANTUM = 20.0  # seconds of measuring one pack, above which its tiles are shared out
STALL = 0.2  # seconds between two looks at signals and the display


@dataclass
class _Job:
    """A pack on its way."""

    rows: tuple[int, ...]
    cells: list[Cell]
    measurement: Measurement
    predicted: float
    started: bool = False  # its attempt is counted
    trained: worker.Trained | None = None  # set while its tiles are out
    tiles_out: int = 0


@dataclass
class _Task:
    """Something to be executed: the training of a job (tiles None) or some tiles of its measurement."""

    job: _Job
    tiles: range | None = None


@dataclass
class Driver:
    """Runs packs into a store."""

    pricer: Pricer
    store: Store
    workforce: Workforce
    display: Display
    quantum: float = TIME_QUANTUM
    _queue: deque[_Task] = field(default_factory=deque)
    _out: dict[Future, _Task] = field(default_factory=dict)
    _remaining: float = 0.0  # predicted seconds of what is not finished
    _predicted: float = 0.0  # of what is finished
    _taken: float = 0.0  # what that really took

    def run(self, packs: Sequence[Pack]) -> bool:
        """Run packs until all are finished (True) or an early end was asked for (False)."""
        for pack in packs:
            self._queue.append(_Task(self._job(pack.rows, pack.seconds)))
        self._remaining = sum(pack.seconds for pack in packs)
        while self._out or (self._queue and not stopping.asked()):
            self._dispatch()
            done, _ = wait(self._out, timeout=STALL, return_when=FIRST_COMPLETED)
            for future in done:
                self._collect(self._out.pop(future), future)
            self._show()
        for task in self._queue:
            if task.job.started:
                self.store.release(task.job.rows)
        return not len(self.store.pending())

    def _job(self, rows: tuple[int, ...], seconds: float) -> _Job:
        cells = [self.store.cells.cell(row) for row in rows]
        return _Job(rows, cells, self.pricer.measurement(cells[0]), seconds)

    def _dispatch(self) -> None:
        """Give a task to everyone who is free."""
        while self._queue and self.workforce.free and not stopping.asked():
            task = self._queue.popleft()
            if task.tiles is None:
                future = self._start(task.job)
            else:
                assert task.job.trained is not None
                networks = worker.networks_of(task.job.cells, task.job.trained.fitted)
                arguments = (networks, task.job.measurement, task.tiles, self.pricer.study.folder)
                future = self.workforce.submit(worker.measure_tiles, *arguments)
            self._out[future] = task

    def _start(self, job: _Job) -> Future:
        if not job.started:
            self.store.start(job.rows)
            job.started = True
        alone = self._measuring_seconds(job) <= self.quantum
        return self.workforce.submit(worker.train_pack, job.cells, job.measurement, self.pricer.study.folder, alone)

    def _measuring_seconds(self, job: _Job) -> float:
        return len(job.cells) * self.pricer.measuring_seconds(job.cells[0])

    def _collect(self, task: _Task, future: Future) -> None:
        """Take what a task gave: a trained pack, some tiles, or an exception."""
        error = future.exception()
        if error is not None:
            self._failed(task, error)
        elif task.tiles is None:
            self._trained(task.job, future.result())
        else:
            self._measured(task.job, future.result())

    def _trained(self, job: _Job, trained: worker.Trained) -> None:
        """Finish a pack, or send its tiles to everyone."""
        networks = worker.networks_of(job.cells, trained.fitted)
        if trained.parts or not networks:
            self._finish(job, trained)
            return
        job.trained = trained
        pieces = _shares(job.measurement.total, self._measuring_seconds(job) / self.quantum)
        job.tiles_out = len(pieces)
        self._queue.extendleft(_Task(job, piece) for piece in reversed(pieces))

    def _measured(self, job: _Job, tiles: worker.Tiles) -> None:
        if job.trained is None:
            return  # another part of it failed: the pack is trained again
        job.trained.parts.append(tiles.part)
        job.tiles_out -= 1
        seconds = job.trained.measuring_seconds + tiles.seconds
        job.trained = worker.Trained(job.trained.fitted, job.trained.parts, job.trained.seconds, seconds)
        if job.tiles_out == 0:
            self._finish(job, job.trained)

    def _finish(self, job: _Job, trained: worker.Trained) -> None:
        """Write what is finished; make pending again what was interrupted."""
        if not trained.parts and stopping.asked():
            self.store.release(job.rows)
            return
        made = worker.records(job.cells, trained, self.pricer.study.folder)
        finished = [(row, record) for row, record in zip(job.rows, made, strict=True) if record is not None]
        if finished:
            self.store.put([row for row, _ in finished], [record for _, record in finished])
        self.store.release([row for row, record in zip(job.rows, made, strict=True) if record is None])
        self._account(job, trained.seconds + trained.measuring_seconds)

    def _account(self, job: _Job, taken: float) -> None:
        self._remaining -= job.predicted
        self._predicted += job.predicted
        self._taken += taken

    def _failed(self, task: _Task, error: BaseException) -> None:
        """Halve a pack that raised; a cell that raises alone has failed."""
        job = task.job
        if task.tiles is not None and job.trained is None:
            return  # already dealt with
        job.trained = None
        self._queue = deque(other for other in self._queue if other.job is not job)
        if len(job.rows) == 1:
            self.store.put(job.rows, [Record("failed", {"message": f"{type(error).__name__}: {error}"})])
            self._account(job, job.predicted)
            return
        half = len(job.rows) // 2
        for rows in (job.rows[:half], job.rows[half:]):
            part = self._job(rows, job.predicted * len(rows) / len(job.rows))
            part.started = True
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


def _shares(tiles: int, pieces: float) -> list[range]:
    """Cut range(tiles) into about so many pieces."""
    count = min(tiles, max(1, math.ceil(pieces)))
    edges = [tiles * i // count for i in range(count + 1)]
    return [range(start, stop) for start, stop in itertools.pairwise(edges)]
