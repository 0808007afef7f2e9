"""A measurement of several networks as tasks that anyone may do: screen, then search, then prove.

A `Survey` says what is to be done now (`tasks`) and takes what came out (`take`), until nothing is left. What the tasks
are is fixed by what is measured, never by who does them, so that 1 and 1000 ranks find the same bits:

1. *Screening*: some tiles of all point sets, all networks together, since points and target values are shared.
2. *Search*, one for each network: from the worst points to local maxima, and where the network bends; then what is
   proved from below at the best of all places.
3. *Proof*, one for each network, and where that does not close, parts of what is left, a fixed number of them.
4. *SolutionProof*, one for each network that solves an equation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from hpcsweep.approx.supnorm.approximations import Approximation
from hpcsweep.approx.supnorm.certificate import certify
from hpcsweep.approx.supnorm.certificate.lower import LowerEnd
from hpcsweep.approx.supnorm.measurement import Measurement
from hpcsweep.approx.supnorm.screening import screen
from hpcsweep.approx.supnorm.search import refine
from hpcsweep.approx.supnorm.solution import SolutionProof
from hpcsweep.approx.supnorm.tasks import MeasurementTask, Proof, Screening, Screens, Search, shares
from hpcsweep.bracket import Bracket

FIRST = 2**14  # boxes of a proof before it is shared out; then in each round as many again as were done before
PARTS = 16  # into which it is shared out


@dataclass
class State:
    """What is known of one approximation so far."""

    screens: list[screen.Screen]
    refined: refine.Refined | None = None
    lower: LowerEnd | None = None  # what is proved from below; None where the error is not finite somewhere
    pool: certify.Pool | None = None
    reason: str = ""  # why there is no proof
    solution_upper: float = math.nan  # see `measured.Measured`

    @property
    def message(self) -> str:
        """What is worth knowing: why there is no proof from above, and why there is none from below."""
        if self.lower is None or not self.lower.reason:
            return self.reason
        why = "" if self.lower.reason in self.reason else f" ({self.lower.reason})"
        exponent = math.ceil(math.log10(self.lower.rounding)) if 0 < self.lower.rounding < math.inf else 0
        seen = f"errors of about 1e{exponent}" if self.lower.rounding else "no errors"
        text = f"lower: evaluated in float64, not proved{why}; {seen} of rounding were seen"
        return f"{self.reason}; {text}" if self.reason else text

    @property
    def screened(self) -> Bracket:
        """The bracket of the points alone."""
        return reduce(screen.higher, (one.bracket for one in self.screens))

    @property
    def best_seen(self) -> Bracket:
        """The bracket of the points and of the search: as evaluated, until it is proved."""
        if self.lower is not None:
            return self.lower.bracket
        return self.screened if self.refined is None else screen.higher(self.screened, self.refined.bracket)


class Survey:
    """A measurement on its way. Picklable; between `tasks` and `take` nothing changes."""

    def __init__(self, approximations: Sequence[Approximation], measurement: Measurement) -> None:
        self.approximations, self.measurement = tuple(approximations), measurement
        self.states: list[State] = []
        self._searched = False
        self._rounds = 0

    def progress(self) -> dict[str, Any]:
        """Return what is known so far, in plain values, without what is measured."""
        return {"states": self.states, "searched": self._searched, "rounds": self._rounds}

    def restore(self, progress: Mapping[str, Any]) -> None:
        """Go on from the `progress` of a survey of the same approximations."""
        self.states, self._searched, self._rounds = (progress[name] for name in ("states", "searched", "rounds"))

    @property
    def long(self) -> bool:
        """Whether what is left is a proof that did not close at the first go, and is worth sharing out."""
        return self._rounds > 0

    def tasks(self, pieces: int = 1) -> list[MeasurementTask]:
        """Return what can be done now, in any order; screening in about so many pieces. Empty: all is done."""
        if not self.approximations:
            return []
        if not self.states:
            return [
                Screening(self.approximations, self.measurement, share)
                for share in shares(self.measurement.total, pieces)
            ]
        if not self._searched:
            return [Search(self.approximations[i], self.measurement, self.states[i].screens) for i in self._to_search()]
        if open_proofs := self._open():
            return [proof for number in open_proofs for proof in self._proofs(number)]
        return [SolutionProof(self.approximations[i], self.measurement) for i in self._to_solve()]

    def put(self, results: list[Any], number: int, result: Any) -> None:
        """Write what came out of task `number` into a list that is None where nothing came yet.

        Screens are merged at once, all into one place, so that memory does not grow with the number of tasks.
        """
        known = next((i for i, one in enumerate(results) if one), None) if not self.states else None
        if known is None:
            results[number] = result
        else:
            results[known], results[number] = _merged([results[known], result]), []

    def take(self, results: Sequence[Any]) -> None:
        """Take what came out of `tasks`, in their order."""
        if not self.states:
            self.states = [State(screens) for screens in _merged([result for result in results if result])]
        elif not self._searched:
            for number, found in zip(self._to_search(), results, strict=True):
                self.states[number].refined, self.states[number].lower = found
            self._searched = True
        elif not (open_proofs := self._open()):
            for number, upper in zip(self._to_solve(), results, strict=True):
                self.states[number].solution_upper = upper
        else:
            remaining = iter(results)
            for number in open_proofs:
                self._take_proofs(number, [next(remaining) for _ in self._proofs(number)])
            self._rounds += 1
        if not self._searched and not self._to_search():
            self._searched = True

    def run(
        self,
        folder: Path = Path("."),
        device: str = "cpu",
        stop: Callable[[], bool] = lambda: False,
        whole: bool = True,
    ) -> bool:
        """Do it all here (unless `whole`, only what is not `long`); return whether nothing is left."""
        while tasks := self.tasks():
            if stop() or (self.long and not whole):
                return False
            self.take([task.run(folder, device) for task in tasks])
        return True

    def _to_search(self) -> list[int]:
        if self.measurement.of_rows:
            return []
        return [i for i, state in enumerate(self.states) if math.isfinite(state.best_seen.lower)]

    def _open(self) -> list[int]:
        """Return the approximations that are to be proved."""
        if self.measurement.gap is None:
            return []
        return [
            i
            for i, state in enumerate(self.states)
            if math.isfinite(state.best_seen.lower) and not state.reason and self._left(state)
        ]

    def _to_solve(self) -> list[int]:
        """Return the networks whose error is still to be bounded from their equation."""
        if self.measurement.gap is None or self.measurement.tentative:
            return []
        solve = (i for i in self._to_search() if self.approximations[i].solves)
        return [i for i in solve if math.isnan(self.states[i].solution_upper)]

    def _left(self, state: State) -> int:
        """Return how many boxes of the proof are left."""
        if state.pool is None:
            return self.measurement.boxes
        if state.pool.status != "budget" or len(state.pool.boxes) > certify.LARGEST or state.pool.forecast:
            return 0
        return max(0, self.measurement.boxes - state.pool.done)

    def _proofs(self, number: int) -> list[Proof]:
        state, approximation = self.states[number], self.approximations[number]
        if state.pool is None:
            boxes = max(min(FIRST, self.measurement.boxes), certify.least(self.measurement.dimension))
            return [Proof(approximation, self.measurement, state.best_seen, None, boxes)]
        boxes, more = divmod(min(state.pool.done, self._left(state)), PARTS)
        return [
            Proof(approximation, self.measurement, state.best_seen, part, boxes + (index < more))
            for index, part in enumerate(certify.split(state.pool, PARTS))
        ]

    def _take_proofs(self, number: int, results: Sequence[certify.Pool | str]) -> None:
        state = self.states[number]
        reasons = [result for result in results if isinstance(result, str)]
        if reasons:
            state.reason = reasons[0]
        else:
            state.pool = certify.join([result for result in results if isinstance(result, certify.Pool)])


def _merged(parts: Sequence[Screens]) -> Screens:
    """Return the screens of disjoint parts together."""
    return [[screen.merge_all(sets) for sets in zip(*one, strict=True)] for one in zip(*parts, strict=True)]
