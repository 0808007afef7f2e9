"""The job of the command `measure`: surveys, one after the other, that any rank works on.

What is done so far is saved now and then, and at a stop: the same command goes on there. The parts of a measurement are
fixed when it begins, so that another number of ranks may go on with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpcsweep.approx.supnorm.survey import Survey
from hpcsweep.cluster.checkpoints import Saver
from hpcsweep.cluster.driver import Driver, Job, Step
from hpcsweep.cluster.progress import Display
from hpcsweep.cluster.workforce import Workforce
from hpcsweep.errors import LaunchError
from hpcsweep.store import write_errors
from hpcsweep.study.parsing import section
from hpcsweep.study.schema import SupNormSection

PIECE = 2**24  # points of a piece of screening, times networks: some seconds
MOST_PIECES = 4096


class Measurements(Job):
    """What one command measures, one survey after the other, saved now and then so that it can go on later."""

    def __init__(self, surveys: list[Survey | None], folder: Path, saver: Saver) -> None:
        """`surveys`: those that are done are None, to be forgotten. `saver`: where they are saved."""
        super().__init__(folder, saver.every)
        self.surveys, self.saver = surveys, saver

    def resume(self) -> None:
        """Go on from what was saved, if anything was."""
        state = self.saver.load()
        if state is not None:
            self.results = state["results"]
            self.surveys[: state["done"]] = [None] * state["done"]
            for number, progress in state["begun"].items():
                survey = self.surveys[number]
                assert survey is not None
                survey.restore(progress)

    def save(self) -> None:
        """Save what is done, if that is possible."""
        self.saved = time.monotonic()
        self.saver.save(self._state())

    leave = save

    def _state(self) -> dict[str, Any]:
        left = {number: survey for number, survey in enumerate(self.surveys) if survey is not None}
        done = min(left, default=len(self.surveys))  # one after the other
        begun = {number: survey.progress() for number, survey in left.items() if survey.states}
        return {"done": done, "begun": begun, "results": self.results}

    def finish(self, number: int) -> None:
        """Forget a survey whose results are in place. Raises `StoreError` if that cannot be saved."""
        self.surveys[number] = None
        with write_errors.explained(f"{self.saver.path} cannot be saved"):
            self.saver.keep(self._state())

    def run(self, number: int, workforce: Workforce, shown: Display) -> bool:
        """Do all that is left of a survey (True), or until a stop is asked for (False)."""
        self.survey, self.over = self.surveys[number], False
        assert self.survey is not None
        self.pieces, self._stop, self._shown = _pieces(self.survey), workforce.stop, shown
        Driver(workforce, self.show).run([self])
        return self.over

    def steps(self) -> list[Step]:
        """Return what can be done now: the parts of a stage, whose time begins."""
        steps = super().steps()
        self._begun, self._first = time.monotonic(), len(steps)
        return steps

    def show(self) -> None:
        """Show how many parts of the stage are done."""
        left, total = sum(result is None for result in self.results), len(self.results)
        eta = (time.monotonic() - self._begun) * left / (self._first - left) if left < self._first else None
        if total:
            self._shown.show(total - left, total, eta, "stopping" if self._stop.asked() else "")

    def others(self) -> list[Step]:
        """Nothing is left."""
        self.over = True
        return []

    def fail(self, message: str) -> list[Step]:
        """End the command. Raises `LaunchError`."""
        raise LaunchError(f"A part of the measurement failed: {message}")

    def hang(self, steps: Sequence[Step]) -> str:
        """Save what is measured and say how many parts come to no end."""
        self.save()
        return f"{len(steps)} part(s) of the measurement do not end and are abandoned"


def _pieces(survey: Survey) -> int:
    points = survey.measurement.total * survey.measurement.tile * len(survey.approximations)
    return min(MOST_PIECES, -(-points // PIECE))


def chosen_section(choices: Mapping[str, Any]) -> SupNormSection:
    """Return the choices of a command line as those of `[sup_norm]`. Raises `StudyError`."""
    chosen = dict(choices)
    if "points" in chosen:
        chosen["points"] = list(chosen["points"])
    with contextlib.suppress(ValueError):
        chosen["certificate"] = float(chosen.get("certificate", ""))
    return section(SupNormSection, chosen, "measure")


def digest(things: Iterable[object]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for thing in things:
        digest.update(pickle.dumps(thing))
    return digest.hexdigest()
