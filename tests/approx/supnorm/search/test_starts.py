"""Starts: on the boundary to the bit, in the gaps by a naive search, and always the same."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsweep.approx.supnorm.search.starts import boundary, corners, face_centres, gaps, nearest, on_faces, spread
from tests.approx.supnorm.search.planted import tensor, uniform

UNEVEN = ((-1.0, 3.0), (0.1, 0.3), (-500.0, 100.0))


def bounds_met(places: torch.Tensor, domain: tuple) -> torch.Tensor:
    """Return how many coordinates of each place are at a bound."""
    low, high = tensor(domain).T
    return ((places == low) | (places == high)).sum(1)


@pytest.mark.parametrize("dimension", [5, 60])
def test_random_corners_where_there_are_too_many(dimension: int) -> None:
    domain = ((-1.0, 0.3),) * dimension
    places = corners(domain, 31, 0)
    assert places.shape == (31, dimension)
    assert bounds_met(places, domain).eq(dimension).all()
    assert 0.3 < places.eq(0.3).double().mean() < 0.7
    assert not torch.equal(places, corners(domain, 31, 1))


def test_centres_of_all_faces() -> None:
    places = face_centres(UNEVEN)
    assert bounds_met(places, UNEVEN).tolist() == [1] * 6
    assert places[1].tolist() == pytest.approx([1.0, 0.1, -200.0])
    assert len(np.unique(places.numpy(), axis=0)) == 6


def test_faces_of_every_dimension_are_met_equally() -> None:
    places = on_faces(UNEVEN, 3000, 5)
    met = bounds_met(places, UNEVEN)
    counts = torch.bincount(met, minlength=4).tolist()
    assert counts[0] == 0
    assert counts[1:] == pytest.approx([1000] * 3, abs=120)
    low, high = tensor(UNEVEN).T
    assert (places == high).sum(0).tolist() == pytest.approx([1000] * 3, abs=120)
    assert (places == low).sum(0).tolist() == pytest.approx([1000] * 3, abs=120)
    inner = places[(places[:, 0] != low[0]) & (places[:, 0] != high[0]), 0]
    assert inner.mean() == pytest.approx(1.0, abs=0.15)  # and elsewhere uniform


@pytest.mark.parametrize("count", [0, 1, 7, 500])
@pytest.mark.parametrize("dimension", [1, 3, 50])
def test_boundary_gives_what_was_asked_for(count: int, dimension: int) -> None:
    domain = ((-2.0, 0.7),) * dimension
    places = boundary(domain, count, 3)
    assert places.shape == (count, dimension)
    assert bounds_met(places, domain).ge(1).all()
    if 2**dimension <= count // 4:
        assert set(product(*domain)) <= {tuple(place) for place in places.tolist()}
    assert torch.equal(places, boundary(domain, count, 3))


@pytest.mark.parametrize("count", [0, 1, 3, 4, 1000])
def test_spread_lies_inside_and_on_the_boundary(count: int) -> None:
    places = spread(UNEVEN, count, 2)
    low, high = tensor(UNEVEN).T
    assert places.shape == (count, 3)
    assert (places >= low).all() and (places <= high).all()
    assert torch.equal(places, spread(UNEVEN, count, 2))
    if count == 1000:
        # The share of coordinates at a bound is 1 - 1/s for s = 1, 1.25, 2, 4.
        shares = (((places == low) | (places == high)).double().view(4, -1)).mean(1)
        assert shares.tolist() == pytest.approx([0, 0.2, 0.5, 0.75], abs=0.05)


@pytest.mark.parametrize(("samples", "dimension"), [(1, 1), (700, 1), (50, 3), (3000, 8)])
def test_nearest_against_all_pairs(samples: int, dimension: int) -> None:
    domain = ((-1.0, 1.0),) * dimension
    places, known = uniform(1, 200, domain), uniform(2, samples, domain)
    naive = np.sqrt(((places[:, None] - known[None]).numpy() ** 2).sum(-1)).min(1)
    np.testing.assert_allclose(nearest(places, known).numpy(), naive, rtol=1e-12)


def test_nearest_in_tiles_is_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    places, known = uniform(1, 50, UNEVEN), uniform(2, 70, UNEVEN)
    whole = nearest(places, known)
    monkeypatch.setattr("hpcsweep.approx.supnorm.search.starts._TILE", 33)
    assert torch.allclose(nearest(places, known), whole, rtol=1e-13, atol=0)
    assert nearest(places, known[:0]).eq(torch.inf).all()
    assert nearest(known[[3]], known) == 0  # not the root of a rounding error


def test_the_widest_gap_on_a_line_comes_first() -> None:
    samples = tensor([[0.1], [0.9], [0.2], [0.4]])
    places = gaps(samples, ((0.0, 1.5),), 10, 0)[:, 0].tolist()
    assert places == pytest.approx([1.5, 0.65, 0.3, 0.0, 0.15])  # 0.6, then 0.25 and 0.1 twice, and 0.05
    assert gaps(samples, ((0.0, 1.5),), 2, 0)[:, 0].tolist() == places[:2]
    assert gaps(samples[:0], ((0.0, 1.5),), 2, 0)[:, 0].tolist() == [0.0, 1.5]


def test_the_hole_in_the_samples_comes_first_and_the_rest_in_order() -> None:
    domain, count = ((-1.0, 3.0), (0.0, 0.2)), 40
    samples = uniform(4, 2000, domain)
    low, high = tensor([[0.5, 0.05], [1.5, 0.1]])
    samples = samples[~((samples > low) & (samples < high)).all(1)]
    places = gaps(samples, domain, count, 0)
    assert ((places[0] > low) & (places[0] < high)).all()
    pool, half = spread(domain, 8 * count, 0), np.array([2.0, 0.1])
    distances = [np.sqrt((((place - samples.numpy()) / half) ** 2).sum(1)).min() for place in pool.numpy()]
    np.testing.assert_array_equal(places.numpy(), pool.numpy()[np.argsort(distances)[::-1][:count]])


@given(st.integers(1, 5), st.integers(0, 40), st.integers(1, 60), st.integers(0, 2**63))
@settings(max_examples=40, deadline=None)
def test_gaps_stay_in_the_domain(dimension: int, samples: int, count: int, seed: int) -> None:
    domain = (UNEVEN * 2)[:dimension]
    low, high = tensor(domain).T
    places = gaps(uniform(seed % 1000, samples, domain), domain, count, seed)
    assert len(places) == count if dimension > 1 else len(places) <= count
    assert (places >= low).all() and (places <= high).all()
