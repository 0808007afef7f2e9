"""Compiled bounds of ReLU networks: those of the torch code, sound to 50 digits, the same bits in whatever company."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mpmath import mpf
from torch import Tensor

from hpcsweep.approx.kernels.bounds.relu_bounds import BLOCK
from hpcsweep.approx.supnorm.certificate.enclosure import rounding
from hpcsweep.approx.supnorm.certificate.enclosure.difference import Difference, UpperBound
from hpcsweep.approx.supnorm.certificate.enclosure.layers import InputBoxes, Layers, Value
from hpcsweep.approx.supnorm.dense import Dense
from tests.approx.supnorm.certificate.exact import exactly, random_network

COUNT = 2 * BLOCK + 5  # not whole blocks
SIDES = slice(0, BLOCK + 9), slice(BLOCK - 3, COUNT)
SHAPES = [(1, [16]), (2, [5, 9]), (3, [33, 16, 7]), (6, [64, 64]), (8, [3, 3, 3, 3])]


def target(x: Tensor) -> Tensor:
    return torch.cos(x.sum(1))


def boxes(generator: np.random.Generator, dimension: int, count: int = COUNT) -> tuple[Tensor, Tensor]:
    """Return centers and radii, from 1 to 1e-9."""
    centers = torch.from_numpy(generator.uniform(-1, 1, (count, dimension)))
    return centers, torch.from_numpy(10.0 ** generator.uniform(-9, 0, (count, dimension)))


def both(network: Dense, full: bool, sides: tuple[slice, slice], seed: int = 0) -> list[tuple[UpperBound, ...]]:
    """Return the upper bounds on some boxes by compiled loops, and by torch code."""
    where = boxes(np.random.default_rng(seed), network.dimension)
    domain = [(-2.0, 3.0)] * network.dimension
    differences = [Difference(target, network, domain, [network], full) for _ in range(2)]
    without_loops(differences[1])
    return [difference.upper_bounds(*where, *sides) for difference in differences]


def without_loops(difference: Difference) -> None:
    for layers in difference._layers:
        assert layers.loops is not None
        layers.loops = None


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("dimension", "hidden"), SHAPES)
def test_bounds_are_those_of_the_torch_code(dimension: int, hidden: list[int], full: bool) -> None:
    generator = np.random.default_rng(dimension)
    network = random_network(generator, dimension, hidden, "relu", 1.5, -0.7, standardised=dimension % 2 == 1)
    loops, specified = both(network, full, SIDES)
    for bound, expected in zip(loops, specified, strict=True):
        for part in ("center", "slopes", "noise"):
            torch.testing.assert_close(getattr(bound, part), getattr(expected, part), rtol=1e-12, atol=1e-13)


def test_they_are_not_the_same_code() -> None:
    network = random_network(np.random.default_rng(1), 3, [16, 16], "relu")
    loops, specified = both(network, False, SIDES)
    assert not torch.equal(loops[0].center, specified[0].center)


@pytest.mark.parametrize("full", [False, True])
def test_a_box_has_the_same_bits_in_whatever_company(full: bool) -> None:
    network = random_network(np.random.default_rng(2), 4, [17, 12, 9], "relu")
    layers = Layers(network)
    centers, radii = boxes(np.random.default_rng(3), 4)
    everything = layers.compiled_values(InputBoxes(centers, radii, 0 * radii), SIDES, full)
    for box in (0, BLOCK - 2, BLOCK + 5, COUNT - 1):
        own = InputBoxes(centers[box : box + 1], radii[box : box + 1], 0 * radii[:1])
        alone = layers.compiled_values(own, (slice(0, 1), slice(0, 1)), full)
        for whole, part, side in zip(everything, alone, SIDES, strict=True):
            if side.start <= box < side.stop:
                at = box - side.start
                assert torch.equal(whole.value[at], part.value[0]) and torch.equal(whole.slopes[at], part.slopes[0])


def top(value: Value, roundings: int) -> Tensor:
    """Return the upper bound on each box, (boxes,)."""
    noise = value.mass * rounding.gamma(roundings) + rounding.TINY
    return value.value + noise + value.slopes.abs().sum(1)


def violations(seeds: range, full: bool) -> int:
    """Count exact points of random boxes at which a bound is exceeded, of networks alone: inputs are exact."""
    count, sides = 0, (slice(0, 4), slice(0, 4))
    for seed in seeds:
        generator = np.random.default_rng(seed)
        hidden = generator.integers(4, 17, size=generator.integers(1, 4)).tolist()
        layers = Layers(random_network(generator, 2, hidden, "relu", scale=2.0, amplitude=1 / 3))
        centers = torch.from_numpy(generator.uniform(-1, 1, (4, 2)))
        reach = torch.full_like(centers, 10.0 ** -generator.uniform(0, 15))
        bounds = layers.compiled_values(InputBoxes(centers, reach, torch.zeros_like(centers)), sides, full)
        below, above = (top(bound, layers.roundings).tolist() for bound in bounds)
        for box, inside in enumerate(generator.choice([-1.0, 0.0, 1.0], (4, 2))):
            numbers = zip(centers[box].tolist(), reach[box].tolist(), inside.tolist(), strict=True)
            value = exactly(layers.dense, [mpf(c) + mpf(r) * mpf(e) for c, r, e in numbers])
            count += (-value > mpf(below[box])) + (value > mpf(above[box]))
    return count


@pytest.mark.parametrize("full", [False, True])
def test_bounds_hold_to_fifty_digits(full: bool) -> None:
    assert violations(range(60), full) == 0


def test_roundings_are_needed() -> None:
    with rounding.ignored():
        assert violations(range(60), False) > 5


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("bad", [1e200, np.inf, np.nan])
def test_what_overflows_is_unbounded(bad: float, layer: int, full: bool) -> None:
    network = random_network(np.random.default_rng(4), 3, [8, 8, 8], "relu")
    network.weights[layer][1, 1] = bad
    network.weights[layer + 1][0, 1] = bad if np.isfinite(bad) else 0.0
    for bound, expected in zip(*both(network, full, SIDES), strict=True):
        assert bool(bound.top().isfinite().any()) == bool(expected.top().isfinite().any())
        assert bound.top().isinf().any() or np.isfinite(bad)
        unbounded = expected.top().isinf()
        assert bound.top()[unbounded].isinf().all()


@pytest.mark.parametrize(("activation", "hidden"), [("tanh", [4]), ("relu", [])])
def test_other_networks_are_bounded_by_torch_code(activation: str, hidden: list[int]) -> None:
    assert Layers(random_network(np.random.default_rng(5), 2, hidden, activation)).loops is None


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("hidden", [1, 2])
def test_a_range_whose_length_overflows_has_no_bound(hidden: int, full: bool) -> None:
    """1e-308 relu(1e308 x - 5e307) is 0.5 at 1; its ends are finite, their distance is not."""
    weights = [Tensor([[1e300]]).double() * 1e8, *[torch.ones(1, 1).double()] * (hidden - 1)]
    biases = [torch.tensor([-0.5e308]).double(), *[torch.zeros(1).double()] * hidden]
    network = Dense((*weights, torch.full((1, 1), 1e-308).double()), tuple(biases), "relu")
    compiled, specified = (Difference(lambda x: x[:, 0] * 0.0, network, [(-1.0, 1.0)], [network], full) for _ in "ab")
    without_loops(specified)
    for difference in (compiled, specified):
        assert float(difference.bounds(torch.zeros(1, 1).double(), torch.ones(1, 1).double())[0]) >= 0.5
