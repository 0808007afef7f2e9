"""Point sets: pure functions of the index, compared with slow and independent constructions."""

from __future__ import annotations

import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsweep.approx.supnorm.points import MAXIMAL_COUNT, make
from hpcsweep.approx.supnorm.points.counter import mix, random_bits
from hpcsweep.approx.supnorm.points.directions import direction_numbers
from hpcsweep.errors import StudyError

KINDS = ("grid", "inflated", "sobol", "uniform")
CUBE = ((0.0, 1.0),) * 3
AWKWARD = ((-1.0, 0.1), (-0.2, 0.5), (-1e-3, 1e7))  # low + (high - low) is above high, below it, or wide
DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()
GOLDEN = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio
kinds = pytest.mark.parametrize("kind", KINDS)


# Every kind


@kinds
def test_points_stay_in_the_domain(kind: str) -> None:
    points = make(kind, 3, 2**12, 3, AWKWARD)
    coordinates = points(0, points.count + 100)
    low, high = torch.tensor(AWKWARD, dtype=torch.float64).T
    assert coordinates.dtype == torch.float64
    assert (low <= coordinates).all()
    assert (coordinates <= high).all()
    # ... and fill it: a bound on the mean of every axis, wide enough for 4096 independent points.
    assert (((coordinates.mean(0) - low) / (high - low) - 0.5).abs() < 0.03).all()


@kinds
def test_largest_sets_reach_their_last_point(kind: str) -> None:
    points = make(kind, 3, MAXIMAL_COUNT, 3, CUBE)
    last = points(points.count - 2, 2)
    assert (last >= 0.0).all()
    assert (last <= 1.0).all()
    assert not torch.equal(last[0], last[1])
    with pytest.raises(StudyError, match=r"2\*\*52"):
        make(kind, 3, MAXIMAL_COUNT + 1, 3, CUBE)


@pytest.mark.parametrize("kind", ["inflated", "sobol", "uniform"])
def test_seed_decides(kind: str) -> None:
    seeds = (1, 1, 2, -1, 2**64 + 1)
    first, again, other, negative, huge = (make(kind, 2, 64, seed, CUBE[:2])(0, 64) for seed in seeds)
    assert torch.equal(first, again)
    assert torch.equal(first, huge)  # the low 64 bits count
    assert not torch.equal(first, other)
    assert not torch.equal(first, negative)


@kinds
@pytest.mark.parametrize("device", DEVICES)
def test_same_bits_on_every_device_and_after_a_journey(kind: str, device: str) -> None:
    points = make(kind, 3, 1000, 5, AWKWARD)
    expected = points(100, 300)
    assert torch.equal(points(100, 300, device).cpu(), expected)
    assert torch.equal(pickle.loads(pickle.dumps(points))(100, 300), expected)


@kinds
def test_indices_out_of_reach_are_refused(kind: str) -> None:
    points = make(kind, 1, 8, 0, CUBE[:1])
    for start, count in ((-1, 2), (0, 0), (2**53 - 1, 2)):
        with pytest.raises(ValueError, match="no indices"):
            points(start, count)


@pytest.mark.parametrize(
    ("kind", "dimension", "count", "domain", "match"),
    [
        ("soboll", 1, 8, CUBE[:1], "Did you mean 'sobol'"),
        ("sobol", 1, 0, CUBE[:1], "0 points"),
        ("sobol", 2, 8, CUBE, "3 axes does not fit dimension 2"),
        ("uniform", 0, 8, (), "dimension 0"),
        ("uniform", 1, 8, ((1.0, 1.0),), "not an axis"),
        ("uniform", 1, 8, ((0.0, math.inf),), "not an axis"),
        ("uniform", 1, 8, ((math.nan, 1.0),), "not an axis"),
        ("grid", 41, 8, ((0.0, 1.0),) * 41, "use sobol"),
        ("sobol", 21202, 8, ((0.0, 1.0),) * 21202, "use uniform"),
    ],
)
def test_mistakes_are_told(kind: str, dimension: int, count: int, domain: tuple, match: str) -> None:
    with pytest.raises(StudyError, match=match):
        make(kind, dimension, count, 0, domain)


# Grid


