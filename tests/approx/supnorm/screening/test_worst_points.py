"""The worst points and the quantiles of a screen, against a full sort and NumPy; equal bits however they are shared."""

from __future__ import annotations

import math
import pickle
from functools import reduce

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hpcsweep.approx.supnorm.points import PointSet, make
from hpcsweep.approx.supnorm.screening.accumulator import Accumulator
from hpcsweep.approx.supnorm.screening.error_keys import NAN_KEY, value_of
from hpcsweep.approx.supnorm.screening.screen import (
    Screen,
    candidates,
    empty,
    higher,
    merge,
    merge_all,
    screen,
    tile_count,
)
from hpcsweep.bracket import Bracket
from tests.approx.supnorm.screening.test_screen import SQUARE, target, zero

errors = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 2.5, math.inf, -math.inf, math.nan, -math.nan, 5e-324]),
    st.floats(allow_nan=False, allow_infinity=False),
)


def key_of(error: float) -> int:
    return NAN_KEY if math.isnan(error) else int(np.float64(abs(error)).view(np.int64))


def sorted_out(values: list[float], worst: int) -> tuple[tuple[int, int], ...]:
    """The slow truth: a full sort by key and index, and each key once."""
    ranked = sorted((-key_of(value), index) for index, value in enumerate(values))
    seen: dict[int, int] = {}
    for negative, index in ranked:
        seen.setdefault(-negative, index)
    return tuple(seen.items())[:worst]


def at_indices(values: list[float], tile: int, worst: int, tiles: list[int]) -> Screen:
    """Screen given errors, index by index; tiles in the given order."""
    points = make("uniform", 1, len(values), 0, ((0.0, 1.0),))
    known = {points(index, 1).item(): value for index, value in enumerate(values)}

    def planted(places: Tensor) -> Tensor:
        return torch.tensor([known.get(place, 0.0) for place in places[:, 0].tolist()], dtype=torch.float64)

    return merge_all(screen(points, range(t, t + 1), tile, planted, [zero], worst=worst)[0] for t in tiles)


def whole(points: PointSet, tile: int, worst: int) -> Screen:
    return screen(points, range(tile_count(points, tile)), tile, target, [zero], worst=worst)[0]


# The worst points


