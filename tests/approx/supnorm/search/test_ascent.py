"""The ascent: known maxima, SciPy one start at a time, the same bits in any company, and no NaN is ever lost."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor

from hpcsweep.approx.models import ACTIVATIONS
from hpcsweep.approx.supnorm.screening.error_keys import INFINITY_KEY, NAN_KEY
from hpcsweep.approx.supnorm.search.ascent import GROUP, Climb, Error, ascend, largest_first
from hpcsweep.approx.supnorm.search.climbers import keys
from tests.approx.supnorm.search.planted import random_network, tensor, uniform

UNEVEN = ((-1.0, 3.0), (0.1, 0.3), (-500.0, 100.0))
SQUARE = ((-1.0, 1.0),) * 2


def best(climb: Climb) -> tuple[float, list[float]]:
    first = int(largest_first(climb.values)[0])
    return float(climb.values[first]), climb.places[first].tolist()


def same(one: Climb, other: Climb) -> bool:
    return torch.equal(keys(one.values), keys(other.values)) and torch.equal(one.places, other.places)


# Known maxima

CENTRE, SCALES = tensor([0.7, 0.17, 33.0]), tensor([1.0, 0.05, 200.0])
KNOWN = [
    (lambda x: 2.5 * torch.exp(-((x - CENTRE) / SCALES).square().sum(1)), UNEVEN, 2.5, CENTRE.tolist(), 0.2),
    (lambda x: -2.5 * torch.exp(-((x - CENTRE) / SCALES).square().sum(1)), UNEVEN, 2.5, CENTRE.tolist(), 0.2),
    (lambda x: x @ tensor([1.0, -3.0, 0.01]) - 700, UNEVEN, 706.9, [-1.0, 0.3, -500.0], 1.0),
    (lambda x: 3 - (x[:, 0] - 0.5 * x[:, 1]).square() + 0.1 * x[:, 1], SQUARE, 3.1, [0.5, 1.0], 1.0),
    (lambda x: 9 - (x - 0.3).abs().sum(1), SQUARE, 9.0, [0.3, 0.3], 0.0),
    (lambda x: torch.sin(3 * x[:, 0]) - 0.5, SQUARE, 1.5, [-math.pi / 6], 0.2),
    (lambda x: 4e3 - (1 - x[:, 0]).square() - 100 * (x[:, 1] - x[:, 0].square()).square(), SQUARE, 4e3, [1, 1], 0.2),
]


@pytest.mark.parametrize(("error", "domain", "value", "where", "share"), KNOWN)
def test_known_maxima_are_reached(error: Error, domain: tuple, value: float, where: list, share: float) -> None:
    climb = ascend(error, uniform(2, 512, domain), domain, steps=60)
    assert best(climb)[0] == pytest.approx(value, rel=1e-12 if share else 1e-10)
    assert best(climb)[1][: len(where)] == pytest.approx(where, rel=1e-6)
    assert (climb.values >= value * (1 - 1e-9)).double().mean() >= share
    exact = [axis for axis, at in enumerate(where) if at in domain[axis]]
    assert all(best(climb)[1][axis] == where[axis] for axis in exact)  # a bound is met to the bit


# Against a naive twin


def one_at_a_time(error: torch.nn.Module, start: np.ndarray, sign: float, domain: tuple) -> float:
    """Return where SciPy's L-BFGS-B ends from one start."""

    def negative(place: np.ndarray) -> tuple[float, np.ndarray]:
        x = torch.tensor(place[None], requires_grad=True)
        value = -sign * error(x).sum()
        (slope,) = torch.autograd.grad(value, x)
        return float(value.detach()), slope[0].numpy()

    return -minimize(negative, start, jac=True, method="L-BFGS-B", bounds=domain).fun


@pytest.mark.parametrize("dimension", [1, 2, 4, 8])
def test_as_good_as_scipy_one_start_at_a_time(dimension: int) -> None:
    domain = ((-1.0, 1.5),) * dimension
    network = random_network(dimension, dimension, 16, 16, 1)
    starts = uniform(6, 60, domain)
    climb = ascend(network, starts, domain, steps=60, again=0)
    signs = network(starts).sign().tolist()
    theirs = tensor([one_at_a_time(network, x.numpy(), s, domain) for x, s in zip(starts, signs, strict=True)])
    assert climb.values.max() >= theirs.max() * (1 - 1e-12)
    # Two climbers may choose different hills; mostly they do not, and neither is better by rule.
    assert (climb.values >= theirs * (1 - 1e-7)).double().mean() >= 0.75
    assert climb.values.mean() >= 0.97 * theirs.mean()


# The same bits in any company


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_groups_and_padding_change_no_bit(activation: str) -> None:
    network = random_network(7, 3, 32, 32, 1, activation=activation)
    starts = uniform(7, 2 * GROUP + 77, UNEVEN)
    together = ascend(network, starts, UNEVEN, again=0)
    shares = [ascend(network, part, UNEVEN, again=0) for part in starts.split(GROUP)]
    joined = [torch.cat([getattr(one, name) for one in shares]) for name in ("values", "places")]
    assert torch.equal(together.values, joined[0])
    assert torch.equal(together.places, joined[1])
    for alone in (0, 511, 512, 1100):
        assert torch.equal(ascend(network, starts[alone : alone + 1], UNEVEN, again=0).places[0], joined[1][alone])


def test_the_order_of_starts_changes_no_bit() -> None:
    network = random_network(8, 2, 32, 32, 1)
    starts = uniform(8, 700, SQUARE)
    order = torch.randperm(700, generator=torch.Generator().manual_seed(0))
    straight, mixed = ascend(network, starts, SQUARE), ascend(network, starts[order], SQUARE)
    assert torch.equal(straight.values[order], mixed.values)
    assert torch.equal(straight.places[order], mixed.places)


