"""What a finished survey says of one network: the record of a measurement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import torch

from hpcsweep.approx import plugins
from hpcsweep.approx.supnorm.approximations import Approximation, ErrorFunction
from hpcsweep.approx.supnorm.certificate.certify import Pool
from hpcsweep.approx.supnorm.certificate.enclosure import NoEnclosure
from hpcsweep.approx.supnorm.measurement import Measurement, inner
from hpcsweep.approx.supnorm.screening import screen
from hpcsweep.approx.supnorm.search import kinks, refine, starts
from hpcsweep.approx.supnorm.survey import State
from hpcsweep.approx.supnorm.tasks import CONTRADICTION, enclosed
from hpcsweep.bracket import Bracket

CONFIDENCE = 0.95  # of the statement of volume
_LIKE_ROUNDING = 4.0  # a root mean square below so many of the largest rounding errors seen is made of them
_MEANS = "l1_error, l2_error and quantiles are those of rounding errors of float64"


@dataclass(frozen=True)
class Measured:
    """The error of one network over its domain.

    Attributes
    ----------
    bracket: from below, the largest |error| that is proved at a point, and the point; from above, what was proved,
        infinite where nothing was.
    screened: the largest |error| at the points alone, before any search: what refinement gained on.
    l1, l2: mean |error| and root of the mean square, over the first point set.
    quantiles: of |error| there, upper ends of bins, at most 2^-5 too large.
    averaged: points over which the means and quantiles are taken.
    points: points at which the error was evaluated in all, and `nonfinite` where it was NaN or infinite; of those that
        a proof looks at, only one that is.
    certificate: "closed" (upper <= (1 + gap) lower), "budget", "floor" (of float64 arithmetic), "no rule" or "off",
        which is also said where the error is not finite somewhere.
    boxes: of the proof.
    pieces: of a ReLU network in one dimension, on its domain: where it is linear; -1 of others, and for NaN.
    boundary: whether the worst point lies on the boundary of the domain.
    sample_distance: of the worst point to the nearest training sample (Euclidean); NaN if samples are not known.
    uniform: what the independent uniform points alone would have reported; NaN if there were none.
    volume: with 95 % confidence the error exceeds `uniform` on at most this share of the domain, 1 - 0.05^(1/n) for n
        points; NaN if there were none.
    message: what is worth knowing.
    central_share: the share of each side that was measured apart, NaN if none was; and of the central box of so much
    central_l2: the root of the mean square, over the points of the first kind in it.
    central_lower: the largest |error| found in it: at the points of each kind, or `where` if that lies in it.
    proved: whether the lower bounds are: False where an operation has no rule, so that they are float64 evaluations.
    rounding: the rounding error of float64 evaluations of the error at the worst points, as far as it was seen; NaN if
        the error is not finite somewhere. Means and quantiles below it are rounding too.
    solution_upper: of a network that solves Poisson's equation, an upper bound of its error that is proved without the
        solution, infinite where none is found; NaN of others, and where no proof was asked for.
    """

    bracket: Bracket
    screened: float
    l1: float
    l2: float
    quantiles: tuple[float, ...]
    averaged: int
    points: int
    nonfinite: int
    certificate: str
    boxes: int
    pieces: int
    boundary: bool
    sample_distance: float
    uniform: float
    volume: float
    message: str
    central_share: float = math.nan
    central_l2: float = math.nan
    central_lower: float = math.nan
    proved: bool = False
    rounding: float = math.nan
    solution_upper: float = math.nan

    @property
    def lower(self) -> float:
        """The lower bound."""
        return self.bracket.lower

    @property
    def upper(self) -> float:
        """The proved upper bound, infinite where nothing was proved."""
        return self.bracket.upper

    @property
    def where(self) -> tuple[float, ...]:
        """The point at which the lower bound is attained."""
        return self.bracket.where


def finalize(
    approximation: Approximation,
    measurement: Measurement,
    state: State,
    quantiles: Sequence[float] = (),
    folder: Path = Path("."),
) -> Measured:
    """Return what the survey of one approximation found, with these quantiles of |error|. Raises PluginChanged."""
    with plugins.unchanged(approximation.plugins, folder):
        return _finalized(approximation.error_function(folder, "cpu"), measurement, state, quantiles)


def _finalized(
    functions: ErrorFunction, measurement: Measurement, state: State, quantiles: Sequence[float]
) -> Measured:
    refined, pool = state.refined, state.pool
    refuted = _refuted(functions, state)
    bracket = _bracket(state, refuted)
    first, alone = state.screens[0], state.screens[-1] if measurement.uniform else None
    points = sum(seen.count for seen in state.screens) + (refined.values + refined.gradients if refined else 0)
    nonfinite = sum(seen.nans + seen.infinities for seen in state.screens) + (refined.nonfinite if refined else 0)
    met = _met(state)
    points, nonfinite = points + met, nonfinite + met
    rounding = state.lower.rounding if state.lower else math.nan
    message = _message(measurement, state, refuted)
    if first.l2 < _LIKE_ROUNDING * rounding:
        message = f"{message}; {_MEANS}" if message else _MEANS
    if nonfinite:
        message = f"The error is NaN or infinite at {nonfinite} of {points} points."
    return Measured(
        bracket=bracket,
        screened=state.screened.lower,
        l1=first.l1,
        l2=first.l2,
        quantiles=tuple(first.quantile(share) for share in quantiles),
        averaged=first.averaged,
        points=points,
        nonfinite=nonfinite,
        certificate="no rule" if refuted else _certificate(measurement, state),
        boxes=pool.done if pool else 0,
        pieces=_pieces(functions),
        boundary=bool(bracket.where) and refine.on_boundary(bracket.where, functions.domain),
        sample_distance=_distance(functions, bracket.where),
        uniform=alone.supremum if alone else math.nan,
        volume=-math.expm1(math.log1p(-CONFIDENCE) / alone.count) if alone else math.nan,
        message=message,
        **_central(functions, measurement, state, bracket),
        proved=state.lower is not None and not state.lower.reason and not refuted,
        rounding=rounding,
        solution_upper=_solution_upper(state, bracket.lower, refuted),
    )


def _message(measurement: Measurement, state: State, refuted: bool) -> str:
    """Return what is worth knowing of a measurement, however large the error is."""
    if measurement.of_rows:
        count = state.screens[0].count
        rows = f"{count:,} held-out row{'s' if count > 1 else ''}"
        return f"The error is the maximum over {rows} of the data, not over the domain."
    if refuted:
        return CONTRADICTION
    return state.message or (state.pool.remark if state.pool else "")


def _solution_upper(state: State, lower: float, refuted: bool) -> float:
    """Return the bound of a solution, infinite where code is not what it says of boxes, or more was found than that."""
    doubtful = refuted or state.reason == CONTRADICTION or state.solution_upper < lower
    return math.inf if doubtful and not math.isnan(state.solution_upper) else state.solution_upper


def _central(functions: ErrorFunction, measurement: Measurement, state: State, best: Bracket) -> dict[str, float]:
    """Return what is known of the central box, by field; nothing where it was not asked for."""
    if measurement.central is None:
        return {}
    kinds = len(measurement.kinds)
    screens = state.screens[kinds : 2 * kinds]
    box = inner(functions.domain, measurement.central)
    within = bool(best.where) and all(low <= x <= high for x, (low, high) in zip(best.where, box, strict=True))
    largest = reduce(screen.higher, [inside.bracket for inside in screens])
    if state.lower is not None and not state.lower.reason and math.isfinite(largest.lower):
        difference = enclosed(functions)
        places = [torch.tensor([inside.bracket.where], dtype=torch.float64) for inside in screens]
        largest = reduce(screen.higher, [Bracket(difference.lower_end(place, 0.0)) for place in places])
    largest = screen.higher(largest, best) if within else largest
    return {"central_share": measurement.central, "central_l2": screens[0].l2, "central_lower": largest.lower}


def _best(state: State, pool: Pool) -> Bracket:
    """Return the largest error of all that was seen, with nothing above."""
    return screen.higher(state.best_seen, Bracket(pool.lower, where=pool.where))


def _refuted(functions: ErrorFunction, state: State) -> bool:
    """Return whether the largest error that was seen is more than was proved, everywhere or there."""
    if state.pool is None:
        return False
    best = _best(state, state.pool)
    if not best.where or not math.isfinite(best.lower):
        return False
    where = torch.tensor([best.where], dtype=torch.float64)
    try:
        return enclosed(functions).contradicted(where, best.lower, state.pool.bracket.upper)
    except NoEnclosure:  # where it had rules before: it is another function now
        return True


def _bracket(state: State, refuted: bool) -> Bracket:
    """Return the bracket of all that was found and proved."""
    if state.pool is None:
        return state.best_seen
    best = _best(state, state.pool)
    # The lower bound is evaluated in float64; at the floor of that arithmetic it may pass the proof by an ulp.
    return best if refuted else Bracket(best.lower, max(state.pool.bracket.upper, best.lower), best.where)


def _met(state: State) -> bool:
    """Return whether the proof met an error that is NaN or infinite, where it looked itself."""
    return state.pool is not None and not math.isfinite(state.pool.lower)


def _certificate(measurement: Measurement, state: State) -> str:
    if measurement.gap is None or (state.pool is None and not state.reason) or _met(state):
        return "off"
    return "no rule" if state.pool is None else state.pool.status


def _pieces(functions: ErrorFunction) -> int:
    """Return the number of linear pieces where it can be told exactly, else -1."""
    if len(functions.terms) != 1 or len(functions.domain) != 1 or functions.terms[0].activation != "relu":
        return -1
    return kinks.breakpoints(functions.terms[0], *functions.domain[0])[1]


def _distance(functions: ErrorFunction, where: Sequence[float]) -> float:
    if functions.samples is None or not where or not np.isfinite(where).all():
        return math.nan
    return float(starts.nearest(torch.tensor([list(where)], dtype=torch.float64), functions.samples.cpu())[0])
