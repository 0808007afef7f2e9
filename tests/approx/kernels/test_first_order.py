"""First-order methods: learning rates, and what becomes of moments that nothing feeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hpcsweep.approx.kernels.compiling import NUMBER, NUMBERS, entry
from hpcsweep.approx.kernels.updates import first_order
from hpcsweep.approx.kernels.updates.first_order import rate_of
from hpcsweep.approx.training.batched.schedules import learning_rate
from tests.approx.kernels.cases import NO_MARKS, Case, choice, iterates

SCHEDULES: list[dict[str, Any]] = [
    {},
    {"schedule": "cosine"},
    {"schedule": "cosine", "final_learning_rate": 3e-4},
    {"schedule": "exponential", "final_learning_rate": 1e-5},
]


@entry(NUMBER, NUMBERS)
def _rate(numbers):
    return rate_of(numbers)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_learning_rates_are_those_of_the_schedule(schedule: dict[str, Any]) -> None:
    settings = choice(steps=977, **schedule)
    numbers = Case.of([3], 1, 5).method(settings).state.numbers
    for step in [0, 1, 2, 100, 488, 976, 977]:
        numbers[first_order.STEPS] = step
        assert _rate[np.float64](numbers) == pytest.approx(learning_rate(settings, step), rel=1e-13, abs=1e-18)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "muon", "soap"])
def test_what_nothing_feeds_decays_to_zero_and_not_to_subnormal_numbers(name: str) -> None:
    case = Case.of([6, 6], 1, 20, activation="relu")
    settings = choice(name=name, learning_rate=1e-3)
    method = case.method(settings)
    iterates(method, 1)
    dead = 12  # the first layer: its neurons never fire again
    method.state.point[:dead:2], method.state.point[1:dead:2] = 0.0, -1.0
    method.advance(NO_MARKS, 0, 10**6, -1.0, 9000)
    sizes = np.abs(method.state.vectors)
    assert not ((sizes > 0) & (sizes < np.finfo(np.float64).tiny)).any()
