"""Proved upper bounds of |target - approximant|: best-first branch and bound over boxes of the domain, in batches.

Whatever is settled, cut off or left open is bounded, so that the upper bound holds wherever the lower bound came from;
a good lower bound, that of `search.refine`, saves most of the work. Budgets are numbers of boxes and never seconds: the
same pool gives the same bits, interrupted or not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hpcsweep.approx.supnorm.certificate.branching import WHOLE, Boxes, bound, concatenated, grid, halves, parted
from hpcsweep.approx.supnorm.certificate.enclosure.difference import Difference
from hpcsweep.approx.supnorm.certificate.methods import Methods, parts
from hpcsweep.bracket import Bracket, cover

_FIRST = {1: 64, 2: 8, 3: 4}  # intervals per axis to begin with; 1 in more dimensions
# Boxes taken at once: a quarter of the open ones, so that good lower bounds are found before much is halved.
_SHARE, _FEWEST, _MOST = 4, 192, 4096
_LEAST = 8  # boxes bounded at once: fewer take as long
_PILOT, _PILOT_GROWTH = 2048, 8  # boxes done before the first pilot, and by which factor until the next one
_SMOOTH_PILOT = 512  # of Taylor models, which need fewer boxes
_TRIED = 32  # boxes that a pilot halves
_FINER, _FEW = {1: 1e-6, 2: 1e-6, 3: 1e-3, 4: 1e-3, 5: 1e-2, 6: 1e-2}, 2048  # gaps by dimension, tried with so many
_SAMPLED = 64  # boxes that are asked how many there will be
_ROOM = 0.25  # share of the gap from which on roundings at the worst point are in the way
_PRECISE = 32  # boxes that one in double-double counts as: it takes many times as long
_HOPELESS = 8  # times the boxes that are permitted: it is not worth while to begin
# In 7-D and 8-D the first forecasts were 3 to 13 times too small, in the median 6: of trained networks, most of which
# closed within 2^20 boxes.
TENTATIVE, _OPTIMISM = 1024, 6.0  # boxes before a tentative proof is forecast, and by what forecasts are multiplied
LARGEST = 1 << 22  # open boxes, some 0.1 GB per million and dimension; more end the search as a budget does


@dataclass(frozen=True, eq=False)
class Pool:
    """What a branch and bound knows. Plain arrays and numbers: picklable, resumable.

    Parameters
    ----------
    boxes: open ones.
    settled: bounds |error| outside the open boxes.
    floor: the part of it that no work would lower, 0 for none.
    gap: of the last `advance`.
    lower, where: a lower bound, and the point of the domain that has it.
    done: how many boxes have been bounded.
    order, full: of the Taylor models, 0 for straight lines; whether with these hidden layers are relaxed fully.
    precise: whether the models are in double-double, since roundings of float64 would keep the gap open.
    pilot: after how many boxes to decide that again.
    forecast: about how many boxes it would take, where that is hopeless; else 0.
    """

    boxes: Boxes
    settled: float
    floor: float
    gap: float
    lower: float
    where: tuple[float, ...]
    done: int = 0
    order: int = 0
    full: bool = False
    precise: bool = False
    pilot: int = _PILOT
    forecast: float = 0.0

    @property
    def weight(self) -> int:
        """Return as how many a box counts."""
        return _PRECISE if self.precise else 1

    @property
    def level(self) -> float:
        """Return the bound that no box need go below."""
        level = (1.0 + self.gap) * self.lower
        return self.floor if self.floor >= level else level  # NaN if the lower bound is

    @property
    def bracket(self) -> Bracket:
        """Return what is proved by now."""
        if math.isnan(self.lower):
            return Bracket(self.lower, math.inf, self.where)
        upper = max(self.settled, self.lower, float(self.boxes.bounds.max(initial=0.0)))
        return Bracket(self.lower, upper, self.where)

    @property
    def status(self) -> str:
        """Return "closed" (upper <= (1 + gap) * lower), "budget" (more boxes would help) or "floor" (none would)."""
        bracket = self.bracket
        if bracket.upper <= (1.0 + self.gap) * bracket.lower:
            return "closed"
        return "budget" if len(self.boxes) and not math.isnan(self.lower) else "floor"

    @property
    def remark(self) -> str:
        """Return a sentence where the proof was given up; else nothing."""
        if not self.forecast:
            return ""
        return f"The proof ended after {self.done} boxes: to reach the gap, it would take about {self.forecast:.0e}."


def start(dimension: int, lower: float, where: Sequence[float]) -> Pool:
    """Return the pool of a whole domain; nothing is bounded yet. Lower bound and place as known by other means."""
    return Pool(grid(dimension, _FIRST.get(dimension, 1)), 0.0, 0.0, 0.0, float(lower), tuple(where))


def least(dimension: int) -> int:
    """Return how many boxes a search begins with: before all of these are bounded, nothing is proved."""
    return _FIRST.get(dimension, 1) ** dimension


def advance(
    difference: Difference,
    pool: Pool,
    gap: float,
    boxes: int,
    stop: Callable[[], bool] = lambda: False,
    methods: Methods | None = None,
    needed: float = 0.0,
) -> Pool:
    """Bound boxes, worst first, until closed, or `boxes` more are done, or no work would help, or told to stop.

    Parameters
    ----------
    gap: relative; what an advance with a larger one has settled is not opened again.
    boxes: the budget, never exceeded; the last round is cut to what is left of it. One in double-double counts as 32.
    stop: asked between rounds; the pool then goes on later, with what was left of the budget, to the same bits.
    methods: those that may be used; None: all that there are.
    needed: a gap that must not stay open by roundings; of a smaller one, roundings of float64 are the end.

    Raises
    ------
    NoEnclosure: if the target, or an approximant without layers, does what has no rule.
    """
    methods = Methods(difference) if methods is None else methods
    limit = pool.done + boxes
    pool = _settle(replace(pool, gap=gap))
    if pool.done == 0 and methods.orders:
        pool = replace(pool, order=methods.orders[0], pilot=_SMOOTH_PILOT)
    while 0 < len(pool.boxes) <= LARGEST and pool.done < limit and not stop():
        if pool.done and not pool.precise and methods.blurred(pool.where, _ROOM * max(gap, needed) * pool.lower):
            pool = _made_precise(methods, pool)
        candidates = len(methods.candidates(pool.precise))
        trials = 2 * _TRIED * candidates * pool.weight
        if candidates > 1 and pool.done >= pool.pilot and limit - pool.done > trials:
            pool = _decide(methods, pool)
        pool = _settle(_round(methods, pool, limit - pool.done, needed))
    return pool


def begin(methods: Methods, pool: Pool, gap: float, boxes: int, permitted: int, tentative: bool = False) -> Pool:
    """Return a pool with its first boxes done, of all that are permitted; see `advance` and `with_forecast`.

    Where Taylor models close gaps with few boxes, a smaller one than is asked for takes few more. A tentative proof
    ends early where it would take more boxes than are permitted.
    """
    difference = methods.lines
    finer = _FINER.get(len(pool.boxes.low.T), gap) if methods.orders else gap
    if finer < gap:
        pool = advance(difference, pool, finer, min(boxes, _FEW), methods=methods, needed=gap)
        boxes -= pool.done
        if pool.status == "closed":
            return pool
    if tentative:
        first = advance(difference, pool, gap, min(boxes, TENTATIVE), methods=methods)
        boxes, pool = boxes - first.done, with_forecast(methods, first, permitted, True)
        if pool.forecast:
            return pool
    return with_forecast(methods, advance(difference, pool, gap, boxes, methods=methods), permitted, tentative)


def with_forecast(methods: Methods, pool: Pool, permitted: int, tentative: bool = False) -> Pool:
    """Return a pool that says about how many boxes it would take to close it, if that is hopeless with so many."""
    if pool.status != "budget" or pool.done >= permitted:
        return pool
    order = np.argsort(-pool.boxes.worst(), kind="stable")
    sample = halves(pool.boxes[order[:: max(1, len(order) // _SAMPLED)]])
    each = parts(methods.of(pool.order, pool.full, pool.precise), sample, pool.level)
    forecast = pool.done + 2 * len(pool.boxes) * each * pool.weight
    if tentative:
        forecast *= _OPTIMISM
    return replace(pool, forecast=forecast) if forecast > (1 if tentative else _HOPELESS) * permitted else pool


def _settle(pool: Pool) -> Pool:
    """Drop boxes that are at most at the level, or all if the error is not a number somewhere."""
    keep = pool.boxes.worst() > pool.level  # nothing is above NaN
    if keep.all():
        return pool
    return replace(pool, boxes=pool.boxes[keep], settled=max(pool.settled, pool.level))


def _worst(boxes: Boxes, count: int) -> tuple[Boxes, Boxes]:
    """Part boxes into the `count` worst and the others, each in order."""
    if len(boxes) <= count:
        return boxes, boxes[:0]
    order = np.argpartition(-boxes.worst(), count)
    return boxes[np.sort(order[:count])], boxes[np.sort(order[count:])]


def _round(methods: Methods, pool: Pool, most: int, needed: float) -> Pool:
    """Take the worst boxes, halve them, bound `most` at most and put back what is still open of their halves."""
    usual, left = min(_MOST, max(_FEWEST, len(pool.boxes) // _SHARE)), most
    most = max(1, most // pool.weight)
    taken, others = _worst(pool.boxes, min(usual, most))
    taken = parted(halves(taken), min(_LEAST, most))
    taken, rest = taken[:most], _as_they_are(taken[most:])  # of the rest, its parents' bounds say all that is known
    difference = methods.of(pool.order, pool.full, pool.precise)
    result = bound(difference, taken, pool.level)
    done = pool.done + min(len(taken) * pool.weight, left)
    rounding = result.floor > (1.0 + max(pool.gap, needed)) * pool.lower > 0.0
    if rounding and not pool.precise and methods.precise:
        top = max(pool.level, result.floor, float(result.boxes.bounds.max(initial=0.0)))
        taken = _as_they_are(replace(taken, bounds=np.minimum(taken.bounds, top)))
        boxes = concatenated([others, rest, taken])
        return _made_precise(methods, replace(pool, boxes=boxes, done=done))
    pool = replace(
        pool,
        boxes=concatenated([others, rest, result.boxes]),
        settled=max(pool.settled, pool.level, result.floor),
        floor=max(pool.floor, result.floor),
        done=done,
    )
    if result.error > pool.lower or math.isnan(result.error):
        place = difference.places(result.where)
        where = tuple(place[0].tolist())
        if where == pool.where and math.isfinite(result.error):  # what is proved there is known
            return pool
        error = difference.lower_end(place, result.error)
        if not error <= pool.lower:
            return replace(pool, lower=error, where=where)
    return pool


def _as_they_are(boxes: Boxes) -> Boxes:
    """Return boxes that are not to be halved before they are bounded."""
    return replace(boxes, axis=np.full_like(boxes.axis, WHOLE))


def _made_precise(methods: Methods, pool: Pool) -> Pool:
    """Return a pool that goes on in double-double."""
    return replace(pool, precise=True, order=methods.precise[0], full=False)


def _decide(methods: Methods, pool: Pool) -> Pool:
    """Try all methods on halves of the worst boxes, and choose."""
    boxes = halves(_worst(pool.boxes, _TRIED)[0])
    order, full = methods.cheapest(boxes, pool.level, pool.precise)
    done = pool.done + len(methods.candidates(pool.precise)) * len(boxes) * pool.weight
    return replace(pool, order=order, full=full, done=done, pilot=_PILOT_GROWTH * pool.pilot)


def split(pool: Pool, parts: int) -> list[Pool]:
    """Deal the open boxes out, the worst in turn; their number, and not who works on them, decides the result."""
    order = np.argsort(-pool.boxes.worst(), kind="stable")
    return [
        replace(pool, boxes=pool.boxes[order[part::parts]], done=pool.done if part == 0 else 0) for part in range(parts)
    ]


def join(pools: Sequence[Pool]) -> Pool:
    """Put parts together, in any order to the same bits.

    Raises
    ------
    ValueError: if there are none, or they were advanced to different gaps.
    """
    if len({pool.gap for pool in pools}) != 1:
        raise ValueError("parts of one pool must have been advanced to one gap")
    boxes = concatenated([pool.boxes for pool in pools])
    order = np.lexsort(np.concatenate([boxes.high, boxes.low], axis=1).T)
    best, precise = Bracket(0.0, math.inf), any(pool.precise for pool in pools)
    for pool in pools:
        best = cover(best, Bracket(pool.lower, math.inf, pool.where))
    return _settle(
        Pool(
            boxes=boxes[order],
            settled=max(pool.settled for pool in pools),
            floor=max(pool.floor for pool in pools),
            gap=pools[0].gap,
            lower=best.lower,
            where=best.where,
            done=sum(pool.done for pool in pools),
            order=min(pool.order for pool in pools if pool.precise == precise),
            full=any(pool.full for pool in pools),
            precise=precise,
            pilot=max(pool.pilot for pool in pools),
            forecast=max(pool.forecast for pool in pools),
        )
    )