@given(values=st.lists(errors, min_size=1, max_size=40), worst=st.integers(0, 12), data=st.data())
@settings(max_examples=150, deadline=None)
def test_worst_points_equal_a_full_sort_in_any_order(values: list[float], worst: int, data: st.DataObject) -> None:
    tile = data.draw(st.integers(1, 16))
    order = data.draw(st.permutations(range(-(-len(values) // tile))))
    result = at_indices(values, tile, worst, order)
    assert result.worst == sorted_out(values, worst)
    assert (result.key, result.index) == sorted_out(values, 1)[0]
    assert result.nans == sum(map(math.isnan, values)) and result.infinities == sum(map(math.isinf, values))
    assert sum(count for _, count in result.counts) == len(values)


@given(values=st.lists(errors, min_size=1, max_size=60), worst=st.integers(1, 8), tile=st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_a_tally_keeps_the_worst_points_of_a_stream(values: list[float], worst: int, tile: int) -> None:
    for backwards in (False, True):  # tiles come in order as a rule, but need not
        accumulator = Accumulator(tile, worst, True, "cpu")
        starts = range(0, len(values), tile)
        for start in reversed(starts) if backwards else starts:
            accumulator.add(start, torch.tensor(values[start : start + tile], dtype=torch.float64))
        assert accumulator.worst == sorted_out(values, worst)


@pytest.mark.parametrize("kind", ["grid", "inflated", "sobol", "uniform"])
@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_worst_points_do_not_depend_on_ranks(kind: str, ranks: int) -> None:
    points = make(kind, 2, 5000, 3, SQUARE)
    tiles = tile_count(points, 256)
    shares = [screen(points, range(r, tiles, ranks), 256, target, [zero], worst=20)[0] for r in range(ranks)]
    merged = reduce(merge, [pickle.loads(pickle.dumps(share)) for share in reversed(shares)], empty())
    assert merged == whole(points, 256, 20)
    assert len(pickle.dumps(merged)) < 20_000
    every = points(0, points.count)
    assert merged.worst == sorted_out((target(every) - zero(every)).tolist(), 20)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_merging_is_associative_and_commutative_also_where_different_numbers_are_kept(data: st.DataObject) -> None:
    points = make("sobol", 2, 1024, 3, SQUARE)
    parts = [
        screen(points, range(t, t + 1), 64, target, [zero], worst=data.draw(st.integers(0, 6)))[0] for t in range(4)
    ] + [empty()]
    a, b, c, *_ = data.draw(st.permutations(parts))
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(a, empty()) == a


def test_one_corner_does_not_crowd_out_the_others() -> None:
    def slope(places: Tensor) -> Tensor:
        return 2 + places @ torch.tensor([0.7, 0.3], dtype=torch.float64)

    points = make("inflated", 2, 2**14, 3, SQUARE)
    result = screen(points, range(16), 1024, slope, [zero], worst=50)[0]
    places = candidates([result], [points], 50, "cpu")
    assert len({tuple(place) for place in places.tolist()}) == 50
    assert (points(0, 2**14) == 1.0).all(1).sum() > 800
    assert (places == 1.0).all(1).tolist() == [True] + 49 * [False]


def test_candidates_are_the_worst_of_all_sets() -> None:
    kinds = ("sobol", "inflated", "grid")
    sets = [make(kind, 2, 3000, 3, SQUARE) for kind in kinds]
    screens = [whole(points, 256, 30) for points in sets]
    places = candidates(screens, sets, 40, "cpu")
    found = [value_of(key_of(value)) for value in target(places).tolist()]
    every = torch.cat([target(points(0, points.count)).abs() for points in sets])
    best = sorted({value for value in every.tolist()}, reverse=True)[:40]
    assert found[:20] == pytest.approx(best[:20], rel=1e-13)
    assert found == sorted(found, reverse=True) and len(found) == 40
    assert candidates([empty()], sets[:1], 40, "cpu").shape == (0, 2)


def test_higher_keeps_nan_and_place() -> None:
    low, high, nothing = Bracket(1.0, where=(0.5,)), Bracket(2.0, where=(0.1,)), Bracket(math.nan, where=(0.7,))
    assert higher(low, high) == high == higher(high, low)
    assert higher(nothing, high).where == (0.7,)
    assert higher(Bracket(0.0), low) == low


# Quantiles


@given(values=st.lists(st.floats(1e-300, 1e300), min_size=1, max_size=60), percent=st.integers(0, 100))
@settings(max_examples=150, deadline=None)
def test_quantiles_equal_a_sort_within_a_bin(values: list[float], percent: int) -> None:
    result = at_indices(values, 16, 0, list(range(-(-len(values) // 16))))
    exact = sorted(values)[max(1, -(-len(values) * percent // 100)) - 1]
    assert exact <= result.quantile(percent / 100) <= exact * (1 + 2.0**-5)
    assert result.quantile(1.0) == max(values)


def test_quantiles_of_what_is_not_finite() -> None:
    result = at_indices([1.0, 2.0, math.inf, 3.0, math.nan], 2, 0, [0, 1, 2])
    assert result.quantile(0.2) == pytest.approx(1.0, rel=2.0**-5)
    assert 3.0 <= result.quantile(0.6) <= 3.0 * (1 + 2.0**-5)
    assert result.quantile(0.8) == math.inf
    assert math.isnan(result.quantile(1.0)) and math.isnan(empty().quantile(0.5))
    assert at_indices([0.0, 0.0, 1.0], 2, 0, [0, 1]).quantile(0.5) < 1e-307
    for share in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="between 0 and 1"):
            result.quantile(share)


def test_sets_that_are_not_fair_have_no_means() -> None:
    points = make("inflated", 2, 2**12, 3, SQUARE)
    result = whole(points, 256, 3)
    assert result.count == points.count and result.averaged == 0
    assert all(map(math.isnan, (result.l1, result.l2, result.quantile(0.5))))
    assert result.supremum == float(target(points(0, points.count)).abs().max())
    assert (result.absolute, result.square, result.counts) == (0, 0, ())
