"""The one loop of rank 0: steps of jobs go out to whoever is free, and what comes back says which steps are next.

Jobs begin in the order in which they are given (of the packs of a study: `scheduling`); what follows from a result goes
before those that have not begun.

An ordinary `concurrent.futures` programme over a `Workforce`, which knows neither study nor store. The jobs do: those
of `sweep` train, measure and finish cells, those of `remeasure` measure what is trained. Both carry a survey, which is
done in stages; the parts of a stage go out one by one and combine to the same bits in any order.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcsweep.approx import plugins
from hpcsweep.approx.supnorm.survey import Survey
from hpcsweep.approx.supnorm.tasks import MeasurementTask
from hpcsweep.cluster import stopping, worker
from hpcsweep.cluster.workforce import Workforce
from hpcsweep.errors import PluginChanged

STALL = 0.2  # seconds between two looks at signals and the display
Call = tuple[Callable[..., object], tuple[Any, ...]]  # a function at module level and its plain arguments


@dataclass(frozen=True, eq=False)
class Step:
    """Something to be executed: a numbered part of the survey of a job, or what comes before or after (no part)."""

    job: Job
    part: MeasurementTask | None = None
    number: int = 0


@dataclass(eq=False)
class Job(ABC):
    """A survey on its way, and what comes before and after it."""

    folder: Path  # of plugin files
    every: float  # seconds between two checkpoints
    survey: Survey | None = None  # None until there is something to measure
    pieces: int = 1  # into which the screening is cut
    results: list[Any] = field(default_factory=list)  # of the parts of this stage, in order; None: not there yet
    seconds: float = 0.0  # measured so far
    saved: float = field(default_factory=time.monotonic)  # when that was done last
    over: bool = False  # nothing more is to be done here
    alone: bool = False  # begins when nothing else is out, and all that came back is written: it may kill its process

    def steps(self) -> list[Step]:
        """Return what can be done now."""
        parts = self.survey.tasks(self.pieces) if self.survey is not None else []
        if not parts:
            return self.others()
        self.results = self.results or [None] * len(parts)
        left = [number for number, result in enumerate(self.results) if result is None]
        assert left  # a stage is saved before its last part is done
        return [Step(self, parts[number], number) for number in left]

    def call(self, step: Step) -> Call:
        """Return what a rank is to execute."""
        return worker.measure, (step.part, self.folder)

    def take(self, step: Step, result: object) -> list[Step]:
        """Take what a step gave; return what can be done next, before anything else."""
        if self.over:  # another part has failed
            return []
        if isinstance(result, worker.Failure):
            return self.fail(result.message)
        assert isinstance(result, worker.Done) and self.survey is not None
        self.survey.put(self.results, step.number, result.result)
        self.seconds += result.seconds
        self.show()
        if all(part is not None for part in self.results):
            self.survey.take(self.results)
            self.results = []
            return self.steps()
        if time.monotonic() - self.saved > self.every:
            self.save()
        return []

    def show(self) -> None:  # noqa: B027  (not everybody has something to show)
        """Show how far the stage is."""

    @abstractmethod
    def others(self) -> list[Step]:
        """Return what is to be done before and after the survey."""

    @abstractmethod
    def fail(self, message: str) -> list[Step]:
        """Take a step that raised; return what is to be done instead. Sets `over`, or raises."""

    @abstractmethod
    def save(self) -> None:
        """Save what is measured."""

    @abstractmethod
    def leave(self) -> None:
        """Leave what is not finished to a later launch."""

    @abstractmethod
    def hang(self, steps: Sequence[Step]) -> str:
        """Say which steps come to no end: those that are out, of this job and others of its kind."""


@dataclass
class Driver:
    """Runs jobs on a workforce. `show` is called now and then, to display how far they are."""

    workforce: Workforce
    show: Callable[[], None] = lambda: None
    _changed: PluginChanged | None = None  # why everything is to end
    _queue: deque[Step] = field(default_factory=deque)
    _out: dict[Future[object], Step] = field(default_factory=dict)

    def run(self, jobs: Iterable[Job]) -> None:
        """Run jobs, in this order, until all are over or an early end was asked for; the others are then left.

        Raises `stopping.Stuck` if some steps do not come to that end, and `PluginChanged`, as at an early end, if a
        file of a plugin has changed: then all cells that are not finished are left.
        """
        self._queue.extend(step for job in jobs for step in job.steps())
        try:
            self._loop()
        except BaseException:
            self.workforce.stop_everyone()  # nobody must train for hours what cannot be written
            raise
        self.show()
        stuck = list(self._out.values())
        held = {step.job for step in stuck}
        for job in dict.fromkeys(step.job for step in self._queue if not step.job.over and step.job not in held):
            job.leave()
        if self._changed is not None:
            raise self._changed
        if stuck:
            raise stopping.Stuck(stuck[0].job.hang(stuck))

    def _loop(self) -> None:
        stop, shown = self.workforce.stop, -math.inf
        while self._out or (self._queue and not stop.asked()):
            self._dispatch()
            done = self.workforce.arrivals(STALL)
            self._dispatch()  # before results are written: nobody waits for that
            for future in done:
                step, result = self._out.pop(future), future.result()
                if isinstance(result, worker.Changed):
                    self._end(step.job, result)
                    continue
                self._queue.extendleft(reversed(step.job.take(step, result)))
            if stop.asked():
                self.workforce.stop_everyone()
            if self._out and stop.overdue():
                return
            if time.monotonic() - shown > STALL:
                self.show()
                shown = time.monotonic()

    def _end(self, job: Job, result: worker.Changed) -> None:
        """Ask for an early end: what was computed while a file of a plugin changed is no result."""
        if self._changed is None:  # this process has seen the files before, and may know which one it is
            known = any(result.plugin)
            self._changed = plugins.changed(*result.plugin, job.folder) if known else PluginChanged(result.message)
            self.workforce.stop.ask(str(self._changed))
        if not job.over:
            job.over = True
            job.leave()

    def _dispatch(self) -> None:
        """Give a step to everyone who is free."""
        while self._queue and self.workforce.free and not self.workforce.stop.asked():
            if self._queue[0].job.alone and self._out:
                return
            step = self._queue.popleft()
            if not step.job.over:
                call, arguments = step.job.call(step)
                self._out[self.workforce.submit(call, *arguments)] = step
