"""Residuals, Jacobians and their products against torch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hpcsweep.approx.kernels.problem import lanes
from hpcsweep.approx.kernels.residuals import linearise, places, residuals
from tests.approx.kernels.cases import Case, assert_near

PRECISIONS = (np.float64, np.float32)
SHAPES = [
    ("mlp", [], 2, 30),
    ("mlp", [9], 1, 7),
    ("mlp", [9], 1, 300),
    ("mlp", [17, 5], 3, 40),
    ("mlp", [4, 4, 4], 2, 129),
    ("residual", [6, 6], 2, 20),
    ("residual", [6, 6, 6], 1, 260),
    ("poisson", [5], 2, 12),
    ("poisson", [4, 3], 1, 150),
    ("poisson", [8, 5, 3], 3, 33),
]


def expected(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    """Return residuals (samples,) and the Jacobian (samples, parameters)."""

    def function(parameters: torch.Tensor) -> torch.Tensor:
        return case.model.evaluate(parameters, case.inputs) - case.values

    return function(case.parameters), torch.func.jacrev(function)(case.parameters)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_residuals_and_derivatives(shape: tuple[str, list[int], int, int], dtype: Any) -> None:
    kind, hidden, dimension, samples = shape
    case = Case.of(hidden, dimension, samples, kind, dtype=dtype)
    count, dual = len(case.parameters), len(case.parameters) > samples
    problem, at = case.problem(block=samples if dual else None), places(count, samples, lanes(case.dtype))
    room = np.full(int(at[-1]), np.nan, dtype=dtype)
    square = linearise[dtype](case.point(), room, at, *problem.arrays)
    whole, jacobian = expected(case)
    rows = room[at[4] : at[4] + count * at[1]].reshape(count, at[1])
    assert_near(room[at[8] : at[8] + samples], whole, case.tolerance)
    assert_near(square, whole.square().mean(), case.tolerance)
    assert_near(rows[:, :samples], jacobian.T, case.tolerance)
    assert not rows[:, samples:].any() and not room[at[8] + samples : at[9]].any()
    if dual:
        gram = room[at[5] : at[5] + at[2] ** 2].reshape(at[2], at[2])
        assert_near(np.tril(gram[:samples, :samples]), torch.tril(jacobian @ jacobian.T), case.tolerance)
        assert not np.tril(gram)[samples:].any()


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_residuals_alone_are_those_beside_the_jacobian(dtype: Any) -> None:
    case = Case.of([7], 2, 300, dtype=dtype)
    problem, out = case.problem(), np.full(400, np.nan, dtype=dtype)
    square = residuals[dtype](case.point(), out, 16, *problem.arrays)
    at = places(len(case.parameters), 300, lanes(case.dtype))
    room = np.zeros(int(at[-1]), dtype=dtype)
    assert linearise[dtype](case.point(), room, at, *problem.arrays) == square
    assert np.array_equal(out[16:316], room[at[8] : at[8] + 300])
