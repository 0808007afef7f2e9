"""What is asked of the proofs of one subject: brackets, and bounds that are a little too small."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import mpmath as mp
import numpy as np
import torch

from hpcsweep.approx.supnorm.approximations import ErrorFunction, InMemory
from hpcsweep.approx.supnorm.certificate.certify import advance, start
from hpcsweep.approx.supnorm.certificate.enclosure import NoEnclosure
from hpcsweep.approx.supnorm.certificate.enclosure.difference import Difference
from hpcsweep.approx.supnorm.certificate.methods import Methods
from hpcsweep.approx.supnorm.measured import Measured, finalize
from hpcsweep.approx.supnorm.measurement import Measurement
from hpcsweep.approx.supnorm.survey import Survey
from hpcsweep.approx.supnorm.tasks import enclosed
from hpcsweep.bracket import Bracket
from scripts.soundness.subject import DIGITS, Subject, points_of

GAP, BOXES, ATTEMPT = 0.01, 400, 130
LESS = mp.mpf("1e-9")  # by this share too small are the bounds that must not be proved
ORDERS = {1: (1, 2, 5, 7, 9), 2: (1, 3, 5), 3: (2, 4), 4: (2, 3), 5: (3,), 6: (2,)}


class Only(Methods):
    """One method: models of an order, or, with 0, lines."""

    def __init__(self, difference: Difference, order: int, blind: bool = False) -> None:
        """`blind`: never to see how large the error is, so that a bound that is too small is not noticed."""
        super().__init__(difference)
        self.orders = (order,) if order else ()
        self._blind = blind

    def of(self, order: int, full: bool = False, precise: bool = False) -> Difference:
        """Return the difference by a method."""
        difference = super().of(order, full, precise)
        if self._blind:
            difference.errors = lambda centers: torch.zeros_like(centers[:, 0])
        return difference

    def candidates(self, precise: bool = False) -> list[tuple[int, bool]]:
        """Nothing to choose from, unless in double-double."""
        return super().candidates(True) if precise else [(order, False) for order in self.orders or (0,)]


def violations(subject: Subject, generator: random.Random, counts: Counter[str]) -> Iterator[str]:
    """Yield what is false about the brackets of a subject; see `check_soundness` for what is counted."""
    functions, dimension = subject.functions, len(subject.functions.domain)
    seed, order = generator.randrange(2**16), generator.choice(ORDERS[dimension])
    found = _measured(functions, seed)
    counts[found.certificate] += 1
    counts["evaluated lower ends"] += not found.proved
    places = [*points_of(np.random.default_rng(seed), functions.domain), *([found.where] if found.where else [])]
    errors = {place: error for place in places if (error := subject.error(place)) is not None}
    if not errors:
        counts["without truth"] += 1
        return
    worst = max(errors, key=lambda place: abs(errors[place]))
    largest, difference = abs(errors[worst]), enclosed(functions)
    if found.proved and found.where in errors and found.lower > abs(errors[found.where]):
        yield f"lower end {found.lower!r} > {mp.nstr(errors[found.where], 25)} at {found.where}"
    bounds = {f"upper end ({found.certificate})": found.upper}
    if found.certificate not in ("no rule", "off"):
        yield from _false_points(difference, errors)
        models = bool(Methods(difference).orders)
        bounds |= _by_other_means(difference, found.bracket, order if models else 0)
        bounds |= _of_false_proofs(difference, worst, largest, order if models else 0)
        counts["false bounds tried"] += len(bounds) // 2
    for name, upper in bounds.items():
        if upper < largest:
            yield f"{name} {upper!r} < {mp.nstr(largest, 25)} at {worst}"


def _measured(functions: ErrorFunction, seed: int) -> Measured:
    dimension, approximation = len(functions.domain), InMemory(functions)
    measurement = Measurement(("sobol", "inflated"), 64, 64, seed, dimension, 0, 2, 2, gap=GAP, boxes=BOXES)
    survey = Survey([approximation], measurement)
    survey.run()
    return finalize(approximation, measurement, survey.states[0])


def _false_points(difference: Difference, errors: Mapping[tuple[float, ...], mp.mpf]) -> Iterator[str]:
    """Yield the points at which double-doubles, or what takes their place, do not contain the error."""
    try:
        enclosures = difference.at(torch.tensor(list(errors), dtype=torch.float64))
    except NoEnclosure:
        return
    parts = zip(*(part.tolist() for part in (enclosures.leading, enclosures.trailing, enclosures.radius)), strict=True)
    for (place, error), (leading, trailing, radius) in zip(errors.items(), parts, strict=True):
        with mp.workdps(DIGITS):
            if math.isfinite(leading + trailing + radius) and abs(error - leading - mp.mpf(trailing)) > radius:
                yield f"{leading!r} + {trailing!r} +- {radius!r} without {mp.nstr(error, 40)} at {place}"


def _by_other_means(difference: Difference, bracket: Bracket, order: int) -> dict[str, float]:
    """Return upper bounds by lines, and by models of another order if that is not 0."""
    begun = start(len(bracket.where), bracket.lower, bracket.where)
    return {
        f"{tried or 'lines'}": advance(difference, begun, GAP, ATTEMPT, methods=Only(difference, tried)).bracket.upper
        for tried in {0, order}
    }


def _of_false_proofs(difference: Difference, where: Sequence[float], error: mp.mpf, order: int) -> dict[str, float]:
    """Return the upper bounds that are proved where a proof need not go below what is a little too small."""
    level = float(error * (1 - LESS))
    if not 0.0 < level < error:
        return {}
    return {
        f"{tried or 'lines'}, blind": advance(
            difference, start(len(where), level, where), 0.0, ATTEMPT, methods=Only(difference, tried, blind=True)
        ).bracket.upper
        for tried in {0, order}
    }
