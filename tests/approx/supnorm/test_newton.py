"""Newton steps: the Hessian, a twin one place at a time, never less than L-BFGS, and no NaN is ever lost."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hpcsweep.approx.supnorm.dense import Dense
from hpcsweep.approx.supnorm.functions import adapted
from hpcsweep.approx.supnorm.screening.keys import NAN_KEY
from hpcsweep.approx.supnorm.search import newton
from hpcsweep.approx.supnorm.search.ascent import GROUP, Climb, Error, ascend, keys, largest_first
from hpcsweep.approx.supnorm.search.newton import curvature, sharpen
from hpcsweep.approx.supnorm.search.refine import Refined, refine
from tests.approx.supnorm.planted import random_network, tensor, uniform

UNEVEN = ((-1.0, 3.0), (0.1, 0.3), (-500.0, 100.0))
SQUARE = ((-1.0, 1.0),) * 2


of_arrays = adapted(lambda x: np.sin(np.asarray(x)[:, 0]), SQUARE)


def climb_of(error: Error, places: Tensor) -> Climb:
    """Return places as a climb that has done nothing yet."""
    padded = torch.cat([places, places[:1].expand(-len(places) % GROUP, -1)])
    return Climb(error(padded).detach()[: len(places)].abs(), places, 0, 0)


# The Hessian, and a naive twin


@pytest.mark.parametrize("activation", ["tanh", "sin", "gelu", "silu"])
def test_the_hessian_is_that_of_torch_func_one_point_at_a_time(activation: str) -> None:
    network, half = random_network(1, 3, 16, 16, 1, activation=activation), tensor([2.0, 0.1, 300.0])
    places = uniform(1, 20, UNEVEN)

    def at(x: Tensor) -> Tensor:
        return network(x[None])[0]

    exact = torch.stack([torch.func.hessian(at)(place) for place in places]) * half[:, None] * half
    found = curvature(network, places, half)
    assert found is not None and torch.allclose(found, exact, rtol=1e-9, atol=1e-9 * float(exact.abs().max()))


def twin(error: Error, place: np.ndarray, domain: tuple) -> float:
    """Return where Newton's method ends from one place, in NumPy, in half sides of the domain."""
    low, high = np.array(domain).T
    half = high / 2 - low / 2

    def all_of(x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        variable = torch.tensor(x)
        value = float(error(variable[None]))
        slope, bends = (f(lambda y: error(y[None])[0])(variable).numpy() for f in (torch.func.grad, torch.func.hessian))
        sign = 1.0 if value >= 0 else -1.0
        return abs(value), sign * slope * half, bends * half[:, None] * half

    (value, slope, bends), ridge = all_of(place), 1e-3
    for _ in range(newton.STEPS):
        free = ~(((place >= high) & (slope > 0)) | ((place <= low) & (slope < 0)))
        if not free.any():
            break
        sizes, axes = np.linalg.eigh(bends[np.ix_(free, free)])
        sizes = np.abs(sizes) + ridge * max(np.abs(sizes).max(), 2 * np.abs(slope[free]).max())
        move = np.zeros_like(place)
        move[free] = axes @ (axes.T @ slope[free] / np.maximum(sizes, 1e-300))
        if move @ slope <= 2**-53 * value:
            break
        move *= min(1.0, 0.5 / max(np.abs(move).max(), 1e-300))
        trial = np.clip(place + half * move, low, high)
        found = all_of(trial)
        better = found[0] > value
        if better:
            place, (value, slope, bends) = trial, found
        ridge = ridge / 10 if better else ridge * 10
    return value


@pytest.mark.parametrize("dimension", [1, 2, 4])
def test_as_a_twin_one_place_at_a_time(dimension: int) -> None:
    domain = (*UNEVEN, (0.0, 1.0))[:dimension]
    low, high = tensor(domain).T
    inner = random_network(dimension, dimension, 12, 12, 1)

    def error(x: Tensor) -> Tensor:
        return inner(2 * (x - low) / (high - low) - 1)

    starts = uniform(3, 20, domain)
    found = sharpen(error, climb_of(error, starts), domain, 1.0)
    theirs = tensor([twin(error, start.numpy(), domain) for start in starts])
    # Both do the same, up to rounding, which ways that fork make large now and then.
    assert (found.values / theirs - 1).abs().le(1e-9).double().mean() >= 0.9
    assert found.values.max() == pytest.approx(float(theirs.max()), rel=1e-6)


# What it finds


def trained(seed: int, dimension: int) -> Error:
    """Return the error of a tanh network that a few seconds of L-BFGS have trained."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(dimension, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))
    network, places = network.double(), uniform(seed, 150, ((-1.0, 1.0),) * dimension)

    def error(x: Tensor) -> Tensor:
        return torch.exp(-torch.cos(4 * x).sum(1) / dimension) - network(x)[:, 0]

    method = torch.optim.LBFGS(network.parameters(), max_iter=150, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        method.zero_grad()
        value = error(places).square().mean()
        value.backward()
        return value

    method.step(loss)
    network.requires_grad_(False)
    return error


@pytest.mark.parametrize("dimension", [2, 4, 6])
def test_never_less_than_lbfgs_on_trained_networks(dimension: int) -> None:
    error, domain = trained(dimension, dimension), ((-1.0, 1.0),) * dimension
    starts = uniform(0, 600, domain)
    for steps in (4, 20):
        before = ascend(error, starts, domain, steps)
        after = sharpen(error, before, domain, 0.1)
        assert (after.values >= before.values).all() and after.values.max() >= before.values.max()
        changed = (after.values > before.values).nonzero()[:, 0]
        assert set(changed.tolist()) <= set(largest_first(before.values)[:60].tolist())
        assert after.evaluations > before.evaluations
    # Newton ends on the hill that it is on: much longer climbs by L-BFGS find no more there.
    longer = ascend(error, after.places, domain, 200, again=0)
    best = largest_first(before.values)[:10]
    assert (after.values[best] >= longer.values[best] * (1 - 1e-3)).double().mean() >= 0.8


def test_few_steps_end_at_the_top() -> None:
    centre, scales = tensor([0.7, 0.17, 33.0]), tensor([1.0, 0.05, 200.0])

    def error(x: Tensor) -> Tensor:
        return -2.5 * torch.exp(-((x - centre) / scales).square().sum(1))

    near = centre + 0.3 * (uniform(0, 100, UNEVEN) - centre) * scales / tensor([4.0, 0.2, 600.0])
    found = sharpen(error, climb_of(error, near), UNEVEN, 1.0)
    assert found.values.tolist() == pytest.approx([2.5] * 100, rel=1e-15)


def test_out_of_a_saddle_and_into_a_corner() -> None:
    def error(x: Tensor) -> Tensor:
        return 5 + x[:, 0].square() - x[:, 1].square() + 0.01 * x[:, 1]

    found = sharpen(error, climb_of(error, tensor([[0.01, 0.3], [-0.01, -0.3]])), SQUARE, 1.0)
    assert found.places[:, 0].tolist() == [1.0, -1.0]  # bounds are met exactly
    assert found.places[:, 1].tolist() == pytest.approx([0.005, 0.005], rel=1e-9)


# The same bits in any company


@pytest.mark.parametrize("activation", ["tanh", "sin", "gelu", "silu"])
def test_groups_and_padding_change_no_bit(activation: str) -> None:
    network = random_network(7, 3, 32, 32, 1, activation=activation)
    starts = uniform(7, 2 * GROUP + 77, UNEVEN)
    together = sharpen(network, climb_of(network, starts), UNEVEN, 1.0)
    for alone in (0, 511, 512, 1100):
        one = sharpen(network, climb_of(network, starts[alone : alone + 1]), UNEVEN, 1.0)
        assert torch.equal(one.values[0], together.values[alone])
        assert torch.equal(one.places[0], together.places[alone])


# What is not finite, and what has no Hessian


def test_a_hessian_that_is_no_number_is_skipped_and_disturbs_nobody() -> None:
    network = random_network(12, 2, 16, 1)

    def error(x: Tensor) -> Tensor:
        return network(x) + 1e-300 * (x[:, 0] - 0.25).abs().pow(1.5)

    starts = uniform(12, 40, SQUARE)
    starts[17] = 0.25
    bends = curvature(error, starts, tensor([1.0, 1.0]))
    assert bends is not None and not bends[17].isfinite().all()
    clean, spoilt = (sharpen(one, climb_of(one, starts), SQUARE, 1.0) for one in (network, error))
    others = torch.arange(40) != 17
    assert torch.equal(clean.values[others], spoilt.values[others])
    assert spoilt.places[17].tolist() == [0.25, 0.25] and spoilt.values[17] == network(starts).abs()[17]
    assert spoilt.nonfinite == 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_on_the_way_is_found_and_told(value: float) -> None:
    starts = uniform(11, 60, ((-1.0, 0.4), (-1.0, 1.0)))

    def error(x: Tensor) -> Tensor:
        return torch.where(x[:, 0] > 0.5, value, 3 + x[:, 0] + 0.01 * x.square().sum(1))

    found = sharpen(error, climb_of(error, starts), SQUARE, 1.0)
    assert found.nonfinite == int((~found.values.isfinite()).sum()) > 50
    assert (keys(found.values)[found.places[:, 0] > 0.5] >= keys(tensor([value]))).all()


def test_a_start_that_is_no_number_stays() -> None:
    climb = Climb(tensor([math.nan, 1.0]), tensor([[0.5, 0.5], [0.1, 0.1]]), 7, 1)
    found = sharpen(lambda x: 1 + x.square().sum(1) - 0.02, climb, SQUARE, 1.0)
    assert keys(found.values).tolist()[0] == NAN_KEY and found.values[1] > 1.0 and found.nonfinite == 1


@pytest.mark.parametrize(
    "error",
    [
        of_arrays,
        lambda x: x.square().sum(1) - of_arrays(x),  # a torch target beside it has one
        lambda x: x.detach()[:, 0],
        lambda x: x[:, 0] - 3 * x[:, 1],
    ],
)
def test_what_has_no_hessian_gets_its_climb_back(error: Error) -> None:
    climb = Climb(tensor([1.0]), tensor([[0.5, 0.5]]), 3, 0)
    assert sharpen(error, climb, SQUARE, 1.0) is climb


def search(term: Dense, ascent: str) -> Refined:
    candidates = uniform(0, 200, SQUARE)
    return refine(
        lambda x: x.square().sum(1) - term(x),
        candidates,
        SQUARE,
        terms=[term],
        samples=None,
        starts=64,
        kinks=64,
        seed=0,
        ascent=ascent,
    )


def test_networks_with_kinks_stay_with_lbfgs() -> None:
    relu, tanh = (random_network(3, 2, 16, 16, 1, activation=name) for name in ("relu", "tanh"))
    assert search(relu, "newton") == search(relu, "lbfgs")
    more, less = search(tanh, "newton"), search(tanh, "lbfgs")
    assert more.gradients > less.gradients and more.value >= less.value


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

    before = climb_of(error, uniform(seed, 20, domain).clamp(low, high))
    found = sharpen(error, before, domain, 0.5)
    assert (found.places >= low).all() and (found.places <= high).all()
    assert (found.values >= before.values).all()
    assert torch.equal(climb_of(error, found.places).values, found.values)
