"""The bracket: what is known of a sup-norm error, and the two verbs that combine such knowledge."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Bracket:
    """``lower <= ||target - network||_inf <= upper``, and where the lower bound is attained.

    `lower` is NaN where the error itself is not a number somewhere; then nothing else can be said and
    `upper` is infinite. ``Bracket(0.0, math.inf)`` says that nothing is known.

    Parameters
    ----------
    lower, upper: in the units of the target; 0 <= lower <= upper, and upper is never NaN.
    where: the point at which `lower` was seen, one coordinate per axis; ``()`` where no point is known.

    Raises
    ------
    ValueError: if the bounds contradict each other, are negative, or `upper` is finite beside a NaN.
    """

    lower: float
    upper: float = math.inf
    where: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        # One spelling per value (one NaN, no negative zero, no numpy scalars): equal brackets compare equal.
        for name in ("lower", "upper"):
            object.__setattr__(self, name, _canonical(getattr(self, name)))
        object.__setattr__(self, "where", tuple(_canonical(coordinate) for coordinate in self.where))
        if math.isnan(self.lower):
            if self.upper != math.inf:
                raise ValueError(f"if the lower bound is NaN, the upper bound must be infinite, not {self.upper}")
        elif not 0.0 <= self.lower <= self.upper:  # also refuses a NaN above
            raise ValueError(f"no norm lies between {self.lower} and {self.upper}")


def cover(a: Bracket, b: Bracket) -> Bracket:
    """Bracket the larger of two suprema: of one network on two parts of its domain.

    Maximum of the lowers, maximum of the uppers. Associative, commutative, idempotent, so that parts may
    arrive in any order and twice; ``Bracket(0.0, 0.0)``, the empty part, is neutral. A NaN is sticky.
    """
    # A NaN needs no case of its own: its upper bound is infinite by construction.
    higher = _higher(a, b)
    return Bracket(higher.lower, max(a.upper, b.upper), higher.where)


def tighten(a: Bracket, b: Bracket) -> Bracket:
    """Combine two measurements of one and the same supremum.

    Maximum of the lowers, minimum of the uppers. Associative, commutative, idempotent;
    ``Bracket(0.0, math.inf)``, which knows nothing, is neutral. A NaN is sticky: a finite upper bound
    proved elsewhere cannot hold once an error that is not a number was seen.

    Raises
    ------
    ValueError: if one measurement lies wholly above the other, so that one of them is wrong.
    """
    higher = _higher(a, b)
    upper = math.inf if math.isnan(higher.lower) else min(a.upper, b.upper)
    return Bracket(higher.lower, upper, higher.where)


def _higher(a: Bracket, b: Bracket) -> Bracket:
    """Return the one with the larger lower bound, NaN on top; ties to the smallest known place."""
    if _rank(a) != _rank(b):
        return a if _rank(a) > _rank(b) else b
    return a if _place(a) <= _place(b) else b


def _rank(bracket: Bracket) -> tuple[bool, float]:
    """Order lower bounds totally; comparing the floats themselves would lose a NaN."""
    return (True, 0.0) if math.isnan(bracket.lower) else (False, bracket.lower)


def _place(bracket: Bracket) -> tuple[bool, tuple[float, ...]]:
    """Order places lexicographically, no place behind every known one."""
    return (not bracket.where, bracket.where)


def _canonical(value: float) -> float:
    """Return a Python float: the one NaN for every NaN, zero for negative zero."""
    plain = float(value) + 0.0
    return math.nan if math.isnan(plain) else plain
