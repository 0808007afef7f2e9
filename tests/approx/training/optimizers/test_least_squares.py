"""Least squares for the last layer, variable projection; the isolation and bits of all optimizers of this family."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import linalg
from torch import Tensor

from hpcsweep.approx import models
from hpcsweep.approx.training.operations.engine import Engine, Layout
from hpcsweep.approx.training.operations.linear_least_squares import solve, truncated
from hpcsweep.approx.training.optimizers.least_squares import LeastSquares
from hpcsweep.approx.training.optimizers.variable_projection import VariableProjection
from tests.approx.training.operations.test_engine import DOUBLE, pack
from tests.approx.training.optimizers.test_levenberg_marquardt import iterate, smooth


def random_problems(width: int, samples: int, slots: int = 4) -> tuple[Tensor, Tensor]:
    """Return features (slots, width, samples) and values (slots, samples) without structure."""
    generator = torch.Generator().manual_seed(width + samples)
    features = torch.randn(slots, width, samples, generator=generator, dtype=DOUBLE)
    return features, torch.randn(slots, samples, generator=generator, dtype=DOUBLE)


def sine(x: Tensor) -> Tensor:
    return torch.sin(2 * math.pi * x)


def runge(x: Tensor) -> Tensor:
    return 1 / (1 + 25 * x * x)


def on_chebyshev_points(hidden: list[int], samples: int, function: Callable, slots: int = 8) -> tuple:
    """Return a model and an engine whose networks learn a function of one variable from its values on [-1, 1]."""
    model = models.MLP({"hidden": hidden}, 1, [(-1.0, 1.0)])
    layout = Layout(model.widths, slots)
    engine = Engine(layout, "tanh", samples, torch.empty(slots * layout.parameters, dtype=DOUBLE))
    layout.fill(engine.weights, model.init(range(slots), DOUBLE))
    points = torch.cos(torch.linspace(0, math.pi, samples, dtype=DOUBLE))
    engine.feed(points.view(1, -1, 1).expand(slots, -1, 1), function(points).expand(slots, -1))
    return model, engine


def largest_errors(model: models.MLP, engine: Engine, function: Callable) -> Tensor:
    """Return the largest errors (slots,) on a fine grid, sorted."""
    grid = torch.linspace(-1, 1, 4001, dtype=DOUBLE)
    rows = engine.layout.rows(engine.weights)
    return torch.stack([(model.apply(row, grid[:, None]) - function(grid)).abs().max() for row in rows]).sort()[0]


@pytest.mark.parametrize(("width", "samples"), [(1, 1), (1, 9), (7, 20), (12, 12), (20, 7)])
def test_solve_against_scipy(width: int, samples: int) -> None:
    features, values = random_problems(width, samples)
    coefficients = solve(features, values)
    for slot in range(4):
        expected = linalg.lstsq(features[slot].T.numpy(), values[slot].numpy(), lapack_driver="gelsd")[0]
        np.testing.assert_allclose(coefficients[slot].numpy(), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("width", "samples"), [(6, 20), (20, 6)])
def test_solve_isolates(width: int, samples: int) -> None:
    """Exactly dependent, zero, not finite or overflowing features: the other slots keep their bits."""
    features, values = random_problems(width, samples, 7)
    clean = solve(features, values)
    features[1, 3] = features[1, 2]
    features[2] = 0
    features[3, 1, 1] = torch.nan
    features[4] *= 1e300
    values[5, 0] = torch.inf
    coefficients = solve(features, values)
    assert torch.equal(coefficients[[0, 6]], clean[[0, 6]])
    assert torch.isnan(coefficients[[3, 5]]).all()
    assert not coefficients[2].any()
    expected = linalg.lstsq(features[1].T.numpy(), values[1].numpy(), lapack_driver="gelsd")[0]
    residuals = features[1].T @ torch.stack([coefficients[1], torch.from_numpy(expected)]).T - values[1, :, None]
    assert residuals[:, 0].norm() <= residuals[:, 1].norm() * (1 + 1e-9) + 1e-12
    assert coefficients[1].abs().max() < 1e3


@pytest.mark.parametrize(("function", "feature_scale"), [(sine, 3.0), (runge, 10.0)])
def test_random_features_reach_machine_precision(function: Callable, feature_scale: float) -> None:
    model, engine = on_chebyshev_points([400], 400, function)
    optimizer = LeastSquares(feature_scale)
    state = optimizer.init(engine)
    assert not optimizer.settled(engine, state).any()
    iterate(optimizer, engine, 1, state)
    assert optimizer.settled(engine, state).all()
    assert largest_errors(model, engine, function).median() <= 1e-12
    first = engine.layout.blocks(engine.weights)[0]
    torch.testing.assert_close(first.square().mean((1, 2)).sqrt(), torch.full((8,), feature_scale, dtype=DOUBLE))


def test_a_second_step_changes_nothing() -> None:
    _, engine, *_ = pack([9], 2, 30, 3, 0)
    smooth(engine)
    losses, state = iterate(LeastSquares(), engine, 1)
    solved = engine.layout.rows(engine.weights)
    after = iterate(LeastSquares(), engine, 1, state)[0][0]
    assert (after < losses[0]).all()
    assert torch.equal(engine.layout.rows(engine.weights), solved)


def test_features_can_be_taken_as_they_are() -> None:
    _, engine, parameters, *_ = pack([9, 6], 2, 30, 3, 0)
    smooth(engine)
    losses, state = iterate(LeastSquares(feature_scale=0), engine, 1)
    rows = engine.layout.rows(engine.weights)
    assert torch.equal(rows[:, :-7], parameters[:, :-7])
    assert (iterate(LeastSquares(), engine, 1, state)[0][0] < losses[0]).all()
    loss = torch.empty(3, dtype=DOUBLE)
    engine.descend(loss)
    gradient = engine.layout.rows(engine.gradient)[:, -7:]
    assert (gradient.abs() <= 1e-13).all()  # stationary in the last layer


def test_dependent_relu_features_do_not_explode() -> None:
    """Half of the units say the same as others, or nothing: QR alone gives coefficients without bound."""
    _, engine, parameters, *_ = pack([60], 1, 200, 6, 3, "relu")
    smooth(engine)
    hidden = parameters[:, :120].view(6, 60, 2)
    hidden[:, 30:45] = hidden[:, :15]
    hidden[:, 45:] = -hidden[:, 45:].abs() - 5 * torch.tensor([0.0, 1.0], dtype=DOUBLE)  # dead
    engine.layout.fill(engine.weights, parameters)
    _, state = iterate(LeastSquares(), engine, 1)
    after = iterate(LeastSquares(), engine, 1, state)[0][0]
    coefficients = engine.layout.blocks(engine.weights)[1]
    assert (coefficients.abs().amax((1, 2)) < 1e8).all()
    engine.forward()
    for slot in range(6):
        expected = linalg.lstsq(engine.features[slot].T.numpy(), engine.values[slot, 0].numpy(), cond=1e-14)[0]
        residual = engine.features[slot].T.numpy() @ expected - engine.values[slot, 0].numpy()
        assert after[slot] <= np.mean(residual**2) * (1 + 1e-9)


def test_truncated_against_numpy() -> None:
    features, values = random_problems(6, 20)
    features[1, 3] = features[1, 2] + 1e-15 * features[1, 1]
    features[2, 0, 0] = torch.nan
    coefficients, basis = truncated(features, values, 1e-13)
    for slot in (0, 1, 3):
        expected = np.linalg.pinv(features[slot].T.numpy(), rcond=1e-13) @ values[slot].numpy()
        np.testing.assert_allclose(coefficients[slot].numpy(), expected, rtol=1e-10, atol=1e-12)
        rank = 5 if slot == 1 else 6
        projector = basis[slot].T @ basis[slot]
        torch.testing.assert_close(projector @ projector, projector)
        assert projector.trace().item() == pytest.approx(rank)
    assert not coefficients[2].any() and not basis[2].any()


def projection_twin(model: models.MLP, start: Tensor, points: Tensor, values: Tensor, steps: int) -> np.ndarray:
    """Return the losses (steps,) after solving for the last layer, of a naive variable projection in numpy."""
    y, last = values.numpy(), model.widths[-2] + 1

    def features(hidden: np.ndarray) -> np.ndarray:
        def last_layer(c: Tensor) -> Tensor:
            return model.apply(torch.cat([torch.from_numpy(hidden), c]), points)

        return torch.func.jacrev(last_layer)(torch.zeros(last, dtype=DOUBLE)).numpy()  # linear in the last layer

    def residual(hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        c = np.linalg.pinv(features(hidden), rcond=1e-13) @ y
        return features(hidden) @ c - y, c

    hidden, damping, losses = start.numpy()[:-last], 1e-2, []
    for _ in range(steps):
        r, c = residual(hidden)
        losses.append(np.mean(r**2))
        J = torch.func.jacrev(model.apply)(torch.from_numpy(np.append(hidden, c)), points).numpy()[:, :-last]
        phi = features(hidden)
        J = J - phi @ (np.linalg.pinv(phi, rcond=1e-13) @ J)
        trials = []
        for tried in (0.3 * damping, 3 * damping):
            A = J.T @ J
            end = hidden - np.linalg.solve(A + tried * np.trace(A) / len(A) * np.eye(len(A)), J.T @ r)
            trials.append((np.mean(residual(end)[0] ** 2), tried, end))
        best, tried, end = min(trials, key=lambda trial: trial[0])
        hidden, damping = (end, tried) if best < losses[-1] else (hidden, 12 * damping)
    return np.array(losses)


@pytest.mark.parametrize(
    ("hidden", "dimension", "samples", "activation"), [([5], 1, 30, "tanh"), ([5, 4], 2, 30, "sin")]
)
def test_variable_projection_against_a_naive_twin(
    hidden: list[int], dimension: int, samples: int, activation: str
) -> None:
    model, engine, parameters, points, _ = pack(hidden, dimension, samples, 3, 7, activation)
    smooth(engine)
    values = engine.values[:, 0].clone()
    losses, _ = iterate(VariableProjection(), engine, 41)
    for slot in range(3):
        expected = projection_twin(model, parameters[slot], points[slot], values[slot], 40)
        same = 40 if expected[-1] > 1e-11 else int(np.argmax(expected < 1e-11))
        assert same >= 8 and expected[same - 1] < 0.1 * expected[0]
        # The step before: its last layer was not yet solved for when the first loss was taken.
        np.testing.assert_allclose(losses[1:same, slot].numpy(), expected[1:same], rtol=1e-6)


def test_variable_projection_goes_deep() -> None:
    model, engine = on_chebyshev_points([16, 16], 100, sine, 4)
    engine.layout.blocks(engine.weights)[0].mul_(math.sqrt(3))
    iterate(VariableProjection(), engine, 60)
    assert largest_errors(model, engine, sine).median() <= 1e-8


def test_variable_projection_needs_a_hidden_layer() -> None:
    _, engine, *_ = pack([], 2, 10, 2, 0)
    with pytest.raises(ValueError, match="hidden layer"):
        VariableProjection().init(engine)
