"""Levenberg-Marquardt against the batched engine and against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hpcsweep.approx.kernels import residuals
from hpcsweep.config import OptimizerConfig
from tests.approx.kernels.cases import Case, assert_near, choice, walk
from tests.approx.packs import Cells

SHAPES = [([], 2, 12), ([4], 1, 10), ([4], 1, 60), ([9], 2, 20), ([6, 5], 2, 300), ([5, 5, 5], 1, 129), ([20], 3, 40)]


@pytest.mark.parametrize(("hidden", "dimension", "samples"), SHAPES, ids=str)
def test_ten_steps_are_those_of_the_batched_engine(hidden: list[int], dimension: int, samples: int) -> None:
    cells = Cells(hidden, dimension, samples, 2)
    settings = OptimizerConfig("levenberg_marquardt", steps=10, keep="last")
    found, expected = (cells.train(settings, batched=batched) for batched in (False, True))
    assert np.allclose(found.history_loss, expected.history_loss, rtol=1e-6, atol=1e-22, equal_nan=True)
    assert found.steps.tolist() == expected.steps.tolist() and found.message == expected.message


@pytest.mark.parametrize(("hidden", "dimension", "samples"), SHAPES[1:], ids=str)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_step_is_the_best_of_four(hidden: list[int], dimension: int, samples: int, dtype: Any) -> None:
    case = Case.of(hidden, dimension, samples, dtype=dtype)
    made = case.method(choice(name="levenberg_marquardt"))
    step = np.subtract(*walk(made, 1)[::-1])[: len(case.parameters)]

    def residuals(parameters: torch.Tensor) -> torch.Tensor:
        return case.model.evaluate(parameters, case.inputs) - case.values

    jacobian, misfit = torch.func.jacrev(residuals)(case.parameters).numpy(), residuals(case.parameters).numpy()
    normal, trials = jacobian.T @ jacobian, []
    for factor in (0.3, 3.0):
        damped = normal + factor * 1e-2 * np.trace(normal) / len(normal) * np.eye(len(normal))
        velocity = -np.linalg.solve(damped, jacobian.T @ misfit)
        ahead = residuals(case.parameters + 0.1 * torch.from_numpy(velocity)).numpy()
        second = 2 / 0.1 * ((ahead - misfit) / 0.1 - jacobian @ velocity)
        bent = -0.5 * np.linalg.solve(damped, jacobian.T @ second)
        short = 2 * np.linalg.norm(bent) < 0.75 * np.linalg.norm(velocity)
        trials += [velocity, *([velocity + bent] if short else [])]
    trials.insert(0, np.zeros_like(step, dtype=np.float64))  # where none descends it stays
    losses = [residuals(case.parameters + torch.from_numpy(one)).square().mean().item() for one in trials]
    assert_near(step, trials[int(np.argmin(losses))], 1e-8 if dtype is np.float64 else 2e-2)


def test_a_perfect_fit_settles() -> None:
    case = Case.of([5], 1, 30)
    case.values.copy_(case.model.evaluate(case.parameters, case.inputs))
    made = case.method(choice(name="levenberg_marquardt"))
    walk(made, 200)
    assert made.state.loss < 1e-28 and made.state.steps <= 41


def test_the_slope_is_that_of_the_gradient() -> None:
    case = Case.of([5], 2, 30)
    made, other = (case.method(choice(name=name)) for name in ("levenberg_marquardt", "adam"))
    walk(made, 0)
    walk(other, 0)
    assert made.slope == pytest.approx(other.slope, rel=1e-12)


def test_the_room_is_large_enough() -> None:
    for parameters, samples in ((1, 1), (7, 300), (300, 7), (16, 16), (17, 16)):
        at = residuals.places(parameters, samples, 8)
        assert (np.diff(at[4:]) > 0).all() and bool(at[3]) == (parameters > samples)
