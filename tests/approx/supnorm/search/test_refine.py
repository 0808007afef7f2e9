"""Refinement: known suprema, planted glitches, NaN, and honest counts."""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hpcsweep.approx.supnorm.dense import Dense
from hpcsweep.approx.supnorm.points import make
from hpcsweep.approx.supnorm.search.ascent import GROUP, Error
from hpcsweep.approx.supnorm.search.refine import Refined, on_boundary, refine
from hpcsweep.bracket import Bracket
from tests.approx.supnorm.search.planted import beside, random_network, slab, spike, tensor, uniform

SQUARE = ((-1.0, 1.0),) * 2
CUBE = ((-1.0, 1.0),) * 4


def search(
    error: Error,
    domain: tuple = SQUARE,
    candidates: Tensor | None = None,
    terms: Sequence[Dense] = (),
    samples: Tensor | None = None,
    starts: int = 64,
    kinks: int = 256,
    seed: int = 0,
) -> Refined:
    """Refine the worst 32 of 256 Sobol points."""
    if candidates is None:
        points = make("sobol", len(domain), 256, 1, domain)(0, 256)
        candidates = points[error(points).detach().abs().argsort(descending=True)[:32]]
    return refine(error, candidates, domain, terms=terms, samples=samples, starts=starts, kinks=kinks, seed=seed)


# Known suprema


@pytest.mark.parametrize(
    ("error", "domain", "value", "where"),
    [
        (lambda x: 2.5 * torch.exp(-(x - tensor([0.3, -0.2])).square().sum(1)), SQUARE, 2.5, (0.3, -0.2)),
        (lambda x: x[:, 0] * x[:, 1], ((-1.0, 0.1), (-2.0, 3.0)), 3.0, (-1.0, 3.0)),
        (lambda x: 0 * x[:, 0], SQUARE, 0.0, None),
    ],
)
def test_a_known_maximum(error: Error, domain: tuple, value: float, where: tuple[float, float] | None) -> None:
    found = search(error, domain)
    assert found.value == pytest.approx(value, rel=1e-15) and found.nonfinite == 0
    assert where is None or found.where == pytest.approx(where, abs=1e-6)
    assert where is None or on_boundary(found.where, domain) == (domain != SQUARE)


def test_the_supremum_of_a_network_on_a_line_is_exact() -> None:
    """|x^2 - network|: the maximum is at a breakpoint, an end, or where 2x is the slope of a piece."""
    network = random_network(3, 1, 16, 16, 1, activation="relu")

    def error(x: Tensor) -> Tensor:
        return x[:, 0].square() - network(x)

    line = torch.linspace(-1, 1, 2_000_001, dtype=torch.float64)
    naive = float(error(line[:, None]).abs().max())
    found = search(error, ((-1.0, 1.0),), terms=[network])
    assert naive <= found.value <= naive * (1 + 1e-5)


# Planted glitches


@pytest.mark.parametrize("seed", range(3))
def test_a_ridge_that_no_point_sees(seed: int) -> None:
    normal = torch.nn.functional.normalize(uniform(seed, 1, CUBE), dim=1)[0].tolist()
    network = beside(random_network(seed, 4, 32, 32, 1, activation="relu"), slab(normal, 0.1, 1e-5, 1000.0))
    found = search(network, CUBE, terms=[network], kinks=1024)
    assert found.value > 990
    assert search(network, CUBE, kinks=1024).value < 500  # without the layers there is no way to know


def test_a_spike_in_a_gap_between_the_samples() -> None:
    samples = uniform(1, 3000, SQUARE)
    samples = samples[(samples - tensor([0.4, -0.3])).abs().amax(1) > 0.15]
    peak = spike([0.4, -0.3], 0.1, 7.0)
    candidates = tensor([[-0.9, 0.9], [0.9, 0.9]])
    assert peak(candidates).max() == 0
    found = search(peak, candidates=candidates, samples=samples)
    assert found.value > 6.9


