"""Networks that learn Poisson's equation: derivatives against nested autograd, rows against formulas, bits."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hpcsweep.approx import models
from hpcsweep.approx.fitting import fit
from hpcsweep.approx.models.operators import TWICE_DIFFERENTIABLE, SecondOrder
from hpcsweep.approx.targets import REGISTRY
from hpcsweep.approx.training import optimizers, train
from hpcsweep.approx.training.strategies.poisson import minus_laplacian, residual_rows
from hpcsweep.config import Cell, Objective, OptimizerConfig
from hpcsweep.sampling import boundary, grid, side
from tests.approx.cells import cell
from tests.approx.packs import equal

DOUBLE = torch.float64


def perceptron(hidden: list[int], dimension: int, **choice: object) -> models.MLP:
    return models.MLP({"hidden": hidden, **choice}, dimension, [(0.0, 2.0 + axis) for axis in range(dimension)])


def by_autograd(network: models.MLP, parameters: Tensor, points: Tensor) -> Tensor:
    """The same operator of the network as torch writes it, differentiated twice backwards, variable by variable."""
    d = network.dimension
    places = points[:, :d].clone().requires_grad_()
    value = network.apply(parameters, places)
    [slope] = torch.autograd.grad(value.sum(), places, create_graph=True)
    total = points[:, -1] * value
    for axis in range(d):
        [second] = torch.autograd.grad(slope[:, axis].sum(), places, create_graph=True)
        total = total + points[:, d + axis] * second[:, axis]
    return total


@settings(max_examples=40, deadline=None)
@given(
    hidden=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    dimension=st.integers(1, 4),
    activation=st.sampled_from(sorted(TWICE_DIFFERENTIABLE)),
    standardise=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_the_operator_is_that_of_nested_autograd(
    hidden: list[int], dimension: int, activation: str, standardise: bool, seed: int
) -> None:
    network = perceptron(hidden, dimension, activation=activation, standardise=standardise)
    [parameters] = network.init([seed], DOUBLE) * 1.5
    points = torch.randn(9, 2 * dimension + 1, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))
    leaf, twin = parameters.clone().requires_grad_(), parameters.clone().requires_grad_()
    found, expected = SecondOrder(network).apply(leaf, points), by_autograd(network, twin, points)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12 * float(1 + expected.detach().abs().max()))
    [slope] = torch.autograd.grad(found.square().sum(), leaf)
    [truth] = torch.autograd.grad(expected.square().sum(), twin)
    torch.testing.assert_close(slope, truth, rtol=1e-11, atol=1e-11 * float(1 + truth.abs().max()))


def test_the_laplacian_of_targets_is_that_of_the_formula() -> None:
    points = torch.rand(50, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    target = REGISTRY["sine_product"](3, frequency=2)
    expected = 3 * (2 * math.pi) ** 2 * target(points)
    torch.testing.assert_close(minus_laplacian(target, points), expected, rtol=1e-12, atol=1e-11)
    torch.testing.assert_close(minus_laplacian(lambda x: (x**3).sum(1), points), -6 * points.sum(1))
    for name in ("exp_cos", "michaud_teacher", "random_waves", "product_tree", "runge"):  # forward against backward
        target, places = REGISTRY[name](3), points.clone().requires_grad_()
        [slope] = torch.autograd.grad(target(places).sum(), places, create_graph=True)
        second = [torch.autograd.grad(slope[:, k].sum(), places, retain_graph=True)[0][:, k] for k in range(3)]
        torch.testing.assert_close(minus_laplacian(target, points), -sum(second), rtol=1e-11, atol=1e-11)


def test_rows_and_weights_make_the_usual_loss() -> None:
    target, network = REGISTRY["sine_product"](2), perceptron([5], 2)
    inside, edge = torch.rand(40, 2, dtype=DOUBLE), torch.rand(12, 2, dtype=DOUBLE)
    rows, values = residual_rows(target, inside, edge, 7.0)
    [parameters] = network.init([3], DOUBLE)
    residuals = SecondOrder(network).apply(parameters, rows) - values
    places = inside.clone().requires_grad_()
    difference = minus_laplacian(lambda x: network.apply(parameters, x) - target(x), places)
    gaps = network.apply(parameters, edge) - target(edge)
    expected = difference.square().mean() + 7.0 * gaps.square().mean()
    torch.testing.assert_close(residuals.square().mean() * 52 / 40, expected, rtol=1e-12, atol=0)


def test_grids_and_boundaries() -> None:
    domain = [(0.0, 1.0), (-1.0, 3.0)]
    places = grid(9, domain)
    assert sorted(set(places[:, 0])) == pytest.approx([1 / 6, 1 / 2, 5 / 6])
    assert sorted(set(places[:, 1])) == pytest.approx([-1 / 3, 1, 7 / 3]) and len(np.unique(places, axis=0)) == 9
    assert [side(n, 3) for n in (1, 8, 27, 26, 1000)] == [1, 2, 3, None, 10]
    for regular in (True, False):
        edge = boundary(5, 12, domain, regular)
        ends = [edge[0::4, 0] == 0, edge[1::4, 0] == 1, edge[2::4, 1] == -1, edge[3::4, 1] == 3]
        assert all(face.all() and len(face) == 3 for face in ends)
        assert ((edge >= [0, -1]) & (edge <= [1, 3])).all()
    assert sorted(boundary(5, 12, domain, True)[0::4, 1]) == pytest.approx([-1 / 3, 1, 7 / 3])
    assert boundary(5, 2, [(2.0, 4.0)], True).tolist() == [[2.0], [4.0]]
    with pytest.raises(ValueError, match="10 points do not form a grid in 2"):
        grid(10, domain)
    assert Objective(equation="poisson").boundary_points(900, 2) == 120 and Objective().boundary_points(900, 2) == 0
    assert Objective(equation="poisson").boundary_points(900, 1) == 2


QUICK = OptimizerConfig(steps=20, learning_rate=1e-2)


class Packs:
    """Cells that learn Poisson's equation, each with its own domain, places, and weights."""

    def __init__(self, cells: int = 17, activation: str = "tanh") -> None:
        made = [
            models.MLP(
                {"hidden": [5, 4], "activation": activation, "standardise": True},
                2,
                [(0.0, 1.0 + cell % 3), (0.0, 1.0)],
            )
            for cell in range(cells)
        ]
        self.models = [SecondOrder(network) for network in made]
        self.parameters = torch.cat([model.init([cell], DOUBLE) for cell, model in enumerate(made)])
        target, draw = REGISTRY["sine_product"](2), np.random.default_rng(0)
        pairs = [
            residual_rows(target, torch.from_numpy(draw.random((30, 2))), torch.from_numpy(draw.random((9, 2))), 4.0)
            for _ in range(cells)
        ]
        self.rows, self.values = (torch.stack(part) for part in zip(*pairs, strict=True))

    def train(self, chosen: OptimizerConfig, rows: list[int] | None = None) -> object:
        rows = list(range(len(self.models))) if rows is None else rows
        data = self.parameters[rows], self.rows[rows], self.values[rows]
        return train([self.models[row] for row in rows], *data, [chosen] * len(rows), rows)


