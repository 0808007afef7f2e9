"""Classical approximants: scipy's and numpy's own are the truth."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import LinearNDInterpolator, make_interp_spline
from scipy.spatial import cKDTree

from hpcsweep.approx import models
from hpcsweep.approx.models.classical import Direct, Unsolvable
from hpcsweep.approx.models.classical.crosses import cross, size
from hpcsweep.errors import PluginError

DOUBLE = torch.float64


def smooth(places: np.ndarray) -> np.ndarray:
    return np.sin(3 * places + np.arange(places.shape[1])).sum(axis=1)


def samples(count: int, dimension: int, seed: int = 0, side: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    places = np.random.default_rng(seed).uniform(-side, side, (count, dimension))
    return places, smooth(places)


def fitted(choice: dict[str, Any], places: np.ndarray, values: np.ndarray, domain: Any = None) -> Any:
    """Return the fit as a function of arrays (points, dimension)."""
    dimension = places.shape[1]
    full = models.sized(models.resolve(choice), dimension, len(places))
    model = models.make(full, dimension, domain or [(-1.0, 1.0)] * dimension)
    assert isinstance(model, Direct)
    parameters = model.solve(places, values)
    assert parameters.shape == (model.parameters,) == (models.count_parameters(full, dimension),)
    assert parameters.dtype == DOUBLE
    return lambda points: model.apply(parameters, torch.as_tensor(points)).numpy()


@pytest.mark.parametrize(("dimension", "count"), [(2, 300), (3, 200), (4, 100)])
def test_simplices_are_scipys(dimension: int, count: int) -> None:
    places, values = samples(count, dimension)
    points = samples(20_000, dimension, seed=1)[0]  # more than a block
    found = fitted({"name": "simplex"}, places, values)(points)
    truth = LinearNDInterpolator(places, values)(points)
    inside = ~np.isnan(truth)
    assert 1000 < inside.sum() < len(points) - 100
    np.testing.assert_allclose(found[inside], truth[inside], rtol=0, atol=1e-12)
    nearest = values[cKDTree(places).query(points[~inside])[1]]
    np.testing.assert_array_equal(found[~inside], nearest)


def test_one_dimension_is_numpys_interp() -> None:
    places, values = samples(50, 1)
    points = np.linspace(-1.2, 1.2, 5001)[:, None]
    order = places[:, 0].argsort()
    truth = np.interp(points[:, 0], places[order, 0], values[order])
    np.testing.assert_allclose(fitted({"name": "simplex"}, places, values)(points), truth, rtol=0, atol=1e-14)


@pytest.mark.parametrize("degree", [1, 3, 5])
@pytest.mark.parametrize("count", [6, 40, 1000])
def test_splines_are_scipys(degree: int, count: int) -> None:
    places, values = samples(count, 1, seed=count)
    points = np.linspace(-1, 1, 4001)[:, None]  # beyond the samples too
    order = places[:, 0].argsort()
    truth = make_interp_spline(places[order, 0], values[order], k=degree)
    found = fitted({"name": "spline", "degree": degree}, places, values)
    scale = np.abs(truth(points[:, 0])).max()
    np.testing.assert_allclose(found(points), truth(points[:, 0]), rtol=0, atol=1e-12 * scale)
    np.testing.assert_allclose(found(places), values, rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize(("order", "dimension", "count"), [(12, 1, 60), (9, 2, 200), (5, 3, 200), (9, 2, 20)])
def test_polynomials_are_those_of_numpys_basis_by_its_least_squares(order: int, dimension: int, count: int) -> None:
    domain = [(-1.0, 1.0), (1.0, 5.0), (0.0, 0.5)][:dimension]
    low, high = np.array(domain).T
    unit = samples(count, dimension)[0]
    places = low + (high - low) * (unit + 1) / 2
    values, others = smooth(places), samples(500, dimension, seed=1)[0]

    def matrix(at: np.ndarray) -> np.ndarray:
        each = [
            np.polynomial.legendre.legvander(column, order) * np.sqrt(2 * np.arange(order + 1) + 1) for column in at.T
        ]
        allowed = (
            nu
            for nu in itertools.product(range(order + 1), repeat=dimension)
            if math.prod(n + 1 for n in nu) <= order + 1
        )
        return np.stack([math.prod(rows[:, n] for rows, n in zip(each, nu, strict=True)) for nu in allowed], axis=1)

    solution = np.linalg.lstsq(matrix(unit), values, rcond=None)[0]
    found = fitted({"name": "legendre", "order": order}, places, values, domain)
    points = low + (high - low) * (others + 1) / 2
    np.testing.assert_allclose(found(points), matrix(others) @ solution, rtol=0, atol=1e-9 * np.abs(solution).max())


def test_the_basis_is_orthonormal() -> None:
    model = models.make({"name": "legendre", "order": 7}, 2, [(0.0, 3.0), (-1.0, 1.0)])
    nodes, weights = np.polynomial.legendre.leggauss(9)
    points = np.stack(np.meshgrid(1.5 + 1.5 * nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 2)
    values = np.stack(
        [model.apply(row, torch.from_numpy(points)).numpy() for row in torch.eye(model.parameters, dtype=DOUBLE)]
    )
    gram = values * np.outer(weights, weights).ravel() / 4 @ values.T
    np.testing.assert_allclose(gram, np.eye(model.parameters), atol=1e-12)


@given(order=st.integers(1, 12), dimension=st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_crosses_are_what_they_say(order: int, dimension: int) -> None:
    everything = itertools.product(range(order + 1), repeat=dimension)
    truth = [nu for nu in everything if math.prod(n + 1 for n in nu) <= order + 1]
    assert cross(order, dimension).tolist() == [list(nu) for nu in truth]
    assert size(order, dimension) == len(truth)


def test_the_size_of_a_cross_is_told_without_making_it() -> None:
    assert size(10**6, 16) > 10**12


CHOICES = ({"name": "simplex"}, {"name": "legendre", "order": 3}, {"name": "spline", "degree": 3})


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice["name"])
@given(slope=st.floats(-10, 10), offset=st.floats(-10, 10), seed=st.integers(0, 1000), count=st.integers(6, 40))
@settings(max_examples=15, deadline=None)
def test_straight_lines_are_met_between_the_samples(
    choice: dict[str, Any], slope: float, offset: float, seed: int, count: int
) -> None:
    places = samples(count, 1, seed)[0]
    found = fitted(choice, places, slope * places[:, 0] + offset)
    points = np.linspace(places.min(), places.max(), 101)[:, None]
    np.testing.assert_allclose(found(points), slope * points[:, 0] + offset, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("choice", "dimension"), [*((one, 1) for one in CHOICES), (CHOICES[0], 3), (CHOICES[1], 3)])
def test_gradients_at_the_points_are_those_of_differences(choice: dict[str, Any], dimension: int) -> None:
    places, values = samples(60, dimension)
    full = models.sized(models.resolve(choice), dimension, 60)
    model = models.make(full, dimension, [(-1.0, 1.0)] * dimension)
    parameters = model.solve(places, values)  # type: ignore[attr-defined]
    points = torch.from_numpy(samples(50, dimension, seed=3, side=0.3)[0]).requires_grad_()
    [slopes] = torch.autograd.grad(model.apply(parameters, points).sum(), points)
    for axis in range(dimension):
        step = torch.zeros(dimension, dtype=DOUBLE)
        step[axis] = 1e-6
        with torch.no_grad():
            differences = (model.apply(parameters, points + step) - model.apply(parameters, points - step)) / 2e-6
        # A step may cross from one piece to another, seldom.
        assert float((slopes[:, axis] - differences).abs().quantile(0.9)) < 1e-6


def test_a_value_depends_on_its_own_point_alone() -> None:
    places, values = samples(200, 2)
    found = fitted({"name": "simplex"}, places, values)
    points = samples(300, 2, seed=1, side=1.0)[0]
    together = found(points)
    alone = np.concatenate([found(points[i : i + 1]) for i in range(len(points))])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-13)
    assert len(found(points[:0])) == 0


def test_what_has_no_fit_says_why() -> None:
    twice = np.repeat(samples(20, 2)[0], 2, axis=0)
    with pytest.raises(Unsolvable, match="same place, at 20 of 20 places"):
        fitted({"name": "simplex"}, twice, smooth(twice))
    with pytest.raises(Unsolvable, match="same place"):
        fitted({"name": "spline", "degree": 1}, twice[:, :1], smooth(twice))
    flat = np.repeat(samples(20, 1)[0], 2, axis=1)
    with pytest.raises(Unsolvable, match="no Delaunay triangulation"):
        fitted({"name": "simplex"}, flat, smooth(flat))


@pytest.mark.parametrize(
    ("choice", "dimension", "count", "sentence"),
    [
        ({"name": "legendre"}, 1, 9, 'needs model.order, the order of its hyperbolic cross, not None'),
        ({"name": "legendre", "order": 3, "degree": 3}, 1, 9, 'model.degree belongs to model "spline", not to "leg'),
        ({"name": "mlp", "hidden": [4], "order": 3}, 1, 9, 'model.order belongs to model "legendre", not to "mlp"'),
        ({"name": "spline", "degree": 4}, 1, 9, "one of 1, 3, 5, not 4"),
        ({"name": "spline", "degree": 3}, 2, 9, "exists only in dimension 1, not in 2"),
        ({"name": "spline", "degree": 3}, 1, 3, "at least 4 samples here, not 3"),
        ({"name": "simplex"}, 3, 4, "at least 5 samples here, not 4"),
        ({"name": "legendre", "order": 10**6}, 3, 9, "choose a lower one"),
        ({"name": "simplex", "ordre": 3}, 1, 9, "unknown name 'ordre'"),
        ({"name": "simplx"}, 1, 9, "Did you mean 'simplex'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(choice: dict[str, Any], dimension: int, count: int, sentence: str) -> None:
    with pytest.raises(PluginError, match=sentence):
        models.sized(models.resolve(choice), dimension, count)


def test_fields_of_networks_are_no_part_of_the_choice() -> None:
    given_by_a_study = {"name": "legendre", "order": 4, "degree": None, "hidden": [16, 16], "activation": "tanh"}
    assert models.resolve(given_by_a_study) == {"name": "legendre", "order": 4}
    with pytest.raises(PluginError, match="as many nodes as samples"):
        models.count_parameters(models.resolve({"name": "simplex"}), 1)
