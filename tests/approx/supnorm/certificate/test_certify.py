"""Certificates: what is proved holds, closes, and trusts nobody."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hpcsweep.approx.models import ACTIVATIONS
from hpcsweep.approx.supnorm.dense import Dense
from tests.approx.supnorm.certificate.errors import (
    PLENTY,
    Lipschitz,
    constant,
    doubles,
    line,
    of,
    proved,
    smooth,
)
from tests.approx.supnorm.certificate.exact import random_network

# Against the truth


@pytest.mark.parametrize("seed", range(124))
def test_certificates_against_dense_sampling(seed: int) -> None:
    generator = np.random.default_rng(seed)
    dimension, hard = 1 + seed % 3, seed >= 100
    activation = list(ACTIVATIONS)[seed % len(ACTIVATIONS)]
    hidden = [8] * (2 + seed % 3) if hard else generator.integers(2, 9, size=generator.integers(1, 4)).tolist()
    scale = 2.0 if hard else 1.0
    network = random_network(generator, dimension, hidden, activation, scale, standardised=bool(seed % 2))
    domain = ((-1.0, 1.0), (0.1, 2.3), (-2.0, -1.0))[:dimension]
    bracket = (pool := proved(of(network, smooth, domain), dimension, 0.05, 4000 if hard else PLENTY)).bracket
    points = torch.from_numpy(generator.uniform(*np.array(domain).T, (3000, dimension)))
    ends = torch.tensor(list(product(*domain)), dtype=torch.float64)
    assert hard or (pool.status == "closed" and bracket.upper <= 1.05 * bracket.lower)
    assert float((smooth(points) - network(points)).abs().max()) <= bracket.upper
    assert float((smooth(ends) - network(ends)).abs().max()) <= bracket.upper
    here = doubles([bracket.where])
    assert float((smooth(here) - network(here)).abs()) == pytest.approx(bracket.lower, rel=1e-12)
    assert all(a <= x <= b for x, (a, b) in zip(bracket.where, domain, strict=True))


MODULUS = Dense((doubles([[1.0], [-1.0]]), doubles([[0.9, 0.9]])), (doubles([0.0, 0.0]), doubles([0.02])), "relu")


@pytest.mark.parametrize(
    ("target", "network", "domain", "gap", "supremum"),
    [
        (lambda x: x[:, 0].abs(), MODULUS, ((-2.0, 1.0),), 1e-9, 0.18),
        (lambda x: torch.sin(5 * x[:, 0]), constant(0.25, 1), line(1), 1e-7, 1.25),
        (lambda x: torch.where(x[:, 0] > 0.3, 1.0, 0.0), constant(0.25, 2), line(2), 1e-3, 0.75),
        # what reaches the end of the domain of sqrt or arcsin
        (lambda x: torch.sqrt(1.0 - x[:, 0].square()) - 0.4 * x[:, 0], constant(0.0, 1), line(1), 0.01, 1.16**0.5),
        (lambda x: torch.sqrt(torch.clamp(x[:, 0] - 0.3, min=0.0)), constant(0.0, 1), line(1), 0.01, 0.7**0.5),
        (lambda x: torch.arcsin(torch.clamp(2 * x[:, 0], -1.0, 1.0)), constant(0.0, 1), line(1), 0.01, math.pi / 2),
        (lambda x: torch.arcsin(torch.sin(5.0 * x[:, 0])), constant(0.0, 1), line(1), 0.01, math.pi / 2),
        (lambda x: torch.sqrt(torch.abs(x[:, 0] - 0.3)), constant(0.0, 1), line(1), 0.01, 1.3**0.5),
    ],
)
def test_known_suprema(
    target: Callable[[Tensor], Tensor], network: Dense, domain: tuple, gap: float, supremum: float
) -> None:
    pool = proved(of(network, target, domain), len(domain), gap, 20_000)
    assert pool.status == "closed" and pool.bracket.upper <= (1 + gap) * pool.bracket.lower
    assert pool.bracket.lower <= supremum * (1 + 1e-12) and supremum <= pool.bracket.upper * (1 + 1e-12)


@pytest.mark.parametrize(("dimension", "radius"), [(2, 1e-3), (4, 0.03)])
def test_a_spike_that_no_sampler_sees_is_found(dimension: int, radius: float) -> None:
    generator = np.random.default_rng(dimension)
    network = random_network(generator, dimension, [8, 8], "tanh", scale=0.5)
    center = torch.from_numpy(generator.uniform(-0.9, 0.9, dimension))

    def spiked(x: Tensor) -> Tensor:
        return 0.4 * torch.cos(x.sum(1)) + 9.0 * torch.relu(1.0 - (x - center).abs().sum(1) / radius)

    difference = of(network, spiked, line(dimension))
    sampled = float(difference.errors(torch.from_numpy(generator.uniform(-1, 1, (100_000, dimension)))).max())
    truth = float(difference.errors(center[None]))
    pool = proved(difference, dimension, gap=0.05, lower=sampled)
    assert sampled < 0.3 * truth
    assert pool.status == "closed"
    assert 0.95 * truth <= pool.bracket.lower <= truth * (1 + 1e-12) and truth <= pool.bracket.upper
    assert np.abs(np.array(pool.bracket.where) - center.numpy()).sum() < 0.1 * radius


@given(seed=st.integers(0, 2**31), dimension=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_any_enclosure_gives_a_bracket(seed: int, dimension: int) -> None:
    generator = np.random.default_rng(seed)
    rates, phases = (
        torch.from_numpy(generator.uniform(0, 3, dimension)),
        torch.from_numpy(generator.normal(size=dimension)),
    )

    def error(u: Tensor) -> Tensor:
        return torch.sin(u * rates + phases).prod(1)

    peaks = [
        np.abs(np.sin(np.linspace(-1, 1, 20001) * float(r) + float(p))).max()
        for r, p in zip(rates, phases, strict=True)
    ]
    pool = proved(Lipschitz(error, float(rates.max())), dimension, gap=0.1, boxes=20_000)
    bracket = pool.bracket
    assert bracket.lower <= math.prod(peaks) * (1 + 1e-6) and math.prod(peaks) <= bracket.upper
    assert pool.status == "budget" or bracket.upper <= 1.1 * bracket.lower


def test_the_upper_bound_trusts_no_lower_bound() -> None:
    difference = of(constant(0.0, 2), smooth, line(2))
    for lower in (0.0, 0.5, 0.999, 1.0, 1.5, math.inf):
        bracket = proved(difference, 2, lower=lower).bracket
        assert bracket.upper >= max(1.0, lower) and bracket.lower >= lower
