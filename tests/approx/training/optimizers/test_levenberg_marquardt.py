"""Levenberg-Marquardt: the normal equations, and the whole against a naive twin and against SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from torch import Tensor

from hpcsweep.approx import models
from hpcsweep.approx.training.operations.engine import Engine
from hpcsweep.approx.training.optimizers.damping import Damping, NormalEquations
from hpcsweep.approx.training.optimizers.levenberg_marquardt import LevenbergMarquardt
from hpcsweep.approx.training.optimizers.optimizer import Optimizer
from tests.approx.training.operations.test_engine import DOUBLE, pack

CASES = [([5], 1, 30, "tanh"), ([6, 5], 2, 30, "tanh"), ([8, 8], 1, 20, "sin"), ([7], 2, 40, "gelu")]


def smooth(engine: Engine) -> None:
    """Let the networks of an engine learn a smooth function instead of noise."""
    engine.values.copy_(torch.sin(2 * engine.points.sum(1, keepdim=True)) + engine.points[:, :1] / 2)


def iterate(optimizer: Optimizer, engine: Engine, steps: int, state: Any = None) -> tuple[Tensor, Any]:
    """Return the losses (steps, slots) before each step, and the state after the last; from a state, or the start."""
    state = optimizer.init(engine) if state is None else state
    losses = engine.weights.new_empty((steps, engine.layout.slots))
    for count in range(steps):
        optimizer.step(engine, state, count, torch.empty(0), losses[count])
    return losses, state


@pytest.mark.parametrize(("parameters", "samples"), [(12, 30), (30, 12), (20, 20)])
def test_dual_equals_primal(parameters: int, samples: int) -> None:
    generator = torch.Generator().manual_seed(0)
    jacobian = torch.randn(3, parameters, samples, generator=generator, dtype=DOUBLE)
    residuals = torch.randn(3, 2, samples, generator=generator, dtype=DOUBLE)
    dampings = torch.tensor([[1e-2, 1e-1], [1e-4, 1.0], [1e-3, 1e-3]], dtype=DOUBLE)
    for dual in (False, True):
        equations = NormalEquations(3, parameters, samples, jacobian, dual)
        equations.jacobian.copy_(jacobian)
        equations.multiply()
        assert equations.factor(dampings).all()
        steps = equations.solve(residuals)
        for slot in range(3):
            normal = jacobian[slot] @ jacobian[slot].T
            for trial in range(2):
                added = dampings[slot, trial] * normal.diagonal().mean() * torch.eye(parameters, dtype=DOUBLE)
                expected = torch.linalg.solve(normal + added, jacobian[slot] @ residuals[slot, trial])
                assert (steps[slot, trial] - expected).norm() <= 1e-9 * expected.norm()


def twin(model: models.MLP, start: Tensor, points: Tensor, values: Tensor, steps: int) -> np.ndarray:
    """Return the losses (steps,) of a naive Levenberg-Marquardt of one network, always primal, in numpy."""

    def residual(at: np.ndarray) -> np.ndarray:
        return (model.apply(torch.from_numpy(at), points) - values).numpy()

    def square(at: np.ndarray) -> float:
        return float(np.mean(residual(at) ** 2))

    at, damping, losses = start.numpy(), 1e-2, []
    for _ in range(steps):
        r, J = residual(at), torch.func.jacrev(model.apply)(torch.from_numpy(at), points).numpy()
        losses.append(square(at))
        trials = []
        for tried in (0.3 * damping, 3 * damping):
            A = J.T @ J + tried * np.trace(J.T @ J) / len(at) * np.eye(len(at))
            v = -np.linalg.solve(A, J.T @ r)
            bend = 2 / 0.1 * ((residual(at + 0.1 * v) - r) / 0.1 - J @ v)
            a = -np.linalg.solve(A, J.T @ bend) / 2
            candidates = [v, v + a] if 2 * np.linalg.norm(a) < 0.75 * np.linalg.norm(v) else [v]
            trials += [(square(at + step), tried, step) for step in candidates]
        best, tried, step = min(trials, key=lambda trial: trial[0])
        at, damping = (at + step, tried) if best < losses[-1] else (at, 12 * damping)
    return np.array(losses)


@pytest.mark.parametrize(("hidden", "dimension", "samples", "activation"), CASES)
def test_against_a_naive_twin(hidden: list[int], dimension: int, samples: int, activation: str) -> None:
    model, engine, parameters, points, _ = pack(hidden, dimension, samples, 3, 7, activation)
    smooth(engine)
    values = engine.values[:, 0].clone()
    losses, _ = iterate(LevenbergMarquardt(), engine, 50)
    for slot in range(3):
        expected = twin(model, parameters[slot], points[slot], values[slot], 50)
        same = 50 if expected[-1] > 1e-11 else int(np.argmax(expected < 1e-11))  # beyond, rounding decides
        assert same >= 8 and expected[same - 1] < 1e-3 * expected[0]
        np.testing.assert_allclose(losses[:same, slot].numpy(), expected[:same], rtol=1e-6)


def test_scipy_finds_no_better_optimum() -> None:
    model, engine, parameters, points, _ = pack([3], 1, 40, 8, 11)
    smooth(engine)
    values = engine.values[:, 0].clone()
    losses, state = iterate(LevenbergMarquardt(), engine, 600)
    assert LevenbergMarquardt().settled(engine, state).any()
    scipy = torch.empty(8, dtype=DOUBLE)
    for slot in range(8):

        def residual(at: np.ndarray, slot: int = slot) -> np.ndarray:
            return (model.apply(torch.from_numpy(at), points[slot]) - values[slot]).numpy()

        start = parameters[slot].numpy()
        found = least_squares(residual, start, method="lm", xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=4000)
        scipy[slot] = 2 * found.cost / 40
    assert losses[-1].min() <= scipy.min() * (1 + 1e-9)
    assert (losses[-1] <= scipy * (1 + 1e-6)).sum() >= 6


def test_losses_never_rise_and_belong_to_the_weights_before_the_step() -> None:
    _, engine, *_ = pack([6, 5], 2, 30, 4, 5)
    losses, _ = iterate(LevenbergMarquardt(), engine, 30)
    assert (losses.diff(dim=0) <= 0).all()
    now = torch.empty(4, dtype=DOUBLE)
    engine.loss(now)
    state, written = LevenbergMarquardt().init(engine), torch.empty(4, dtype=DOUBLE)
    LevenbergMarquardt().step(engine, state, 0, torch.empty(0), written)
    assert torch.equal(now, written)


def test_settled_where_there_is_nothing_to_gain() -> None:
    """At a zero of the residuals, at the floor of rounding, and not while it still descends."""
    _, engine, *_ = pack([6], 1, 8, 3, 0)  # more parameters than samples: a residual of zero can be reached
    smooth(engine)
    for tensor in (engine.weights.view(3, -1), engine.values):
        tensor[2] = 0
    optimizer = LevenbergMarquardt()
    losses, state = iterate(optimizer, engine, 5)
    assert not optimizer.settled(engine, state).any()
    losses, state = iterate(optimizer, engine, 300)
    assert optimizer.settled(engine, state).all()
    assert (losses[-1].sqrt() < 1e-14).all() and losses[-1, 2] == 0


def test_damping_follows_success_and_failure() -> None:
    damping, inf, nan = Damping.initial(5, torch.empty(0, dtype=DOUBLE)), float("inf"), float("nan")
    losses = torch.tensor([[1.0, 2.0], [2.0, 1.0], [nan, 1.0], [3.0, 3.0], [inf, nan]], dtype=DOUBLE)
    loss = torch.tensor([2.5, 2.5, 2.5, 2.5, nan], dtype=DOUBLE)
    accepted, larger = damping.adapt(losses, loss, torch.tensor([2.0, 0, 0, 0, 0], dtype=DOUBLE))
    assert accepted.tolist() == [True, True, True, False, False]
    assert larger[:3].tolist() == [False, True, True]
    assert damping.stalled.tolist() == [1, 0, 0, 1, 1]  # what the first has won is below its floor
    torch.testing.assert_close(damping.value, torch.tensor([3e-3, 3e-2, 3e-2, 0.12, 0.12], dtype=DOUBLE))
    for _ in range(12):
        damping.adapt(losses[[3] * 5], loss[[3] * 5], torch.zeros(5, dtype=DOUBLE))
    assert damping.ended().all() and (damping.value == 1e10).all()
