"""Points by their indices alone, and inflated points, against twins in Python's own integers."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.quasirandom import SobolEngine

from hpcsweep.approx.supnorm.points import PointSet, Sobol, make
from hpcsweep.approx.supnorm.points.directions import direction_numbers
from hpcsweep.approx.supnorm.points.inflation import BLOCK, FACTORS, Inflated, inflate
from tests.approx.supnorm.points.test_points import AWKWARD, CUBE, DEVICES, kinds


def exact_sobol(index: int, directions: np.ndarray, shift: list[int]) -> list[float]:
    """One shifted point, bit after bit in Python's integers."""
    words = list(shift)
    for place, row in enumerate(directions.tolist()):
        if index >> place & 1:
            words = [word ^ direction for word, direction in zip(words, row, strict=True)]
    return [word * 2.0**-53 for word in words]


# By index


@kinds
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_scattered_points_equal_those_of_blocks(kind: str, data: st.DataObject) -> None:
    points = make(kind, 3, 5000, 7, AWKWARD)
    some = st.one_of(st.integers(0, 5000), st.integers(0, 2**53 - 300))
    indices = data.draw(st.lists(some, min_size=1, max_size=12))
    alone = torch.cat([points(index, 1) for index in indices])
    assert torch.equal(points.at(torch.tensor(indices)), alone)
    before = [min(index, data.draw(st.integers(0, 700))) for index in indices]  # where a block begins, from there
    blocks = zip(indices, before, strict=True)
    within = torch.cat([points(index - start, start + 5)[start, None] for index, start in blocks])
    assert torch.equal(within, alone)


@kinds
@pytest.mark.parametrize("device", DEVICES)
def test_scattered_points_anywhere(kind: str, device: str) -> None:
    points = make(kind, 3, 5000, 7, AWKWARD)
    indices = torch.tensor([4999, 0, 17, 17, 2**45 + 1])
    assert torch.equal(points.at(indices.to(device)).cpu(), points.at(indices))
    assert points.at(indices[:0]).shape == (0, 3)
    for wrong in (indices - 1, indices.to(torch.int32), indices[None], indices + 2**53):
        with pytest.raises(ValueError, match="indices"):
            points.at(wrong)


@given(index=st.one_of(st.integers(0, 2**53 - 1), st.integers(2**30 - 9, 2**30 + 9), st.integers(2**40, 2**41)))
@settings(max_examples=80, deadline=None)
def test_sobol_equals_its_definition_far_beyond_two_to_the_thirty(index: int) -> None:
    points = make("sobol", 3, 2**52, 5, CUBE)
    assert isinstance(points, Sobol)
    exact = exact_sobol(index, points.directions, points.shift.tolist())
    assert points.at(torch.tensor([index]))[0].tolist() == exact
    assert points(index, 1)[0].tolist() == exact


def test_sobol_equals_torch_point_by_point_where_torch_is_right() -> None:
    dimension, count = 5, 4096
    shift = torch.zeros(dimension, dtype=torch.int64)
    ours = Sobol(dimension, count, ((0.0, 1.0),) * dimension, direction_numbers(dimension), shift)
    theirs = SobolEngine(dimension, scramble=False).draw(count, dtype=torch.float64)
    gray = torch.arange(count) ^ (torch.arange(count) >> 1)  # torch goes in Gray code order
    assert torch.equal(ours.at(gray), theirs)


# Inflation


def naive(base: PointSet, index: int) -> list[float]:
    """A point of the inflated set on [0, 1]^d, coordinate after coordinate in fractions."""
    cycle, rest = divmod(index, BLOCK * len(FACTORS))
    factor, place = Fraction(FACTORS[rest // BLOCK]), rest % BLOCK
    unit = [Fraction(u) for u in base(cycle * BLOCK + place, 1)[0].tolist()]
    return [float(min(max(factor * (u - Fraction(1, 2)) + Fraction(1, 2), Fraction(0)), Fraction(1))) for u in unit]


@pytest.mark.parametrize("kind", ["grid", "sobol", "uniform"])
@pytest.mark.parametrize(("start", "count"), [(0, 2048), (256, 256), (1000, 700), (2**40 + 77, 3), (5 * 256, 4096)])
def test_inflated_points_equal_a_naive_twin(kind: str, start: int, count: int) -> None:
    base = make(kind, 3, 2**14, 5, CUBE)
    block = inflate(base)(start, count)
    for row in range(0, count, 37):
        assert block[row].tolist() == pytest.approx(naive(base, start + row), abs=2.0**-53)


def test_inflated_points_are_whole_sets_on_the_boundary() -> None:
    base = make("sobol", 2, 4096, 5, AWKWARD[:2])
    points = inflate(base)
    assert (points.count, points.fair, base.fair) == (4 * 4096, False, True)
    shares = points(0, points.count).unflatten(0, (-1, len(FACTORS), BLOCK))  # (cycles, factors, BLOCK, 2)
    assert torch.equal(shares[:, 0].flatten(0, 1), base(0, 4096))  # factor 1 misses no point
    low, high = torch.tensor(AWKWARD[:2], dtype=torch.float64).T
    inside = ((shares > low) & (shares < high)).all(-1).to(torch.float64).mean((0, 2))
    assert inside.tolist() == pytest.approx([factor**-2 for factor in FACTORS], abs=2e-3)
    corners = {tuple(row) for row in shares[:, 3].flatten(0, 1).tolist()} & set(itertools.product(*AWKWARD[:2]))
    assert len(corners) == 4


@pytest.mark.parametrize("asked", [1, 1024, 1025, 10**5])
def test_inflated_counts_are_whole_cycles_of_other_points(asked: int) -> None:
    points = make("inflated", 2, asked, 5, CUBE[:2])
    assert isinstance(points, Inflated)
    assert points.count % 1024 == 0 and asked <= points.count < asked + 2048
    assert not torch.equal(points(0, 256), make("sobol", 2, asked, 5, CUBE[:2])(0, 256))
