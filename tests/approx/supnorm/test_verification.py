"""Ball arithmetic on torch code: values, bounds on boxes, and verdicts that true claims pass and false ones do not."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from flint import arb, arb_series, ctx

from hpcsweep.approx import models, plugins
from hpcsweep.approx.models import ACTIVATIONS
from hpcsweep.approx.supnorm.verification import proving
from hpcsweep.approx.supnorm.verification.balls import Balls, NoBalls
from hpcsweep.approx.supnorm.verification.networks import error_function
from hpcsweep.approx.supnorm.verification.proving import CONFIRMED, NOTHING, OPEN, REFUTED
from hpcsweep.approx.targets import REGISTRY

HERE = Path()
TARGETS = [(name, d) for name, kind in REGISTRY.items() for d in kind.dimensions or (1, 2, 3)]
SIDE = ((-1.0, 1.0),)


def cases() -> list[tuple[str, int, str, str]]:
    """Every target, and with them every family and activation in turn."""
    kinds = itertools.cycle(itertools.product(("mlp", "residual"), ACTIVATIONS))
    return [(*target, *next(kinds)) for target in TARGETS]


@pytest.mark.parametrize(("name", "dimension", "family", "activation"), cases())
def test_values_are_those_of_torch_and_bounds_hold(name: str, dimension: int, family: str, activation: str) -> None:
    config = models.resolve({"name": family, "hidden": [5, 5], "activation": activation, "standardise": True})
    target = plugins.complete({"name": name})
    function = plugins.unchecked(target, dimension)
    model = models.make(config, dimension, function.domain)
    vector = model.init([3], torch.float64)[0]
    error, domain = error_function(target, dimension, config, vector.numpy(), HERE)
    random, (low, high) = np.random.default_rng(0), np.array(domain).T
    points = low + (high - low) * random.random((8, dimension))
    places = torch.from_numpy(points)
    expected = (function(places) - model.apply(vector, places)).abs().numpy()
    computed = np.array([float(ball) for ball in proving.errors(error, list(map(tuple, points.tolist())), 200)])
    np.testing.assert_allclose(computed, expected, rtol=0, atol=1e-13 * max(1.0, expected.max()))
    with ctx.workprec(proving.BITS):
        enclosure = proving.Enclosure(error, dimension, 0.01)
        for size in (1.0, 0.2, 0.01):
            start = low + (high - low) * (1 - size) * random.random(dimension)
            box = np.stack([start, np.minimum(start + (high - low) * size, high)], axis=1)
            inside = np.clip(box[:, 0] + (box[:, 1] - box[:, 0]) * random.random((8, dimension)), *box.T)
            bound = enclosure(tuple(map(tuple, box.tolist())))
            assert all(ball <= bound.top for ball in proving.errors(error, list(map(tuple, inside.tolist())), 200))
    assert bound.top < 2 * bound.value + 1e-3  # on the smallest box it says something


def one_variable(code: Callable) -> proving.Function:
    return lambda points: code(points[:, 0])


SMOOTH: dict[str, Callable] = {  # with large derivatives, whose maxima are not at centres of boxes
    "exp": lambda x: torch.exp(-torch.square(3.0 * x - 0.7)),
    "erf": lambda x: torch.erf(5.0 * x + 0.3) - 0.9 * torch.tanh(5.0 * x + 0.3),
    "quotient": lambda x: 1.0 / (1.01 - torch.sin(3.0 * x)),
    "power": lambda x: (x + 1.5) ** 2.5 - (x + 1.5) ** 3 + torch.sqrt(x + 1.5),
    "sigmoids": lambda x: torch.nn.functional.silu(4 * x) - torch.nn.functional.gelu(4 * x) + torch.sigmoid(x),
    "logarithm": lambda x: torch.log(x + 1.25) * torch.arctan(4.0 * x) - torch.arcsin(0.9 * x),
}
BENT: dict[str, Callable] = {
    "kinks": lambda x: torch.abs(x - 0.3) + torch.relu(torch.sin(5.0 * x)) - torch.maximum(x, 0.5 * x + 0.1),
    "slopes": lambda x: torch.maximum(0.1 * x, 5.0 * x - 1.0) - torch.minimum(x, 0.2 - x),
    "clamp": lambda x: torch.clamp(torch.square(x), 0.1, 0.6) + torch.minimum(x, -x),
    "jump": lambda x: torch.where(x > 0.3, torch.cos(x), torch.sin(x) - 0.2),
    "method": lambda x: 1 + torch.zeros_like(x).where(x > 0.3, -torch.cos(x)),
    "of a tensor": lambda x: 1 + torch.zeros(len(x), dtype=x.dtype).where(x > 0.3, -torch.cos(x)),
    "touching": lambda x: torch.maximum(torch.square(x), torch.zeros_like(x)),
    "in place": lambda x: torch.sin(x).add_(1.0).mul_(x),
}


@pytest.mark.parametrize("name", [*SMOOTH, *BENT])
def test_an_upper_end_is_confirmed_just_above_the_maximum_and_refuted_below(name: str) -> None:
    code = {**SMOOTH, **BENT}[name]
    places = torch.linspace(-1.0, 1.0, 400_001, dtype=torch.float64)
    largest = float(code(places.clone()).abs().max())
    error = one_variable(code)
    assert proving.upper_end(error, SIDE, largest * (1 + 1e-6), 3000, 60.0).verdict == CONFIRMED
    refuted = proving.upper_end(error, SIDE, largest * (1 - 1e-6), 3000, 60.0)
    assert refuted.verdict == REFUTED and abs(
        float(code(torch.tensor(refuted.where, dtype=torch.float64)))
    ) > largest * (1 - 1e-6)


@pytest.mark.parametrize("name", [*SMOOTH, *BENT])
def test_bounds_hold_around_kinks_and_jumps(name: str) -> None:
    code, random = {**SMOOTH, **BENT}[name], np.random.default_rng(1)
    error = one_variable(code)
    with ctx.workprec(proving.BITS):
        enclosure = proving.Enclosure(error, 1, 0.01)
        for size in (0.5, 0.1, 0.02) * 4:
            middle = random.uniform(0.0, 0.4)
            places = torch.linspace(middle - size, middle + size, 101, dtype=torch.float64)
            bound = enclosure(((float(places[0]), float(places[-1])),))
            largest = max(proving.errors(error, [(x,) for x in places.tolist()], 200))
            assert largest <= bound.top and (size > 0.1 or bound.top < 2 * largest + 0.1)


def test_points_refute_where_boxes_run_out() -> None:
    error = one_variable(lambda x: torch.exp(-torch.square(200.0 * (x - 0.1234))))
    refuted = proving.upper_end(error, SIDE, 0.99, 1, 60.0)
    assert refuted.verdict == REFUTED and refuted.where and abs(refuted.where[0] - 0.1234) < 1e-3
    assert proving.upper_end(error, SIDE, 1.01, 1, 60.0).verdict == OPEN
    assert "25" in proving.upper_end(error, SIDE, 1.01, 25, 60.0).reason
    assert proving.upper_end(error, SIDE, 1.01, 300, 60.0).verdict == CONFIRMED
    assert proving.upper_end(error, SIDE, 1.01, 300, 0.0).verdict == OPEN
    assert proving.upper_end(error, SIDE, math.inf, 300, 60.0).verdict == NOTHING


def test_a_lower_end_is_decided_by_its_last_bit() -> None:
    error, x = one_variable(torch.exp), 0.7
    reached = float(proving.errors(error, [(x,)], 200)[0].lower())
    reached = reached if arb(reached) <= proving.errors(error, [(x,)], 200)[0] else math.nextafter(reached, 0.0)
    assert proving.lower_end(error, SIDE, (x,), reached).verdict == CONFIRMED
    assert proving.lower_end(error, SIDE, (x,), math.nextafter(reached, 9.0)).verdict == REFUTED
    assert proving.lower_end(error, SIDE, (1.5,), 0.1).verdict == REFUTED  # outside the domain
    assert proving.lower_end(one_variable(lambda x: x * 0.25), SIDE, (0.5,), 0.125).verdict == CONFIRMED  # equal


UNKNOWN: dict[str, Callable] = {
    "cumsum": lambda x: torch.cumsum(x, dim=0),
    "if": lambda x: x if x[0] > 0 else -x,
    "pow of a variable exponent": lambda x: (x + 2) ** x,
    "float": lambda x: x.float(),
    "to another precision": lambda x: x.to(torch.float32),
    "searchsorted": lambda x: torch.searchsorted(torch.zeros(3), torch.sqrt(x + 2)),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_operation_without_balls_is_named(name: str) -> None:
    ctx.cap, number = 2, np.empty((1, 1), object)
    number[0, 0] = arb_series([0.5, 1])
    with pytest.raises(NoBalls, match=f"^{name}$"):
        UNKNOWN[name](Balls(number)[:, 0])


def test_code_that_is_not_for_balls_is_undecided_not_confirmed() -> None:
    def error(points: Balls) -> Balls:
        raise NoBalls("sort")

    verdicts = proving.ends(error, SIDE, (0.5,), (0.1, 0.2), 10, 1.0, 0)
    assert [verdict.verdict for verdict in verdicts] == [OPEN, OPEN] and "`sort`" in verdicts[0].reason


def test_polynomials_in_several_variables_are_known_exactly() -> None:
    """A polynomial of a degree below the order has no remainder: on any box its bound is that of its monomials."""
    error = lambda points: points[:, 0] * points[:, 0] * points[:, 1] + 3.0 * points[:, 1] - 0.5  # noqa: E731
    with ctx.workprec(proving.BITS):
        bound = proving.Enclosure(error, 2, 0.01)(((-1.0, 1.0), (-2.0, 2.0)))
    assert abs(float(bound.top) - (0.5 + 2.0 + 6.0)) < 1e-12
