"""The loss and its gradient against torch's autograd: shapes, activations, losses, minibatches, blocks."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np
import pytest

from hpcsweep.approx.kernels.activations import ACTIVATIONS
from hpcsweep.approx.training import streams
from tests.approx.kernels.cases import Case, assert_near, evaluated, naive

PRECISIONS = (np.float64, np.float32)
HIDDEN = ([], [1], [7], [70], [8, 9], [33, 64], [16, 3, 5], [2, 70, 17, 1], [4, 4, 4, 4, 4])
SAMPLES = (1, 2, 7, 8, 9, 16, 17, 127, 128, 129, 130, 255, 256, 257, 385, 512, 700)


SMOOTH = [name for name, one in ACTIVATIONS.items() if one.derivatives is not None]
SIZES = ((1, 57), (3, 130), (2, 8), (9, 300), (5, 1))  # dimensions and samples, in turn
FORMS = [(*sizes, name) for sizes, name in zip(cycle(SIZES), ACTIVATIONS, strict=False)]
SHAPES: list[tuple] = [
    *((hidden, *form[:2], "mlp", form[2]) for hidden in HIDDEN for form in FORMS),
    *(([9, 5], 2, samples) for samples in SAMPLES),
    *(
        (hidden, 2, samples, "residual", name)
        for hidden in ([1], [6, 6], [17, 17, 17])
        for samples in (5, 140)
        for name in ACTIVATIONS
    ),
    *(
        (hidden, *sizes, "poisson", name)
        for hidden in ([1], [9], [5, 7], [3, 8, 4])
        for sizes in ((1, 5), (2, 131), (5, 40))
        for name in SMOOTH
    ),
]
POWERS = [(([7, 7], 2, n, kind), p) for n in (6, 129, 300) for kind in ("mlp", "residual", "poisson") for p in (4, 8)]


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize(
    ("shape", "power"),
    [*((shape, 2) for shape in SHAPES), *POWERS, *((([5], 1, samples), 4) for samples in SAMPLES)],
    ids=str,
)
def test_loss_and_gradient_are_those_of_autograd(shape: tuple, power: int, dtype: Any) -> None:
    case = Case.of(*shape, dtype=dtype)
    found, expected = evaluated(case, case.problem(power)), naive(case, power)
    for ours, theirs in zip(found, expected, strict=True):
        assert_near(ours, theirs, case.tolerance)


@pytest.mark.parametrize("kind", ["mlp", "residual", "poisson"])
@pytest.mark.parametrize(("batch", "samples"), [(1, 3), (7, 9), (16, 100), (129, 500), (300, 301)])
def test_minibatches_are_those_of_the_stream(kind: str, batch: int, samples: int) -> None:
    for power, seed in ((2, 5), (2, 2**63 + 11), (4, 0), (8, 7)):
        case = Case.of([5, 5], 2, samples, kind)
        problem = case.problem(power, batch, seed)
        for done in (0, 1, 77, 10**6):
            rows = streams.integers(streams.keys([seed]), done * batch, batch, samples)[0]
            found, expected = evaluated(case, problem, done=done), naive(case, power, rows)
            for ours, theirs in zip(found, expected, strict=True):
                assert_near(ours, theirs, 1e-12)


@pytest.mark.parametrize("block", [8, 64, 104, 304, 400])
def test_blocks_of_any_length_give_the_same_numbers(block: int) -> None:
    for kind, power in (("mlp", 2), ("poisson", 2), ("residual", 4)):
        case = Case.of([6, 6], 2, 300, kind)
        for ours, theirs in zip(evaluated(case, case.problem(power, block=block)), naive(case, power), strict=True):
            assert_near(ours, theirs, 1e-12)


@pytest.mark.parametrize("samples", [100, 300])
@pytest.mark.parametrize("power", [2, 4])
def test_a_second_call_sees_other_parameters_and_the_same_samples(samples: int, power: int) -> None:
    case = Case.of([6, 5], 2, samples, "poisson")
    problem, other = case.problem(power), case.parameters.flip(0)
    first = evaluated(case, problem)
    assert_near(evaluated(case, problem, other)[1], naive(case, power, parameters=other)[1], 1e-12)
    again = evaluated(case, problem)
    assert again[0] == first[0] and np.array_equal(again[1], first[1])


@pytest.mark.parametrize("power", [2, 4])
def test_no_gradient_is_written_where_none_is_wanted(power: int) -> None:
    from hpcsweep.approx.kernels.objective import objective

    case = Case.of([6, 5], 2, 200)
    problem, point = case.problem(power), case.point()
    assert objective[np.float64](point, point[:0], *problem.arrays, 0) == evaluated(case, problem)[0]


@pytest.mark.parametrize("power", [2, 4, 8])
@pytest.mark.parametrize("spoilt", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 3, 130])
def test_one_sample_that_is_not_finite_spoils_the_loss(power: int, spoilt: float, place: int) -> None:
    case = Case.of([5], 1, 131)
    case.values[place] = spoilt
    loss, gradient = evaluated(case, case.problem(power))
    assert not np.isfinite(loss) and not np.isfinite(gradient).any()


@pytest.mark.parametrize("power", [2, 4, 8])
def test_a_perfect_fit_has_neither_loss_nor_slope(power: int) -> None:
    case = Case.of([], 2, 30)
    case.parameters.zero_()
    case.values.zero_()
    loss, gradient = evaluated(case, case.problem(power))
    assert loss == 0 and not gradient.any()


@pytest.mark.parametrize("scale", [1e-150, 1e-20, 1e20, 1e120])
def test_powers_neither_overflow_nor_underflow(scale: float) -> None:
    case = Case.of([], 1, 50)
    case.parameters.mul_(scale)
    case.values.mul_(scale)
    loss, gradient = evaluated(case, case.problem(8))
    expected = naive(Case(case.model, case.parameters / scale, case.inputs, case.values / scale, case.dtype), 8)
    assert_near(loss / scale / scale, expected[0], 1e-11)
    assert_near(gradient / scale, expected[1], 1e-11)
