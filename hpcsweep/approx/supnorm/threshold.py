"""A survey that ends as soon as an error is proved to be at most a threshold, or a larger one is found."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, final

from hpcsweep.approx.supnorm.approximations import Approximation
from hpcsweep.approx.supnorm.measurement import Measurement
from hpcsweep.approx.supnorm.screening import screen
from hpcsweep.approx.supnorm.survey import Survey
from hpcsweep.approx.supnorm.tasks import MeasurementTask, Search
from hpcsweep.bracket import Bracket
from hpcsweep.errors import PluginError

_MARGIN = 1e-3  # of the threshold: errors that a proof finds above the largest one before it raise its aim by less
_SEARCH = {"uniform": 0, "count": 2**15, "starts": 2**8, "kinks": 2**10}  # at most, as a bracket has in 2-D
_AFRESH = 8  # times a proof may begin again because they raised it by more


def threshold_of(below: Any) -> float:
    """Return a threshold as a number. Raises PluginError if it is negative or not finite."""
    try:
        threshold = float(below)
    except (TypeError, ValueError):
        threshold = math.nan
    if not 0.0 <= threshold < math.inf:
        raise PluginError(f"below, the threshold, must be a finite number of at least 0, not {below!r}.")
    return threshold


def proving(measurement: Measurement, asked: Collection[str] = ()) -> Measurement:
    """Return a measurement with a proof, also where none would be tried for its dimension, and with a shorter search.

    A proof finds large errors itself, in less time than many points take; what is `asked` for is not shortened.
    """
    gap = 0.01 if measurement.gap is None or measurement.tentative else measurement.gap
    fewer = {name: min(getattr(measurement, name), most) for name, most in _SEARCH.items() if name not in asked}
    return replace(measurement, gap=gap, tentative=False, **fewer)


def _no_climbs(measurement: Measurement) -> Measurement:
    return replace(measurement, starts=0, kinks=0)


@final
class Below(Survey):
    """The survey of one approximation whose error is to be at most `threshold`.

    A larger error at a point refutes that as soon as it is proved there, or, for want of a rule, evaluated.

    A proof settles boxes at (1 + gap) times the largest error that is known: the gap is chosen so that this is nearly
    the threshold, anew whenever a larger error is found.
    """

    def __init__(self, approximation: Approximation, measurement: Measurement, threshold: float) -> None:
        super().__init__([approximation], measurement)
        self._threshold, self._afresh = threshold, 0

    def tasks(self, pieces: int = 1) -> list[MeasurementTask]:
        """Return what can be done now; nothing once it is decided.

        Where a point seems to refute already, all that is left is to prove the error there: no climbs are needed.
        """
        if self._decided():
            return []
        tasks = super().tasks(pieces)
        if not self.states or self._searched or self._seen().lower <= self._threshold:
            return tasks
        return [replace(task, measurement=_no_climbs(task.measurement)) for task in tasks if isinstance(task, Search)]

    def take(self, results: Sequence[Any]) -> None:
        """Take what came out of `tasks`."""
        super().take(results)
        self._aim()

    def restore(self, progress: Mapping[str, Any]) -> None:
        """Go on from the `progress` of such a survey."""
        super().restore(progress)
        if self.states:
            self._aim()

    def _seen(self) -> Bracket:
        state = self.states[0]
        if state.pool is None:
            return state.best_seen
        return screen.higher(state.best_seen, Bracket(state.pool.lower, where=state.pool.where))

    def _decided(self) -> bool:
        if not self._searched:  # what is seen is proved in the search
            return False
        pool = self.states[0].pool
        return self._seen().lower > self._threshold or (pool is not None and pool.bracket.upper <= self._threshold)

    def _aim(self) -> None:
        """Choose the gap by the largest error so far; begin again a proof that settled boxes above the threshold."""
        state, lower = self.states[0], self._seen().lower
        if self.measurement.gap is None or not 0.0 < lower <= self._threshold:
            return
        pool = state.pool
        if pool is not None and pool.settled > self._threshold and self._afresh < _AFRESH:
            if state.lower is not None:
                state.lower = replace(state.lower, bracket=self._seen())
            state.pool, self._afresh = None, self._afresh + 1
        aim = self._threshold - min(_MARGIN * self._threshold, (self._threshold - lower) / 2)
        gap = aim / lower - 1.0
        self.measurement = replace(self.measurement, gap=math.nextafter(gap, 0.0) if gap > 0.0 else 0.0)
