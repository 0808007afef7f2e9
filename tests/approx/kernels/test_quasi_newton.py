"""Quasi-Newton methods: recorded searches meet the conditions of Wolfe, single precision, infinite trials."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from hpcsweep.approx.kernels import iteration
from hpcsweep.approx.kernels.updates import line_search
from hpcsweep.config import OptimizerConfig
from tests.approx.kernels.cases import NO_MARKS, Case, assert_near, choice, evaluated
from tests.approx.packs import Cells

Floats = np.ndarray[Any, Any]
NAMES = ("bfgs", "ssbfgs", "ssbroyden", "lbfgs")
CASES = [([5], 1, 20, "mlp"), ([7, 6], 2, 150, "mlp"), ([6, 6], 2, 40, "residual"), ([6], 2, 30, "poisson")]


def recorded(case: Case, name: str, steps: int) -> Iterator[tuple[Floats, Floats, Floats, float]]:
    """Give iterate, gradient, direction and the length of the last step, at the start and after each step."""
    made, count = case.method(choice(name=name, **({"memory": 4} if name == "lbfgs" else {}))), len(case.parameters)
    for step in range(steps + 1):
        if made.advance(NO_MARKS, 0, step, -1.0, 10**6) != iteration.DUE:
            return
        vectors = made.state.vectors[: 5 * len(made.state.point)].reshape(5, -1)[:, :count].astype(float)
        yield (*vectors[:3].copy(), made.state.numbers[line_search.STEP])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("hidden", "dimension", "samples", "kind"), CASES, ids=str)
def test_accepted_points_meet_the_conditions_of_wolfe(
    hidden: list[int], dimension: int, samples: int, kind: str, name: str
) -> None:
    case = Case.of(hidden, dimension, samples, kind)
    problem = case.problem()
    for (x, g, d, _), (new, slope, _, step) in pairwise(recorded(case, name, 150)):
        before, after = (evaluated(case, problem, torch.from_numpy(one))[0] for one in (x, new))
        assert_near(new, x + step * d, 1e-13)
        assert abs(slope @ d) <= 0.9 * abs(g @ d) * (1 + 1e-9)
        noise = 1e-10 * before + 20 * 2.0**-52 * np.sqrt(before)
        assert after <= before + max(1e-4 * step * (g @ d), noise) * (1 + 1e-9) and g @ d < 0


@pytest.mark.parametrize("name", NAMES)
def test_single_precision_descends_to_its_own_floor(name: str) -> None:
    cells = Cells([6], 1, 30, 2)
    settings = OptimizerConfig(name, steps=300)
    double = cells.train(settings)
    cells.parameters = cells.parameters.float()
    single = cells.train(settings)
    assert single.parameters.dtype == torch.float32 and (single.loss < 30 * double.loss + 1e-5).all()


def test_a_search_that_meets_infinity_comes_back() -> None:
    case = Case.of([4], 1, 20)
    case.parameters.mul_(1e3)
    case.values.mul_(1e150)
    made = case.method(choice(name="bfgs"))
    losses = []
    for step in range(10):
        status = made.advance(NO_MARKS, 0, step, -1.0, 10**4)
        losses.append(made.state.loss)
        if status != iteration.DUE:
            break
    assert np.isfinite(losses).all() and losses == sorted(losses, reverse=True)
