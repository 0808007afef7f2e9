"""Bounds of target - network hold in exact arithmetic, and would not if roundings were not counted."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mpf
from torch import Tensor

from hpcsweep.approx.models import ACTIVATIONS
from hpcsweep.approx.supnorm.certificate.enclosure import rounding
from hpcsweep.approx.supnorm.certificate.enclosure.affine import NoEnclosure
from hpcsweep.approx.supnorm.certificate.enclosure.difference import Difference, UpperBound
from hpcsweep.approx.supnorm.dense import Dense
from tests.approx.supnorm.certificate.exact import corners_and_others, exactly, place, random_network

DOMAIN = ((-1.0, 1.0), (0.1, 2.3), (-7.0, -3.0))


def target(x: Tensor) -> Tensor:
    return torch.cos(x.sum(1) * 3.0) * torch.exp(x.square().sum(1) * -0.125)


def exact_target(x: list[mpf]) -> mpf:
    return mpmath.cos(3 * mpmath.fsum(x)) * mpmath.exp(-mpmath.fsum(value * value for value in x) / 8)


def networks(generator: np.random.Generator, activation: str, dimension: int) -> tuple[Dense, ...]:
    """Return the terms of a sum: one or two, of depth 0 to 3, perhaps standardised."""
    hidden = generator.integers(1, 9, size=generator.integers(0, 4)).tolist()
    standardised, scale = bool(generator.integers(2)), float(generator.choice([1.0, 3.0]))
    amplitudes = [1.0, 1 / 3][: generator.integers(1, 3)]
    return tuple(
        random_network(generator, dimension, hidden, activation, scale, amplitude, standardised)
        for amplitude in amplitudes
    )


def added(terms: tuple[Dense, ...]):
    return lambda x: sum(term(x) for term in terms)


def violations(seeds: range, activation: str, full: bool) -> int:
    """Count points of random boxes, of radii from 1 to 1e-15, at which a bound is exceeded; 12 points per seed."""
    count = 0
    for seed in seeds:
        generator = np.random.default_rng(seed)
        dimension = int(generator.integers(1, 4))
        terms, domain = networks(generator, activation, dimension), DOMAIN[:dimension]
        radius = 10.0 ** -generator.uniform(0, 15)
        centers = generator.uniform(-1, 1, (4, dimension)) * max(0.0, 1 - radius)
        radii = np.full_like(centers, radius)
        difference = Difference(target, added(terms), domain, terms, full=full)
        everything = slice(0, 4)
        bounds = difference.upper_bounds(torch.from_numpy(centers), torch.from_numpy(radii), everything, everything)
        for box in range(4):
            for inside in corners_and_others(generator, dimension):
                unit = [mpf(c) + mpf(r) * mpf(e) for c, r, e in zip(centers[box], radii[box], inside, strict=True)]
                x = place(unit, domain)
                error = exact_target(x) - mpmath.fsum(exactly(term, x) for term in terms)
                count += exceeded(bounds[0], box, inside, error) + exceeded(bounds[1], box, inside, -error)
    return count


def exceeded(upper_bound: UpperBound, box: int, inside: np.ndarray, error: mpf) -> bool:
    slopes = [mpf(slope) * mpf(e) for slope, e in zip(upper_bound.slopes[box].tolist(), inside.tolist(), strict=True)]
    return error > mpf(float(upper_bound.center[box])) + mpmath.fsum(slopes)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_bounds_hold_to_fifty_digits(activation: str, full: bool) -> None:
    assert violations(range(40), activation, full) == 0


def test_the_test_has_teeth() -> None:
    with rounding.ignored():
        assert all(violations(range(40), activation, full=False) > 0 for activation in ACTIVATIONS)


def too_low(seeds: range) -> int:
    """Count constant networks, zero but for roundings, whose distance from zero is above its bound."""
    count = 0
    for seed in seeds:
        network = random_network(np.random.default_rng(seed), 2, [16, 16], "relu", scale=2.0, amplitude=1 / 3)
        network.weights[0].zero_()
        network.biases[-1].sub_(network(torch.zeros(1, 2, dtype=torch.float64)) * 3)  # large parts that cancel
        difference = Difference(lambda x: torch.zeros(len(x), dtype=torch.float64), network, DOMAIN[:2], [network])
        place = torch.zeros(1, 2, dtype=torch.float64)
        upper = difference.bounds(place, place + 0.5)
        count += abs(exactly(network, [mpf(0), mpf(0)])) > mpf(float(upper))
    return count


def test_constant_networks_have_roundings_only() -> None:
    assert too_low(range(40)) == 0
    with rounding.ignored():
        assert too_low(range(40)) > 5


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_bounds_close_in_quadratically(activation: str) -> None:
    generator = np.random.default_rng(5)
    network = random_network(generator, 2, [16, 16], activation)
    difference = Difference(target, network, DOMAIN[:2], [network])
    centers = torch.from_numpy(generator.uniform(-0.5, 0.5, (64, 2)))
    excess = []
    for radius in (1e-2, 1e-4):
        upper = difference.bounds(centers, torch.full_like(centers, radius))
        corners = [difference.errors(centers + radius * torch.tensor([a, b])) for a in (-1.0, 1.0) for b in (-1.0, 1.0)]
        excess.append(float((upper - torch.stack(corners).amax(0)).median()))
    assert 0 < excess[1] < 3e-4 * excess[0] or (activation == "relu" and excess[1] < 1e-10)


def test_what_is_linear_in_both_cancels() -> None:
    weight, bias = torch.tensor([[2.0, -3.0]], dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64)
    network = Dense((weight,), (bias,), "tanh")
    difference = Difference(lambda x: 2 * x[:, 0] - 3 * x[:, 1], network, DOMAIN[:2], [network])
    upper = difference.bounds(torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64))
    assert 0.5 <= float(upper) < 0.5 + 1e-12


def test_full_relaxation_is_tighter_where_it_is_deeper() -> None:
    generator = np.random.default_rng(0)
    network = random_network(generator, 2, [12] * 4, "tanh")
    difference = Difference(target, network, DOMAIN[:2], [network])
    centers = torch.from_numpy(generator.uniform(-0.8, 0.8, (32, 2)))
    radii = torch.full_like(centers, 0.1)
    fully = difference.fully()
    assert fully is not None and fully.fully() is None and fully.cost() > difference.cost()
    assert (fully.bounds(centers, radii) < difference.bounds(centers, radii)).all()
    shallow = random_network(generator, 2, [12], "tanh")
    assert Difference(target, shallow, DOMAIN[:2], [shallow]).fully() is None


@pytest.mark.parametrize("width", [1, 1024])
def test_any_width_in_any_blocks(width: int) -> None:
    network = random_network(np.random.default_rng(1), 2, [width, width], "relu")
    difference = Difference(target, network, DOMAIN[:2], [network])
    centers = torch.rand(40, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 0.5
    radii = torch.full_like(centers, 0.01)
    upper = difference.bounds(centers, radii)
    alone = [difference.bounds(centers[i : i + 1], radii[i : i + 1]) for i in range(40)]
    torch.testing.assert_close(upper, torch.cat(alone), rtol=1e-10, atol=0)


def test_an_approximant_without_layers_runs_on_forms() -> None:
    network = random_network(np.random.default_rng(2), 2, [8, 8], "tanh")
    (inner, middle, output), (first, second, last) = network.weights, network.biases

    def code(x: Tensor) -> Tensor:
        return torch.tanh(torch.tanh(x @ inner.T + first) @ middle.T + second) @ output[0] + last

    centers = torch.rand(64, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 0.5
    radii = torch.full_like(centers, 0.02)
    by_code = Difference(target, code, DOMAIN[:2]).bounds(centers, radii)
    by_layers = Difference(target, network, DOMAIN[:2], [network]).bounds(centers, radii)
    assert (by_code >= by_layers * (1 - 1e-9)).all() and (by_code <= by_layers + 0.05).all()


def test_what_cannot_be_enclosed_is_named() -> None:
    network = random_network(np.random.default_rng(2), 1, [4], "tanh")
    difference = Difference(lambda x: torch.special.zeta(x[:, 0] + 3, x[:, 0] + 3), network, DOMAIN[:1], [network])
    with pytest.raises(NoEnclosure, match="zeta"):
        difference.bounds(torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64))


@pytest.mark.parametrize("weight", [1e200, 1e308, float("nan"), float("inf")])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_overflow_is_unbounded_and_never_a_number(activation: str, weight: float) -> None:
    network = random_network(np.random.default_rng(3), 1, [4, 4], activation)
    for layer in network.weights:
        layer.mul_(weight)
    upper = Difference(target, network, DOMAIN[:1], [network]).bounds(
        torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    )
    assert float(upper) == float("inf") or (weight == 1e200 and activation in ("tanh", "sin") and float(upper) > 1)