@pytest.mark.parametrize("activation", sorted(TWICE_DIFFERENTIABLE))
def test_bits_do_not_depend_on_the_companions(activation: str) -> None:
    packs = Packs(activation=activation)
    everyone = packs.train(QUICK)
    for rows in ([4], [16, 0, 4], [3, 2]):
        assert equal(everyone, packs.train(QUICK, rows), rows)


WORKING = [name for name in optimizers.NAMES if not optimizers.needs(name).features]


@pytest.mark.parametrize("name", WORKING)
def test_every_optimizer_lowers_the_residual_and_keeps_the_bits(name: str) -> None:
    packs = Packs(6)
    everyone = packs.train(OptimizerConfig(name, steps=15, learning_rate=1e-2))
    assert equal(everyone, packs.train(OptimizerConfig(name, steps=15, learning_rate=1e-2), [5, 2]), [5, 2])
    assert (everyone.loss < everyone.history_loss[:, 0]).all()


def learner(replicate: int, target: str = "sine_product", sampling: str = "uniform", folder: Path = Path(".")) -> Cell:
    objective = Objective(equation="poisson", boundary_weight=100.0, sampling=sampling)
    method = OptimizerConfig("levenberg_marquardt", steps=60, objective=objective)
    return cell({"name": target}, {"hidden": [12]}, 100, method, replicate, 2, folder)


@pytest.mark.parametrize("sampling", ["uniform", "grid"])
def test_the_network_itself_comes_near_the_exact_solution(sampling: str) -> None:
    found = fit([learner(replicate, sampling=sampling) for replicate in range(3)])
    places = torch.rand(2000, 2, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    network, target = models.make({"hidden": [12]}, 2, [(0.0, 1.0)] * 2), REGISTRY["sine_product"](2)
    for one in found:
        assert one.outcome == "done" and one.parameters is not None
        values = network.apply(torch.from_numpy(one.parameters), places)
        assert float((values - target(places)).abs().max()) < 1e-2


BAD = """
import torch
from hpcsweep.approx.targets import Target


class Bent(Target):
    smoothness = 2  # it says; but derivatives left of the middle are 0 times infinity
    side = (0.0, 1.0)

    def __call__(self, points):
        return torch.sqrt(torch.relu(points[:, 0] - 0.5))
"""


def test_a_target_without_derivatives_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(BAD)
    found = fit([learner(1, "bad.py:Bent", folder=tmp_path), learner(0), learner(2)], tmp_path)
    assert found[0].outcome == "failed" and "derivatives" in found[0].message
    assert [one.outcome for one in found[1:]] == ["done"] * 2
    for one, alone in zip(found[1:], fit([learner(0), learner(2)]), strict=True):
        assert np.array_equal(one.parameters, alone.parameters)
