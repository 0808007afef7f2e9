"""The bracket and its verbs: order and repetition of the parts never matter, and a NaN is never lost."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsweep.bracket import Bracket, cover, tighten

TRUTH = 2.0  # the brackets drawn below all hold it, so that `tighten` finds no contradiction

# Few distinct values, so that ties are common.
places = st.lists(st.sampled_from([-1.0, -0.0, 0.0, 0.5]), min_size=0, max_size=2).map(tuple)
lowers = st.one_of(st.sampled_from([0.0, 1.0, TRUTH]), st.floats(0.0, TRUTH))
uppers = st.one_of(st.sampled_from([TRUTH, 3.0, math.inf]), st.floats(TRUTH, 1e300))
finite = st.builds(Bracket, lowers, uppers, places)
spoilt = st.builds(Bracket, st.just(math.nan), st.just(math.inf), places)
brackets = st.one_of(finite, finite, finite, spoilt)
verbs = pytest.mark.parametrize("verb", [cover, tighten])
Verb = Callable[[Bracket, Bracket], Bracket]


@verbs
@given(a=brackets, b=brackets, c=brackets)
def test_associative(verb: Verb, a: Bracket, b: Bracket, c: Bracket) -> None:
    assert repr(verb(verb(a, b), c)) == repr(verb(a, verb(b, c)))


@verbs
@given(a=brackets, b=brackets)
def test_commutative_to_the_bit(verb: Verb, a: Bracket, b: Bracket) -> None:
    assert repr(verb(a, b)) == repr(verb(b, a))


@verbs
@given(a=brackets, b=brackets)
def test_idempotent(verb: Verb, a: Bracket, b: Bracket) -> None:
    assert verb(a, a) == a
    assert verb(verb(a, b), b) == verb(a, b)


@verbs
@given(a=spoilt, b=brackets)
def test_nan_is_sticky(verb: Verb, a: Bracket, b: Bracket) -> None:
    for result in (verb(a, b), verb(b, a)):
        assert math.isnan(result.lower)
        assert result.upper == math.inf
        assert result.where in {part.where for part in (a, b) if math.isnan(part.lower)}


@given(a=finite, b=finite)
def test_verbs_mean_what_they_say(a: Bracket, b: Bracket) -> None:
    covered, tightened = cover(a, b), tighten(a, b)
    assert covered.lower == tightened.lower == max(a.lower, b.lower)
    assert covered.upper == max(a.upper, b.upper)
    assert tightened.upper == min(a.upper, b.upper)
    assert (covered.lower, covered.where) in {(a.lower, a.where), (b.lower, b.where)}


@given(a=brackets)
def test_neutral_elements(a: Bracket) -> None:
    assert cover(a, Bracket(0.0, 0.0)) == a
    assert tighten(a, Bracket(0.0, math.inf)) == a


@verbs
def test_ties_go_to_the_lexicographically_smallest_known_place(verb: Verb) -> None:
    ordered = [(-1.0, 5.0), (0.0,), (0.0, -1.0), (0.0, 2.0), (3.0,), ()]
    for smaller, larger in pairwise(ordered):
        assert verb(Bracket(1.0, 2.0, larger), Bracket(1.0, 2.0, smaller)).where == smaller


def test_contradicting_measurements_are_refused() -> None:
    with pytest.raises(ValueError, match="no norm lies between"):
        tighten(Bracket(3.0, 4.0), Bracket(1.0, 2.0))


@pytest.mark.parametrize(
    ("lower", "upper"), [(2.0, 1.0), (-1.0, 1.0), (0.0, math.nan), (math.nan, 1.0), (math.nan, math.nan)]
)
def test_impossible_bounds_are_refused(lower: float, upper: float) -> None:
    with pytest.raises(ValueError, match=r"norm|NaN"):
        Bracket(lower, upper)


def test_plain_floats_whatever_comes_in() -> None:
    bracket = Bracket(np.float32(0.5), np.int64(1), np.array([-0.0, 1.0]))
    assert repr(bracket) == "Bracket(lower=0.5, upper=1.0, where=(0.0, 1.0))"
    assert pickle.loads(pickle.dumps(bracket)) == bracket
    assert Bracket(np.float64("nan")) == Bracket(-math.nan)
    assert Bracket(math.inf).upper == math.inf
