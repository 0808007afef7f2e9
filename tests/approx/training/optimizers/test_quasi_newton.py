"""Methods with a line search: against naive twins of one network, where they end, what they do with bad trials."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from hpcsweep.approx.training import optimizers
from hpcsweep.approx.training.optimizers.lbfgs import LBFGS
from hpcsweep.config import OptimizerConfig
from tests.approx.packs import DOUBLE, Cells, Race, history
from tests.approx.training.optimizers.twins import broyden, dense_twin, limited_twin, scaled, unscaled

METHODS = {name: optimizers.make(name, {}) for name in ("bfgs", "ssbfgs", "ssbroyden", "lbfgs")}
METHODS["lbfgs of 3"], OPTIONS = LBFGS(memory=3), {"lbfgs of 3": {"memory": 3}}
TWINS = {"bfgs": unscaled, "ssbfgs": scaled, "ssbroyden": broyden, "lbfgs": 50, "lbfgs of 3": 3}


def problem(hidden: list[int], dimension: int, samples: int, cells: int) -> Cells:
    """Return cells that learn a function without a steep place on [-1, 1]^d."""
    made = Cells(hidden, dimension, samples, cells)
    made.points = (2 * made.points - 1) / 3
    made.values = torch.cos(2 * made.points.sum(-1)) + made.points[..., 0]
    return made


def loss_of(cells: Cells, cell: int) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Return loss and gradient of one network by torch.autograd."""

    def value(weights: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = cells.loss(cell, torch.from_numpy(weights))
        return loss, gradient.numpy()

    return value


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_first_iterates_are_those_of_a_naive_twin(method: str, batched: bool) -> None:
    cells, family = problem([6], 2, 30, 4), TWINS[method]
    trained = cells.train(
        OptimizerConfig(method.split()[0], steps=29, options=OPTIONS.get(method, {})), batched=batched
    )
    for cell in range(4):
        twin = limited_twin if isinstance(family, int) else dense_twin
        expected = twin(loss_of(cells, cell), cells.parameters[cell].numpy(), 30, family)
        steps, losses = history(trained, cell)
        np.testing.assert_allclose(losses, np.array(expected)[steps], rtol=1e-8)


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("method", ["bfgs", "ssbfgs", "ssbroyden", "lbfgs"])
def test_as_good_as_scipy(method: str, batched: bool) -> None:
    """In the median: on the way to a distant minimum one is ahead of the other by chance."""
    cells, ratios = problem([4], 1, 20, 9), []
    trained = cells.train(OptimizerConfig(method, steps=500), batched=batched)
    for cell in range(9):
        start = cells.parameters[cell].numpy()
        reached = minimize(loss_of(cells, cell), start, jac=True, method="BFGS").fun  # stops at components < 1e-5
        ratios.append(trained.loss[cell] / reached)
    assert np.median(ratios) <= 1.01


@pytest.mark.parametrize("method", METHODS)
def test_a_trial_that_is_not_finite_is_bracketed_away(method: str) -> None:
    race = Race(METHODS[method], problem([7], 2, 20, 3), range(3))
    before, *_ = race.run(30)
    values = race.engine.values[2].clone()
    race.engine.values[2] = math.nan
    during, advanced, _ = race.run(1)
    race.engine.values[2] = values
    after, *_ = race.run(20)
    assert not advanced[:, 2].any() and not race.state.blank[2]  # nor has it forgotten anything
    assert during[0, 2] == after[0, 2] <= before[-1, 2]
    assert after[-1, 2] < 0.9 * after[0, 2]


@pytest.mark.parametrize("method", METHODS)
def test_settled_at_the_end(method: str) -> None:
    cells = problem([], 1, 20, 4)  # a straight line: a quadratic, whose minimum is reached to the last bit
    cells.values[3] = cells.parameters[3] = 0
    race = Race(METHODS[method], cells, range(4))
    race.run(1)
    assert race.settled.tolist() == [False, False, False, True]  # its gradient is zero
    race.run(300)
    assert race.settled.all()
    losses, advanced, weights = race.run(10)
    assert not advanced.any() and torch.equal(losses, losses[:1].expand(10, 4))
    for cell in range(4):
        design = torch.cat([cells.points[cell], torch.ones(20, 1, dtype=DOUBLE)], 1)
        best = torch.linalg.lstsq(design, cells.values[cell].unsqueeze(1), driver="gels").solution[:, 0]
        torch.testing.assert_close(weights[cell], best, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_losses_are_those_of_the_iterates_and_fall(method: str) -> None:
    losses, advanced, _ = Race(METHODS[method], problem([7], 2, 20, 3), range(3)).run(80)
    assert 1 < 80 * 3 / advanced.sum() < 1.6
    for cell in range(3):
        for (before, after), moved in zip(pairwise(losses[:, cell].tolist()), advanced[:, cell], strict=False):
            assert after < before * (1 + 1e-9) if moved else after == before