@pytest.mark.parametrize(("starts", "whole"), [(30, 128), (129, 256), (400, GROUP)])
def test_only_whole_groups_are_evaluated_and_real_starts_counted(starts: int, whole: int) -> None:
    shapes: list[int] = []

    def error(x: Tensor) -> Tensor:
        shapes.append(len(x))
        return random_network(9, 2, 8, 1)(x)

    climb = ascend(error, uniform(9, starts, SQUARE), SQUARE, steps=5, again=0)
    assert set(shapes) == {whole}
    assert climb.evaluations == starts * len(shapes)
    assert len(shapes) <= 6


def test_the_best_go_on() -> None:
    network = random_network(10, 4, 32, 32, 1, activation="relu")
    starts = uniform(10, 400, SQUARE * 2)
    once, twice = (ascend(network, starts, SQUARE * 2, steps=8, again=share) for share in (0, 0.1))
    changed = (twice.values != once.values).nonzero()[:, 0]
    assert 0 < len(changed) <= 40
    assert (twice.values >= once.values).all()
    assert set(changed.tolist()) <= set(largest_first(once.values)[:80].tolist())
    assert 40 * 8 >= twice.evaluations - once.evaluations > 0


# What is not finite


def pocket(value: float, sign: float = 1.0) -> object:
    """Return a slope up along axis 0 that ends in a pocket of `value` beyond 0.5."""
    return lambda x: torch.where(x[:, 0] > 0.5, value, sign * (3 + x[:, 0]))


@pytest.mark.parametrize("value", [math.nan, -math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_what_is_not_finite_is_found_and_told(value: float, sign: float) -> None:
    starts = uniform(11, 600, ((-1.0, 0.4), (-1.0, 1.0)))
    climb = ascend(pocket(value, sign), starts, SQUARE)
    assert climb.nonfinite == 600  # each climb ends with its first
    assert set(keys(climb.values).tolist()) == {NAN_KEY if math.isnan(value) else INFINITY_KEY}
    assert climb.places[:, 0].gt(0.5).all()


def test_a_bad_start_is_told_and_disturbs_nobody() -> None:
    network = random_network(12, 2, 16, 1)

    def error(x: Tensor) -> Tensor:
        return torch.where((x - 0.25).abs().amax(1) < 1e-9, math.nan, network(x))

    starts = uniform(12, 40, SQUARE)
    starts[17] = 0.25
    clean, spoilt = ascend(network, starts, SQUARE, again=0), ascend(error, starts, SQUARE, again=0)
    others = torch.arange(40) != 17
    assert torch.equal(clean.values[others], spoilt.values[others])
    assert math.isnan(spoilt.values[17])
    assert spoilt.places[17].tolist() == [0.25, 0.25]
    assert spoilt.nonfinite == 1
    assert largest_first(spoilt.values)[0] == 17


def test_padding_is_not_counted_among_the_bad() -> None:
    climb = ascend(lambda x: x[:, 0] * math.nan, uniform(13, 3, SQUARE), SQUARE)
    assert (climb.nonfinite, climb.evaluations) == (3, 3)


@pytest.mark.parametrize("kink", [lambda x: -torch.sqrt(torch.square(x)), torch.sqrt, lambda x: -x.abs().pow(0.3)])
def test_slopes_that_are_no_numbers_count_as_zero(kink: object) -> None:
    domain = ((0.0, 1.0), (0.0, 1.0))
    starts = torch.stack([torch.zeros(20, dtype=torch.float64), torch.linspace(0, 0.9, 20, dtype=torch.float64)], 1)
    climb = ascend(lambda x: 5 + kink(x[:, 0]) + x[:, 1], starts, domain)
    assert climb.places.tolist() == [[0.0, 1.0]] * 20
    assert climb.nonfinite == 0


def test_without_a_graph_nothing_moves() -> None:
    starts = uniform(14, 10, SQUARE)
    for error in (lambda x: x.detach()[:, 0], lambda x: torch.ones_like(x[:, 0]), lambda x: x.round().sum(1)):
        climb = ascend(error, starts, SQUARE)
        assert torch.equal(climb.places, starts)
        assert torch.equal(climb.values, error(starts).abs())


def test_no_start_at_all() -> None:
    climb = ascend(random_network(0, 2, 4, 1), torch.empty(0, 2, dtype=torch.float64), SQUARE)
    assert (len(climb.values), climb.places.shape, climb.evaluations) == (0, (0, 2), 0)


# Invariants


@given(
    seed=st.integers(0, 2**31),
    sides=st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6)), min_size=1, max_size=4),
    activation=st.sampled_from(["relu", "tanh", "sin"]),
    steepness=st.sampled_from([1e-8, 1.0, 1e8]),
)
@settings(max_examples=25, deadline=None)
def test_never_outside_never_below_the_start(seed: int, sides: list, activation: str, steepness: float) -> None:
    domain = tuple((low, low + side) for low, side in sides)
    network = random_network(seed, len(domain), 8, 8, 1, activation=activation)
    low, high = tensor(domain).T

    def error(x: Tensor) -> Tensor:
        return network(steepness * (x - low) / (high - low))

    starts = uniform(seed, 20, domain).clamp(low, high)
    climb = ascend(error, starts, domain, steps=12)
    assert (climb.places >= low).all() and (climb.places <= high).all()
    padded = torch.cat([starts, starts[:1].expand(GROUP - 20, -1)])
    assert (climb.values >= error(padded)[:20].abs()).all()
    reached = torch.cat([climb.places, climb.places[:1].expand(GROUP - 20, -1)])
    assert torch.equal(error(reached)[:20].abs(), climb.values)
