"""Branch and bound: boxes, budgets, parts and outcomes."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hpcsweep.approx.supnorm.certificate import certify
from hpcsweep.approx.supnorm.certificate.branching import WHOLE, Boxes, bound, grid, halves
from hpcsweep.approx.supnorm.certificate.certify import Pool, advance, join, split, start
from hpcsweep.approx.supnorm.certificate.enclosure import AffineForm
from hpcsweep.approx.supnorm.certificate.enclosure.difference import Difference, UpperBound
from hpcsweep.approx.supnorm.certificate.methods import Methods
from hpcsweep.approx.supnorm.dense import Dense
from tests.approx.supnorm.certificate.errors import (
    PLENTY,
    Lipschitz,
    constant,
    difficult,
    doubles,
    line,
    of,
    proved,
    smooth,
    wave,
)
from tests.approx.supnorm.certificate.exact import random_network

# Boxes


@given(st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_halves_cover_their_parents_exactly(seed: int) -> None:
    generator = np.random.default_rng(seed)
    steps = np.sort(generator.integers(-(2**51), 2**51 + 1, (20, 3, 2)), axis=2)
    steps[:, :, 1] = np.maximum(steps[:, :, 1], steps[:, :, 0] + 2)
    low, high = steps[..., 0] * 2.0**-51, steps[..., 1] * 2.0**-51
    axis = generator.integers(-1, 3, 20).astype(np.int8)
    boxes = Boxes(low, high, np.ones((20, 2)), axis)
    children = halves(boxes)
    first, second = children[:20], children[20:]
    halved = np.flatnonzero(axis != WHOLE)
    assert len(second) == len(halved) and (boxes.low == low).all() and (boxes.high == high).all()
    for child, parent in enumerate(halved):
        along, others = axis[parent], [other for other in range(3) if other != axis[parent]]
        assert first.low[parent, along] == low[parent, along] and second.high[child, along] == high[parent, along]
        assert low[parent, along] < first.high[parent, along] == second.low[child, along] < high[parent, along]
        for half in (first[parent : parent + 1], second[child : child + 1]):
            assert (half.low[0, others] == low[parent, others]).all()
            assert (half.high[0, others] == high[parent, others]).all()
    center, radius = (children.low + children.high) / 2, (children.high - children.low) / 2
    assert (center - radius == children.low).all() and (center + radius == children.high).all()


def test_halves_are_never_worse_than_their_parents() -> None:
    class Loose(Lipschitz):
        """Bounds nothing on small boxes."""

        def upper_bounds(
            self, centers: Tensor, radii: Tensor, above: slice, below: slice
        ) -> tuple[UpperBound, UpperBound]:
            upper_bounds = Lipschitz.upper_bounds(self, centers, radii, above, below)
            for upper_bound, side in zip(upper_bounds, (above, below), strict=True):
                upper_bound.center[radii[side].amax(1) < 0.1] = torch.inf
            return upper_bounds

    pool = proved(Loose(wave, 4.0), 2, boxes=2000)
    assert pool.done > 1000 and pool.bracket.upper < 5


def test_what_is_cut_off_is_at_most_at_the_level() -> None:
    generator = np.random.default_rng(0)
    network = random_network(generator, 2, [12, 12], "tanh", scale=1.5)
    difference = of(network, smooth, line(2))
    boxes = grid(2, 32)
    points = torch.from_numpy(generator.uniform(-1, 1, (40_000, 2)))
    errors = difference.errors(points)
    level = 0.7 * float(errors.max())
    left = bound(difference, boxes, level).boxes
    inside = [
        ((points.numpy() >= low) & (points.numpy() <= high)).all(1)
        for low, high in zip(left.low, left.high, strict=True)
    ]
    covered = np.any(inside, axis=0)
    assert covered.mean() < 0.6  # and the others are proved to be low
    assert float(errors[torch.from_numpy(~covered)].max()) <= level
    assert (np.prod(left.high - left.low, axis=1) < 0.5 * 4 / 1024).sum() > 20  # of boxes still open, not whole ones


# Outcomes


def test_a_budget_is_kept_to_the_box_and_may_be_raised() -> None:
    difference = difficult()
    whole = proved(difference, 2, gap=1e-3)

    def by_thirties() -> list[Pool]:
        pools = [start(2, 0.0, ())]
        while pools[-1].status != "closed":
            pools.append(pickle.loads(pickle.dumps(advance(difference, pools[-1], 1e-3, 30))))
        return pools

    pools = by_thirties()
    assert len(pools) > 4 and {pool.status for pool in pools[:-1]} == {"budget"}
    assert [pool.done for pool in pools[:-1]] == list(range(0, 30 * (len(pools) - 1), 30))
    assert all(pool.bracket.upper >= whole.bracket.lower for pool in pools)
    assert pools[-1].bracket.lower <= whole.bracket.upper and pools[-1].bracket.upper >= whole.bracket.lower
    assert [pickle.dumps(pool) for pool in by_thirties()] == [pickle.dumps(pool) for pool in pools]


def test_being_stopped_changes_nothing() -> None:
    difference = difficult()
    whole, asked = proved(difference, 2, gap=1e-3), iter([False, False, True])
    stopped = advance(difference, start(2, 0.0, ()), 1e-3, PLENTY, lambda: next(asked))
    assert stopped.status == "budget" and 0 < stopped.done < whole.done
    assert advance(difference, stopped, 1e-3, PLENTY).bracket == whole.bracket


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_parts_advanced_anywhere_join_to_one_bracket(parts: int) -> None:
    difference = difficult()
    begun = advance(difference, start(2, 0.0, ()), 1e-6, 100)
    pieces = split(begun, parts)
    assert sum(len(piece.boxes) for piece in pieces) == len(begun.boxes) > 10
    done = [advance(difference, piece, 1e-6, 20) for piece in pieces]
    assert any(len(piece.boxes) for piece in done)
    orders = list(permutations(done)) if parts < 4 else [done, done[::-1], done[2:] + done[:2]]
    assert len({pickle.dumps(join(order)) for order in orders}) == 1
    whole, end = proved(difference, 2, gap=1e-6), advance(difference, join(done), 1e-6, PLENTY)
    assert end.status == "closed" and end.done > begun.done
    assert end.bracket.lower <= whole.bracket.upper and whole.bracket.lower <= end.bracket.upper


def test_joining_needs_parts_of_one_gap() -> None:
    pool = start(1, 0.0, ())
    with pytest.raises(ValueError, match="gap"):
        join([])
    with pytest.raises(ValueError, match="gap"):
        join([pool, replace(pool, gap=1.0)])


def test_nothing_is_proved_before_the_first_round() -> None:
    pool = start(3, 0.5, (0.0, 0.0, 0.0))
    assert (pool.bracket.lower, pool.bracket.upper, pool.status) == (0.5, math.inf, "budget")


def test_the_rounding_floor_ends_the_search() -> None:
    pool = proved(of(constant(0.25, 1), lambda x: torch.sin(5 * x[:, 0]), line(1)), 1, gap=0.0)
    assert pool.status == "floor" and pool.done < 20_000
    assert 1.25 <= pool.bracket.upper < 1.25 * (1 + 1e-12)


def test_no_error_at_all_ends_at_the_floor() -> None:
    network = Dense((doubles([[3.0]]),), (doubles([1.0]),), "tanh")
    pool = proved(of(network, lambda x: 3.0 * x[:, 0] + 1.0, line(1)), 1)
    assert pool.status == "floor" and 0 <= pool.bracket.lower <= pool.bracket.upper < 1e-12


def test_an_unbounded_error_is_told() -> None:
    pool = proved(of(constant(0.0, 1), lambda x: 1 / (x[:, 0] - 0.3), line(1)), 1, boxes=20_000)
    assert pool.bracket.upper == math.inf and pool.status in ("budget", "floor")
    assert pool.bracket.lower > 1e6


def test_nan_is_never_lost() -> None:
    def broken(u: Tensor) -> Tensor:
        return torch.where(u[:, 0] > 0.9, torch.nan, wave(u))

    pool = proved(Lipschitz(broken, 4.0), 2)  # the bounds are NaN there too
    assert math.isnan(pool.bracket.lower) and pool.bracket.upper == math.inf and pool.status == "floor"
    assert pool.bracket.where[0] > 0.9
    again = advance(Lipschitz(broken, 4.0), pool, 0.01, 1000)
    assert math.isnan(again.bracket.lower) and again.done == pool.done
    whole = proved(Lipschitz(wave, 4.0), 2)
    assert math.isnan(join([whole, pool]).bracket.lower) and math.isnan(join([pool, whole]).bracket.lower)


def test_a_nan_lower_bound_needs_no_work() -> None:
    difference = Lipschitz(wave, 4.0)
    pool = proved(difference, 2, lower=math.nan)
    assert (pool.bracket.upper, pool.status, difference.calls) == (math.inf, "floor", 0)


def test_too_many_boxes_are_out_of_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certify, "LARGEST", 100)
    pool = proved(Lipschitz(wave, 30.0), 2)
    assert pool.status == "budget" and 100 < len(pool.boxes) < 1000


# Full relaxation


def test_the_pilot_chooses_by_tightness_and_cost() -> None:
    generator = np.random.default_rng(3)
    deep, flat = (random_network(generator, 4, hidden, "relu", scale=1.6) for hidden in ([8] * 8, [64] * 2))
    center = np.zeros((8, 4))
    boxes = Boxes(center - 0.1, center + 0.1, np.full((8, 2), np.inf), np.zeros(8, np.int8))
    choices = []
    for network in (deep, flat):
        quick = of(network, smooth, line(4))
        level = 1.2 * float(quick.errors(torch.from_numpy(center)).max())
        choices.append(Methods(quick).cheapest(boxes, level))
    assert choices == [(0, True), (0, False)]


def test_full_relaxation_is_used_where_the_pilot_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_network(np.random.default_rng(2), 3, [8] * 10, "relu", scale=1.9)
    difference = of(network, smooth, line(3))
    chosen = proved(difference, 3, gap=0.1)
    monkeypatch.setattr(Methods, "cheapest", lambda *_: (0, False))
    never = proved(difference, 3, gap=0.1, boxes=2 * chosen.done)
    assert chosen.status == "closed" and chosen.full
    assert never.status == "budget" and not never.full
    assert chosen.bracket.lower <= never.bracket.upper and never.bracket.lower <= chosen.bracket.upper


# Taylor models


@pytest.mark.parametrize("layers", [True, False], ids=["layers", "code alone"])
def test_the_pilot_takes_models_for_small_errors_and_lines_for_large_ones(layers: bool) -> None:
    network, boxes = random_network(np.random.default_rng(0), 2, [16, 16], "tanh", scale=0.5), halves(grid(2, 8))
    chosen = []
    for size in (1e-6, 1e3):  # a target that is the network and a wave of this size
        target = lambda x, size=size: _code(network)(x) + size * torch.sin(3.0 * x[:, 0])  # noqa: E731
        difference = of(network, target, line(2)) if layers else Difference(target, _code(network), line(2))
        chosen.append(Methods(difference).cheapest(boxes, 1.01 * size))
    assert chosen[0][0] in (4, 5, 6) and chosen[1][0] < chosen[0][0]


def _code(network: Dense):
    def code(x: Tensor) -> Tensor:
        for weight, bias in zip(network.weights[:-1], network.biases[:-1], strict=True):
            x = torch.tanh(torch.nn.functional.linear(x, weight, bias))
        return torch.nn.functional.linear(x, network.weights[-1], network.biases[-1])[:, 0]

    return code


def close_to_its_target() -> Difference:
    """A network and a target that differ by a wave of 1e-7."""
    network = random_network(np.random.default_rng(4), 2, [24, 24], "tanh", scale=0.5)

    def target(x: Tensor) -> Tensor:
        return _code(network)(x) + 1e-7 * torch.cos(4.0 * x[:, 0]) * torch.sin(2.0 * x[:, 1] + 0.3)

    return of(network, target, line(2))


def by_lines(difference: Difference, lower: float, boxes: int) -> Pool:
    methods = Methods(difference)
    methods.orders = ()
    pool = advance(difference, start(2, lower, ()), 1e-4, boxes, methods=methods)
    return certify.with_forecast(methods, pool, 2 * boxes)


def test_models_close_what_lines_do_not_and_say() -> None:
    difference = close_to_its_target()
    pool = proved(difference, 2, gap=1e-4, boxes=2000)
    assert pool.status == "closed" and pool.order > 1 and pool.bracket.lower < 1e-7
    assert certify.with_forecast(Methods(difference), pool, PLENTY) == pool and pool.remark == ""
    lines = by_lines(difference, pool.bracket.lower, 5000)
    assert lines.status == "budget" and lines.bracket.upper > 10 * pool.bracket.upper
    assert lines.forecast > 1e6 and "5000 boxes: to reach the gap, it would take about" in lines.remark
    assert join(split(lines, 3)).forecast == lines.forecast


def test_code_that_models_cannot_follow_is_proved_by_lines() -> None:
    def only_affine(x: Any) -> Any:
        wave = torch.sin(3.0 * x[:, 0])
        if isinstance(wave, AffineForm) and len(wave.terms) > 2:
            raise RuntimeError("no higher terms, please")
        return wave

    pool = proved(of(constant(0.0, 1), only_affine, line(1)), 1)
    assert pool.status == "closed" and pool.order == 0
    assert proved(of(constant(0.0, 1), lambda x: torch.sin(3.0 * x[:, 0]), line(1)), 1).order > 0


def test_a_gap_that_costs_little_is_closed_further() -> None:
    difference = close_to_its_target()
    pool = certify.begin(Methods(difference), start(2, 0.0, ()), 0.1, PLENTY, PLENTY)
    assert pool.status == "closed" and pool.bracket.upper <= (1 + 1e-6) * pool.bracket.lower
    kinked = Methods(of(random_network(np.random.default_rng(0), 2, [8], "relu"), smooth, line(2)))
    lines = certify.begin(kinked, start(2, 0.0, ()), 0.1, PLENTY, PLENTY)
    assert lines.status == "closed" and lines.bracket.upper > 1.01 * lines.bracket.lower
    waves = Methods(of(constant(0.0, 4), lambda x: torch.sin(6.0 * x).prod(1), line(4)))
    hard = certify.begin(waves, start(4, 0.0, ()), 0.3, PLENTY, PLENTY)
    assert hard.status == "closed" and hard.gap == 0.3 and hard.done >= 2048
