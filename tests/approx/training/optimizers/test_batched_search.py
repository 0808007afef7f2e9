"""The line search of all slots against the sequential one of a single function."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsweep.approx.training.optimizers.batched_search import Search
from tests.approx.training.optimizers.twins import EPSILON, Function, search


def packed_search(functions: Sequence[Function], starts: Sequence[tuple[float, float, float]]) -> list[tuple]:
    """The same by the state machine, all functions at once."""
    machine = Search.idle(len(functions), torch.float64)
    machine.begin(np.ones(len(functions), dtype=bool), *np.array(starts).T)
    results: list[tuple | None] = [None] * len(functions)
    for tick in range(1, 23):
        at = machine.steps.copy()
        accepted, failed = machine.advance(*np.array([one(step) for one, step in zip(functions, at, strict=True)]).T)
        for slot in np.flatnonzero(accepted | failed):
            if results[slot] is None:
                results[slot] = (at[slot] if accepted[slot] else None, tick)
    assert None not in results
    return results


def polynomial(coefficients: Sequence[float], limit: float) -> Function:
    """f(t) = 1 + a polynomial with falling start, not finite from `limit` on."""

    def function(step: float) -> tuple[float, float]:
        if step > limit:
            return math.nan, math.inf
        powers = range(1, len(coefficients) + 1)
        loss = sum(c * step**k for k, c in zip(powers, coefficients, strict=True))
        return loss * loss + 1, 2 * loss * sum(
            k * c * step ** (k - 1) for k, c in zip(powers, coefficients, strict=True)
        )

    return lambda step: (
        function(step)[0] + abs(coefficients[0]) * (1 - step),
        function(step)[1] - abs(coefficients[0]),
    )


FUNCTIONS = st.builds(
    polynomial,
    st.lists(st.floats(-3, 3).filter(lambda c: abs(c) > 1e-3), min_size=2, max_size=5),
    st.sampled_from([math.inf, 1.5, 0.3, 1e-3]),
)


@settings(max_examples=80, deadline=None)
@given(
    functions=st.lists(FUNCTIONS, min_size=2, max_size=6), steps=st.lists(st.floats(1e-3, 20), min_size=6, max_size=6)
)
def test_state_machine_is_the_sequential_search(functions: list[Function], steps: list[float]) -> None:
    starts = [(*function(0.0), step) for function, step in zip(functions, steps, strict=False)]
    expected = [search(function, *start) for function, start in zip(functions, starts, strict=True)]
    found = packed_search(functions, starts)
    assert [ticks for _, ticks in found] == [ticks for _, ticks in expected]
    for (step, _), (right, _) in zip(found, expected, strict=True):
        assert (step is None) == (right is None)
        assert step is None or step == pytest.approx(right, rel=1e-9)


@settings(max_examples=50, deadline=None)
@given(function=FUNCTIONS, step=st.floats(1e-3, 20))
def test_what_is_accepted_satisfies_wolfe_or_is_lower(function: Function, step: float) -> None:
    loss, slope = function(0.0)
    ((found, ticks), _) = packed_search([function, function], [(loss, slope, step)] * 2)
    if found is not None:
        new, rise = function(found)
        wolfe = new <= loss + 1e-4 * found * slope and abs(rise) <= 0.9 * abs(slope)
        level = new <= loss + 1e-10 * loss + 20 * EPSILON * math.sqrt(loss) and abs(rise) <= 0.9 * abs(slope)
        assert wolfe or level or (new < loss and ticks > 5)


def test_a_function_that_only_rises_fails_in_every_slot_by_itself() -> None:
    uphill = lambda step: (1.0 + step, -1.0)  # noqa: E731  its slope lies
    bowl = lambda step: ((step - 1) ** 2, 2 * (step - 1))  # noqa: E731
    results = packed_search([uphill, bowl, uphill], [(1.0, -1.0, 1.0), (1.0, -2.0, 1.0), (1.0, -1.0, 8.0)])
    assert results[1] == (1.0, 1)
    assert results[0][0] is None and results[2][0] is None and results[0][1] == 20
