"""Where a method and an objective meet: the same method serves one in torch code, from Python, call by call."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hpcsweep.approx.kernels import iteration as module
from hpcsweep.approx.training.single.methods import Compiled
from tests.approx.kernels.cases import NO_MARKS, Case, assert_near, choice, naive

METHODS = ("sgd", "adam", "adamw", "muon", "soap", "lbfgs", "bfgs", "ssbfgs", "ssbroyden")


def by_hand(case: Case, method: Compiled, steps: int) -> None:
    """Let a method go so many steps on loss and gradient by autograd: propose a point, take in what is there."""
    _, propose, take = method._functions
    state, shape = method.state, method._problem[0]
    while state.steps < steps:
        if state.numbers[module.TAKEN] and propose(state.numbers, state.vectors, state.point, state.gradient, shape):
            raise AssertionError("it settled")
        loss, gradient = naive(case, parameters=torch.from_numpy(state.point[: len(case.parameters)].copy()))
        state.gradient[: len(gradient)] = gradient
        take(state.numbers, state.vectors, state.point, state.gradient, loss, shape)
        state.numbers[module.TAKEN] = 1


@pytest.mark.parametrize("name", METHODS)
def test_a_method_serves_an_objective_in_torch_code(name: str) -> None:
    case = Case.of([6, 5], 2, 40)
    compiled, served = (case.method(choice(name=name)) for _ in range(2))
    assert isinstance(served, Compiled)
    compiled.advance(NO_MARKS, 0, 12, -1.0, 10**4)
    by_hand(case, served, 12)
    assert compiled.state.steps == served.state.steps == 12
    assert_near(served.iterate, compiled.iterate, 1e-9)
    assert np.isclose(served.state.loss, compiled.state.loss, rtol=1e-9) or name in (
        "sgd",
        "adam",
        "adamw",
        "muon",
        "soap",
    )
