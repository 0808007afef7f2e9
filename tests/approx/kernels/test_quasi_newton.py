"""BFGS and its relatives against dense matrices in numpy, from recorded iterates; searches; scipy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch

from hpcsweep.approx.kernels import method
from hpcsweep.approx.kernels.updates import line_search
from hpcsweep.config import OptimizerConfig
from tests.approx.kernels.cases import NO_MARKS, Case, assert_near, choice, evaluated
from tests.approx.packs import Cells
from tests.approx.twins import broyden, scaled, unscaled

Floats = np.ndarray[Any, Any]
FAMILIES: dict[str, Callable[[float, float, int], tuple[float, float]]] = {
    "bfgs": unscaled,
    "ssbfgs": scaled,
    "ssbroyden": broyden,
}
CASES = [([5], 1, 20, "mlp"), ([7, 6], 2, 150, "mlp"), ([6, 6], 2, 40, "residual"), ([6], 2, 30, "poisson")]


def recorded(case: Case, name: str, steps: int) -> Iterator[tuple[Floats, Floats, Floats, float]]:
    """Give iterate, gradient, direction and the length of the last step, at the start and after each step."""
    made, count = case.method(choice(name=name, **({"memory": 4} if name == "lbfgs" else {}))), len(case.parameters)
    for step in range(steps + 1):
        if made.advance(NO_MARKS, 0, step, -1.0, 10**6) != method.DUE:
            return
        vectors = made.state.vectors[: 5 * len(made.state.point)].reshape(5, -1)[:, :count].astype(float)
        yield (*vectors[:3].copy(), made.state.numbers[line_search.STEP])


def updated(matrix: Floats, s: Floats, y: Floats, bs: Floats, family: Callable) -> Floats:
    """Return the inverse Hessian after an update of Broyden's family."""
    image, curvature = matrix @ y, s @ y
    tau, phi = family(s @ bs / curvature, y @ image / curvature, len(s))
    v = s / curvature - image / (y @ image)
    matrix = matrix - np.outer(image, image) / (y @ image) + phi * (y @ image) * np.outer(v, v)
    return matrix / tau + np.outer(s, s) / curvature


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(("hidden", "dimension", "samples", "kind"), CASES, ids=str)
def test_directions_are_those_of_a_dense_matrix(
    hidden: list[int], dimension: int, samples: int, kind: str, name: str
) -> None:
    walk = list(recorded(Case.of(hidden, dimension, samples, kind), name, 20))
    matrix = np.eye(len(walk[0][0]))
    assert len(walk) == 21
    for number, ((x, g, _, _), (new, slope, direction, step)) in enumerate(pairwise(walk)):
        s, y = new - x, slope - g
        matrix = matrix * (s @ y) / (y @ y) if number == 0 else matrix
        bs = s * (y @ y) / (s @ y) if number == 0 else -step * g
        matrix = updated(matrix, s, y, bs, FAMILIES[name])
        assert_near(direction, -matrix @ slope, 1e-9)


@pytest.mark.parametrize(("hidden", "dimension", "samples", "kind"), CASES, ids=str)
def test_lbfgs_is_bfgs_on_its_latest_pairs(hidden: list[int], dimension: int, samples: int, kind: str) -> None:
    walk = list(recorded(Case.of(hidden, dimension, samples, kind), "lbfgs", 20))
    pairs = [(new[0] - old[0], new[1] - old[1]) for old, new in pairwise(walk)]
    for number, (_, slope, direction, _) in enumerate(walk[1:], start=1):
        kept = pairs[max(0, number - 4) : number]
        matrix = np.eye(len(slope)) * (kept[-1][0] @ kept[-1][1]) / (kept[-1][1] @ kept[-1][1])
        for s, y in kept:
            matrix = updated(matrix, s, y, s, unscaled)
        assert_near(direction, -matrix @ slope, 1e-9)


@pytest.mark.parametrize("name", [*FAMILIES, "lbfgs"])
@pytest.mark.parametrize(("hidden", "dimension", "samples", "kind"), CASES, ids=str)
def test_accepted_points_meet_the_conditions_of_wolfe(
    hidden: list[int], dimension: int, samples: int, kind: str, name: str
) -> None:
    case = Case.of(hidden, dimension, samples, kind)
    walk = list(recorded(case, name, 150))
    problem = case.problem()
    for (x, g, d, _), (new, slope, _, step) in pairwise(walk):
        before, after = (evaluated(case, problem, torch.from_numpy(one))[0] for one in (x, new))
        assert_near(new, x + step * d, 1e-13)
        assert abs(slope @ d) <= 0.9 * abs(g @ d) * (1 + 1e-9)
        noise = 1e-10 * before + 20 * 2.0**-52 * np.sqrt(before)
        assert after <= before + max(1e-4 * step * (g @ d), noise) * (1 + 1e-9) and g @ d < 0


@pytest.mark.parametrize("name", [*FAMILIES, "lbfgs"])
def test_single_precision_descends_to_its_own_floor(name: str) -> None:
    cells = Cells([6], 1, 30, 2)
    settings = OptimizerConfig(name, steps=300)
    double = cells.train(settings)
    cells.parameters = cells.parameters.float()
    single = cells.train(settings)
    assert single.parameters.dtype == torch.float32 and (single.loss < 30 * double.loss + 1e-5).all()


def test_bfgs_gets_as_far_as_scipys() -> None:
    found = []
    for seed in range(8):
        case = Case.of([5], 1, 20 + seed)
        problem = case.problem()
        made = case.method(choice(name="bfgs"))
        made.advance(NO_MARKS, 0, 150, -1.0, 10**6)

        def both(x: Floats, case: Case = case, problem: Any = problem) -> tuple[float, Floats]:
            return evaluated(case, problem, torch.from_numpy(x))

        start, options = case.parameters.numpy(), {"maxiter": 150, "gtol": 1e-12}
        theirs = scipy.optimize.minimize(both, start, jac=True, method="BFGS", options=options)
        found.append(np.log10(made.state.loss / theirs.fun))
    assert np.median(found) < 0.3 and max(found) < 1.5


@pytest.mark.parametrize("name", [*FAMILIES, "lbfgs"])
@pytest.mark.parametrize("hidden", [[], [4], [6, 5]], ids=str)
def test_losses_begin_as_in_the_batched_engine(hidden: list[int], name: str) -> None:
    cells = Cells(hidden, 2, 150, 2)
    settings = OptimizerConfig(name, steps=12, keep="last")
    found, expected = cells.train(settings), cells.train(settings, batched=True)
    assert np.allclose(found.history_loss, expected.history_loss, rtol=1e-8, atol=1e-18, equal_nan=True)
    assert found.message == expected.message and found.steps.tolist() == expected.steps.tolist()


def test_a_search_that_meets_infinity_comes_back() -> None:
    case = Case.of([4], 1, 20)
    case.parameters.mul_(1e3)
    case.values.mul_(1e150)
    made = case.method(choice(name="bfgs"))
    losses = []
    for step in range(10):
        status = made.advance(NO_MARKS, 0, step, -1.0, 10**4)
        losses.append(made.state.loss)
        if status != method.DUE:
            break
    assert np.isfinite(losses).all() and losses == sorted(losses, reverse=True)
