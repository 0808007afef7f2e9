"""Ends of brackets, proved or refuted: the lower one at its point, the upper one by branch and bound.

On a box around c, with x = c + h, the error is its Taylor polynomial at c of degree n - 1 and, because the error has
continuous derivatives of order n, what its n-th derivatives along h on all of the box add. The coefficients of
polynomials in several variables follow from those in one, along as many directions as there are monomials of degree n
(Griewank, Utke and Walther, Math. Comp. 69, 2000). Where the error has kinks in the box, the mean value form takes its
place: the value at c, and slopes of all of the box. Where it jumps there, the values on all of the box.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from flint import arb, arb_series, ctx, fmpq_mat

from hpcsweep.approx.supnorm.verification.balls import Balls, NoBalls, both_sides
from hpcsweep.approx.supnorm.verification.networks import Domain, Function

CONFIRMED, REFUTED, OPEN, NOTHING = "confirmed", "refuted", "not confirmed", "nothing claimed"
BITS = 128  # of boxes
_BITS_OF_POINTS = (200, 400, 800, 1600, 3200)
_TOGETHER, _POINTS, _STEPS, _BEST = 32, 1024, 12, 4  # of the search: points at once, in all, and how they close in
_SHARE = 0.25  # of the seconds of a proof that the search may take

Point = tuple[float, ...]
Exponents = tuple[int, ...]


@dataclass(frozen=True)
class Verdict:
    """What became of one end of a bracket.

    Attributes
    ----------
    verdict : one of `CONFIRMED`, `REFUTED`, `OPEN`, `NOTHING`
    reason : why it is not confirmed
    boxes : of the proof
    where : the point that refutes an upper end
    """

    verdict: str
    reason: str = ""
    boxes: int = 0
    where: Point = ()


def ends(
    error: Function, domain: Domain, where: Point, bracket: tuple[float, float], boxes: int, seconds: float, seed: int
) -> list[Verdict]:
    """Return the verdicts on the lower end of a bracket, see `lower_end`, and on the upper one, see `upper_end`."""
    checks = [
        lambda: lower_end(error, domain, where, bracket[0]),
        lambda: upper_end(error, domain, bracket[1], boxes, seconds, seed, where),
    ]
    return [_guarded(check) for check in checks]


def _guarded(check: Callable[[], Verdict]) -> Verdict:
    try:
        return check()
    except NoBalls as operation:
        return Verdict(OPEN, f"no ball arithmetic for `{operation}`")


def lower_end(error: Function, domain: Domain, where: Point, claimed: float) -> Verdict:
    """Say whether the absolute error at a point reaches what is claimed. Raises `NoBalls`."""
    if not _within(where, domain):
        return Verdict(REFUTED, f"the worst point {where} is not in the domain")
    for bits in _BITS_OF_POINTS:
        [ball] = errors(error, [where], bits)
        if ball >= claimed:
            return Verdict(CONFIRMED)
        if ball < claimed:
            short = float((claimed - ball) / claimed)
            return Verdict(REFUTED, f"the error at the worst point is smaller, by {short:.1e} of it: {_digits(ball)}")
    return Verdict(OPEN, f"the error at the worst point is {_digits(ball)}, to within rounding")


def _within(where: Point, domain: Domain) -> bool:
    return all(low <= x <= high for x, (low, high) in zip(where, domain, strict=True))


def _digits(ball: arb) -> str:
    return ball.str(17, radius=False)


def errors(error: Function, points: Sequence[Point], bits: int) -> list[arb]:
    """Return the absolute errors at points as balls."""
    with ctx.workprec(bits):
        return [abs(series[0]) for series in _rows(error, [[[x] for x in point] for point in points], 0)]


def _rows(error: Function, rows: Sequence[Sequence[Sequence[Any]]], order: int) -> list[arb_series]:
    """Return the errors as series at rows of coordinates, each [value] or [value, direction]."""
    array = np.empty((len(rows), len(rows[0])), object)
    ctx.cap = order + 1
    for place in np.ndindex(array.shape):
        array[place] = arb_series(rows[place[0]][place[1]], order + 1)
    forms = list(error(Balls(array)).array)
    if any(form.prec <= order for form in forms):  # coefficients that are not known would be read as 0
        raise NoBalls("an operation that loses coefficients")
    return forms


class Bound(NamedTuple):
    """An upper bound of the absolute error on a box, and the absolute error at its centre."""

    top: arb
    value: arb
    centre: Point

    @staticmethod
    def least(tops: Sequence[arb], value: arb_series, centre: Point) -> Bound:
        """Return the least of several bounds."""
        finite = (arb(top.upper()) for top in tops if top.is_finite())
        return Bound(min(finite, default=arb("inf")), abs(value[0]), centre)


class Enclosure:
    """The error on boxes of a domain of any dimension."""

    def __init__(self, error: Function, dimension: int, claimed: float) -> None:
        """`claimed`: about how large the error is; the smaller, the higher the order."""
        digits = max(0, min(6, round(-np.log10(claimed)))) if claimed else 6
        order = {1: 8 + digits, 2: 6 + digits, 3: 3 + digits // 3, 4: 2, 5: 2, 6: 2}.get(dimension, 1)
        self._error, self._forms = error, [_Form.of(degree, dimension) for degree in dict.fromkeys((order, 1))]

    def __call__(self, box: Domain) -> Bound:
        """Bound the error on a box. Raises `NoBalls`."""
        centre = tuple((low + high) / 2 for low, high in box)
        reach = [(arb(high) - middle).max(arb(middle) - low) for (low, high), middle in zip(box, centre, strict=True)]
        inside = [arb(middle) + arb(0, 1) * radius for middle, radius in zip(centre, reach, strict=True)]
        ranges = []
        for both, form in itertools.product((False, True), self._forms):
            before = both_sides.set(both)
            try:
                # Along with `order` 1 each axis by itself; beyond, one direction that contains all of the box.
                across = form.directions if form.order == 1 else [[arb(0, 1)] * len(box)]
                everywhere = _rows(self._error, _lines(inside, reach, across), form.order)
                ranges.append(abs(everywhere[0][0]))
                rest = sum((abs(series[form.order]) for series in everywhere), arb(0))
                if rest.is_finite():
                    series = _rows(self._error, _lines(centre, reach, form.directions), form.order - 1)
                    return Bound.least([form.top(series) + rest, *ranges], series[0], centre)
            finally:
                both_sides.reset(before)
        [value] = _rows(self._error, [[[middle] for middle in centre]], 0)
        return Bound.least(ranges, value, centre)


@dataclass(frozen=True)
class _Form:
    """A Taylor polynomial of all degrees below `order`.

    Attributes
    ----------
    directions : those along which it is known
    maps : for each degree, the exponents of its monomials and how their coefficients follow from those along directions
    """

    order: int
    directions: list[Exponents]
    maps: list[tuple[list[Exponents], list[list[arb]]]]

    @staticmethod
    def of(order: int, dimension: int) -> _Form:
        """Make one; as many directions as monomials of degree `order` tell all those of lower degrees apart."""
        directions, maps = _exponents(order, dimension), []
        for degree in range(order):
            powers = _exponents(degree, dimension)
            table = fmpq_mat([[math.prod(map(pow, way, power)) for power in powers] for way in directions])
            inverse = (table.transpose() * table).inv() * table.transpose()
            maps.append((powers, [[arb(entry) for entry in row] for row in inverse.table()]))
        return _Form(order, directions, maps)

    def top(self, series: Sequence[arb_series]) -> arb:
        """Bound the absolute value of the polynomial on [-1, 1]^d, from series along the directions."""
        terms = {
            power: sum((factor * along[degree] for factor, along in zip(row, series, strict=True)), arb(0))
            for degree, (powers, rows) in enumerate(self.maps)
            for power, row in zip(powers, rows, strict=True)
        }
        return _top(terms).max(_top({power: -term for power, term in terms.items()}))


def _exponents(degree: int, dimension: int) -> list[Exponents]:
    """Return those of all monomials of one degree."""
    chosen = itertools.combinations_with_replacement(range(dimension), degree)
    return [tuple(map(axes.count, range(dimension))) for axes in chosen]


def _lines(places: Sequence[Any], reach: Sequence[arb], directions: Sequence[Sequence[Any]]) -> list[list[list[Any]]]:
    """Return rows of coordinates of the lines through a place along some directions, in units of `reach`."""
    return [
        [[place, radius * step] for place, radius, step in zip(places, reach, way, strict=True)] for way in directions
    ]


def _top(terms: dict[Exponents, arb]) -> arb:
    """Bound a polynomial on [-1, 1]^d from above: parabolas along axes, and all other monomials, each by itself."""
    dimension = len(next(iter(terms)))
    terms = dict(terms)
    top = terms.pop((0,) * dimension)
    for axis in np.eye(dimension, dtype=int):
        slope = terms.pop(tuple(axis.tolist()), arb(0)).abs_upper()
        bend = arb(terms.pop(tuple((2 * axis).tolist()), arb(0)).upper())
        turns = bend < 0 and slope <= -2 * bend  # t = slope / (-2 bend) is within
        top += slope * slope / (-4 * bend) if turns else slope + bend
    for power, term in terms.items():
        even = all(exponent % 2 == 0 for exponent in power)
        top += arb(0).max(arb(term.upper())) if even else term.abs_upper()
    return top


def upper_end(
    error: Function, domain: Domain, claimed: float, boxes: int, seconds: float, seed: int = 0, where: Point = ()
) -> Verdict:
    """Say whether the error is at most what is claimed, on all of a domain. Raises `NoBalls`.

    It may be refuted at `where`. At most so many boxes are tried, for so many seconds; without a proof, errors at
    random points, and closer and closer to the largest of them, may refute it.
    """
    start, count, proved = time.monotonic(), 0, 0.0
    if not math.isfinite(claimed):
        return Verdict(NOTHING)
    if where and _within(where, domain) and errors(error, [where], BITS)[0] > claimed:
        return _refuted(error, where, claimed, 0)
    with ctx.workprec(BITS):
        enclosure, todo = Enclosure(error, len(domain), claimed), [(domain, 1.0)]
        while todo and count < boxes and time.monotonic() < start + seconds:
            box, share = todo.pop()
            bound, count = enclosure(box), count + 1
            if bound.value > claimed:
                return _refuted(error, bound.centre, claimed, count)
            if bound.top <= claimed:
                proved += share
            else:
                todo += [(half, share / 2) for half in _halves(box, domain)]
    if not todo:
        return Verdict(CONFIRMED, boxes=count)
    found = _search(error, domain, claimed, seed, time.monotonic() + _SHARE * seconds)
    if found:
        return _refuted(error, found, claimed, count)
    return Verdict(OPEN, f"within {count} boxes, which confirm it on {proved:.4%} of the domain", count)


def _refuted(error: Function, where: Point, claimed: float, boxes: int) -> Verdict:
    [ball] = errors(error, [where], _BITS_OF_POINTS[0])
    return Verdict(REFUTED, f"the error at {where} is {_digits(ball)}, above {claimed!r}", boxes, where)


def _halves(box: Domain, domain: Domain) -> list[Domain]:
    sides = [(high - low) / (last - first) for (low, high), (first, last) in zip(box, domain, strict=True)]
    axis = int(np.argmax(sides))
    low, high = box[axis]
    middle = (low + high) / 2
    return [(*box[:axis], side, *box[axis + 1 :]) for side in ((low, middle), (middle, high))]


def _search(error: Function, domain: Domain, claimed: float, seed: int, deadline: float) -> Point | None:
    """Return a point whose error surely is above what is claimed, if one is met; repeatable but for the deadline."""
    generator = np.random.Generator(np.random.Philox(key=seed))
    low, high = np.array(domain).T
    best: list[tuple[float, Point]] = []
    sizes = [1.0] * (_POINTS // _TOGETHER) + [2.0**-step for step in range(1, _STEPS) for _ in range(_BEST)]
    for number, size in enumerate(sizes):
        if time.monotonic() > deadline:
            break
        middle = (low + high) / 2 if size == 1.0 else np.array(best[number % len(best)][1])
        steps = generator.uniform(-0.5, 0.5, (_TOGETHER, len(domain))) * (high - low) * size
        points = [tuple(point) for point in np.clip(middle + steps, low, high).tolist()]
        balls = errors(error, points, BITS)
        for ball, point in zip(balls, points, strict=True):
            if ball > claimed:
                return point
        best = sorted([*best, *((float(ball), point) for ball, point in zip(balls, points, strict=True))])[-_BEST:]
    return None
