"""Levenberg-Marquardt against the batched engine; where it settles."""

from __future__ import annotations

import numpy as np
import pytest

from hpcsweep.approx.kernels import residuals
from hpcsweep.config import OptimizerConfig
from tests.approx.kernels.cases import Case, choice, iterates
from tests.approx.packs import Cells

SHAPES = [([], 2, 12), ([4], 1, 10), ([4], 1, 60), ([9], 2, 20), ([6, 5], 2, 300), ([5, 5, 5], 1, 129), ([20], 3, 40)]


@pytest.mark.parametrize(("hidden", "dimension", "samples"), SHAPES, ids=str)
def test_ten_steps_are_those_of_the_batched_engine(hidden: list[int], dimension: int, samples: int) -> None:
    cells = Cells(hidden, dimension, samples, 2)
    settings = OptimizerConfig("levenberg_marquardt", steps=10, keep="last")
    found, expected = (cells.train(settings, batched=batched) for batched in (False, True))
    assert np.allclose(found.history_loss, expected.history_loss, rtol=1e-6, atol=1e-22, equal_nan=True)
    assert found.steps.tolist() == expected.steps.tolist() and found.message == expected.message


def test_a_perfect_fit_settles() -> None:
    case = Case.of([5], 1, 30)
    case.values.copy_(case.model.evaluate(case.parameters, case.inputs))
    made = case.method(choice(name="levenberg_marquardt"))
    iterates(made, 200)
    assert made.state.loss < 1e-28 and made.state.steps <= 41


def test_the_slope_is_that_of_the_gradient() -> None:
    case = Case.of([5], 2, 30)
    made, other = (case.method(choice(name=name)) for name in ("levenberg_marquardt", "adam"))
    iterates(made, 0)
    iterates(other, 0)
    assert made.slope == pytest.approx(other.slope, rel=1e-12)


def test_the_room_is_large_enough() -> None:
    for parameters, samples in ((1, 1), (7, 300), (300, 7), (16, 16), (17, 16)):
        at = residuals.places(parameters, samples, 8)
        assert (np.diff(at[4:]) > 0).all() and bool(at[3]) == (parameters > samples)