# What is not finite


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_told_with_its_place(value: float) -> None:
    def error(x: Tensor) -> Tensor:
        # The way up along axis 0 leads into a strip that no candidate is in.
        return torch.where((x[:, 0] > 0.9) & (x[:, 0] < 0.97), value, 1 + x[:, 0] - 0.1 * x[:, 1].square())

    candidates = uniform(0, 64, ((-1.0, 0.8), (-1.0, 1.0)))
    found = search(error, candidates=candidates, kinks=0)
    assert math.isnan(found.value) if math.isnan(value) else found.value == math.inf
    assert 0.9 < found.where[0] < 0.97
    assert found.nonfinite > 0
    assert found.bracket == Bracket(found.value, math.inf, found.where)


def test_a_nan_among_the_candidates_is_not_dropped() -> None:
    candidates = tensor([[0.1, 0.1], [0.5, 0.5], [0.2, 0.2]])
    found = search(
        lambda x: torch.where((x - 0.5).abs().amax(1) < 1e-12, math.nan, x[:, 0]), candidates=candidates, starts=1
    )
    assert math.isnan(found.value)
    assert found.where == (0.5, 0.5)


# Counts, order, and nothing at all


def test_counts_are_those_of_the_calls() -> None:
    calls = {True: 0, False: 0}
    network = random_network(1, 2, 8, 1)

    def error(x: Tensor) -> Tensor:
        assert len(x) == (128 if x.requires_grad else GROUP)
        calls[x.requires_grad] += 1
        return network(x)

    candidates = uniform(0, 40, SQUARE)
    found = search(error, candidates=candidates, terms=[network], starts=64, kinks=100)
    assert found.values == 40 + 100 + 4 * 64
    assert calls[False] == 1
    # Of 64 climbs each call counts; the second round is of 7 at most.
    climbs = found.gradients - 2 * 100
    assert 64 * (calls[True] - 20) <= climbs <= 64 * min(calls[True], 21) + 7 * 20
    none = search(error, candidates=candidates, terms=[network], starts=0, kinks=100)
    assert (none.gradients, none.values) == (2 * 100, 40 + 100)


def test_the_order_of_candidates_does_not_matter() -> None:
    network = random_network(2, 2, 32, 32, 1)
    candidates = uniform(0, 100, SQUARE)
    one, other = (search(network, candidates=some, samples=candidates) for some in (candidates, candidates.flip(0)))
    assert one == other
    assert pickle.loads(pickle.dumps(one)) == one


def test_without_candidates_or_starts() -> None:
    network = random_network(2, 2, 8, 1)
    none = torch.empty(0, 2, dtype=torch.float64)
    found = search(network, candidates=none)
    assert found.value > 0
    empty = search(network, candidates=none, starts=0, kinks=0)
    assert (empty.value, empty.where, empty.values) == (0.0, (), 0)
    assert empty.bracket == Bracket(0.0, math.inf)


@given(seed=st.integers(0, 2**31), dimension=st.integers(1, 4), starts=st.integers(1, 30), kinks=st.integers(0, 30))
@settings(max_examples=25, deadline=None)
def test_never_outside_never_below_the_candidates(seed: int, dimension: int, starts: int, kinks: int) -> None:
    domain = ((-1.0, 3.0), (0.1, 0.3), (-500.0, 100.0), (0.0, 1.0))[:dimension]
    network = random_network(seed, dimension, 8, 8, 1, activation="relu")
    candidates = uniform(seed, 10, domain)
    found = search(network, domain, candidates, terms=[network], starts=starts, kinks=kinks, seed=seed)
    padded = torch.cat([candidates, candidates[:1].expand(GROUP - 10, -1)])
    assert found.value >= float(network(padded).abs().max())
    assert all(low <= at <= high for at, (low, high) in zip(found.where, domain, strict=True))