@given(dimension=st.integers(1, 4), count=st.integers(1, 700))
@settings(max_examples=60, deadline=None)
def test_grid_is_the_product_of_its_axes(dimension: int, count: int) -> None:
    domain = (AWKWARD * 2)[:dimension]
    points = make("grid", dimension, count, 0, domain)
    side = max(2, max(s for s in range(1, count + 1) if s**dimension <= count))
    axes = [np.linspace(low, high, side) for low, high in domain]
    product = np.array([row[::-1] for row in itertools.product(*reversed(axes))])  # axis 0 fastest
    assert points.count == side**dimension
    np.testing.assert_allclose(points(0, points.count).numpy(), product, rtol=1e-15, atol=1e-9)


@pytest.mark.parametrize("side", [2, 3, 7, 50])
def test_grid_vertices_are_exact(side: int) -> None:
    points = make("grid", 3, side**3, 0, AWKWARD)
    ends = torch.stack((points(0, 1)[0], points(points.count - 1, 1)[0]), dim=1)  # (dimension, 2)
    assert tuple(map(tuple, ends.tolist())) == AWKWARD
    assert torch.equal(points(points.count, 5), points(0, 5))  # beyond the end it begins again


def test_grid_side_is_exact_for_large_counts() -> None:
    for dimension in (2, 3, 4, 5, 8):
        side = int(MAXIMAL_COUNT ** (1 / dimension)) - 1
        domain = ((0.0, 1.0),) * dimension
        assert make("grid", dimension, side**dimension, 0, domain).count == side**dimension
        assert make("grid", dimension, side**dimension - 1, 0, domain).count == (side - 1) ** dimension
    assert make("grid", 40, 1, 0, ((0.0, 1.0),) * 40).count == 2**40


# Sobol


def test_direction_numbers_continue_those_of_torch() -> None:
    stats = pytest.importorskip("scipy.stats")
    dimension = 400
    theirs = stats.qmc.Sobol(dimension, scramble=False, bits=53)._sv.astype(np.int64)  # (dimension, 53)
    assert np.array_equal(direction_numbers(dimension).T, theirs)


# Uniform


def splitmix(state: int) -> int:
    """The finaliser of SplitMix64 in Python's own integers."""
    word = (state + GOLDEN) % 2**64
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    word = (word ^ word >> 27) * 0x94D049BB133111EB % 2**64
    return word ^ word >> 31


@pytest.mark.parametrize("seed", [0, 1, -1, 2**63, 2**200 + 17])
def test_random_bits_equal_a_hash_in_unbounded_integers(seed: int) -> None:
    indices = [0, 1, 2**40 + 3, -1]
    twin = [
        [splitmix(splitmix(i % 2**64) ^ splitmix(splitmix(seed % 2**64) + axis)) >> 11 for axis in range(3)]
        for i in indices
    ]
    assert random_bits(seed, torch.tensor(indices), 3).tolist() == twin


def test_mixer_gives_the_published_sequence() -> None:
    # SplitMix64 seeded with 1234567: the test vector that many implementations share.
    states = [(1234567 + k * GOLDEN) % 2**64 for k in range(5)]
    words = mix(torch.tensor([s - 2**64 if s >= 2**63 else s for s in states]))
    assert [word % 2**64 for word in words.tolist()] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


@pytest.mark.parametrize("start", [0, 2**45])
def test_uniform_moments(start: int) -> None:
    count, dimension = 2**16, 4
    points = make("uniform", dimension, MAXIMAL_COUNT, 1, ((0.0, 1.0),) * dimension)(start, count).numpy()
    spread = 5 / math.sqrt(count)  # five standard deviations of a mean of variance one
    for power in (1, 2, 3, 4):
        variance = 1 / (2 * power + 1) - 1 / (power + 1) ** 2
        assert np.all(np.abs((points**power).mean(0) - 1 / (power + 1)) < spread * math.sqrt(variance))
    centred = (points - 0.5) * math.sqrt(12)
    across_axes = centred.T @ centred / count - np.diag((centred**2).mean(0))
    along_indices = (centred[1:] * centred[:-1]).mean(0)
    assert np.all(np.abs(across_axes) < spread)
    assert np.all(np.abs(along_indices) < spread)
    assert len(np.unique(points)) == points.size
