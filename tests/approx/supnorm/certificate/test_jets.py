"""Laplacians of torch code against second differences in 150 digits: on affine forms, Taylor models and at points."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch

from hpcsweep.approx import targets
from hpcsweep.approx.models.operators import TWICE_DIFFERENTIABLE
from hpcsweep.approx.supnorm.certificate.enclosure import NoEnclosure, boxes
from hpcsweep.approx.supnorm.certificate.enclosure import exact as at_points
from hpcsweep.approx.supnorm.certificate.enclosure.difference import around, network
from hpcsweep.approx.supnorm.certificate.enclosure.jets.derivatives import DERIVATIVES
from hpcsweep.approx.supnorm.certificate.enclosure.jets.jets import jet, laplacian
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import ignored
from hpcsweep.approx.training.strategies.poisson import minus_laplacian
from hpcsweep.sampling import samples
from tests.approx.supnorm.certificate.exact import exactly, random_network
from tests.approx.supnorm.certificate.formulas import MOVES, SUMS, WIDE, Real
from tests.approx.supnorm.certificate.formulas_of_modules import FUNCTIONS, MODULES
from tests.approx.supnorm.certificate.test_rules import violations

STEP = mp.mpf(10) ** -40
# Formulas whose derivatives do not exist everywhere, or are not known here.
WITHOUT = {
    *("conditions, transposed", "conditions in place", "activations in place", "norm of order 1", "normalize", "amin"),
    *("norm of order infinity", "norm of order 3", "max along an axis", "max along an axis, unpacked", "max of two"),
    *("min along an axis", "atan2", "prelu", "sign", "floor", "ceil", "round", "trunc", "frac", "remainder", "fmod"),
    *("floor_divide", "heaviside", "equality", "power 1.5", "power 1/3", "power -0.7", "power 2.5 of a root"),
    *("power 40.5", "power 1.001", "powers", "sinc", "softsign", "mish", "selu", "elu", "elu 0.3", "celu"),
    *("hardswish", "hardsigmoid", "softshrink", "hardshrink", "threshold", "softplus with beta", "rrelu"),
    *("logsigmoid",),
}


def second_differences(truth: Real) -> Real:
    """Return the Laplacian of a formula, to about 40 digits of its size."""

    def sums(*point: mp.mpf) -> mp.mpf:
        with mp.workdps(150):
            total, middle = mp.mpf(0), truth(*point)
            for axis, place in enumerate(point):
                for moved in (place - STEP, place + STEP):
                    total += (truth(*point[:axis], moved, *point[axis + 1 :]) - middle) / STEP**2
        # what is zero, or a number of few digits, is so exactly at points
        return mp.mpf(mp.nstr(total, 40)) if abs(total) > 1e-40 else mp.mpf(0)

    return sums


def of_code(name: str) -> tuple[Callable[[Any], Any], Real, Any]:
    if name in FUNCTIONS:
        function, truth, interval = FUNCTIONS[name]
        return lambda x: function(x[:, 0]), truth, (interval,)
    function, truth = (MOVES | SUMS | MODULES)[name]
    return function, truth, WIDE


def is_refused(name: str) -> bool:
    function, _, domain = of_code(name)
    middle = torch.tensor([[(low + high) / 2 + 0.1 for low, high in domain]] * 2, dtype=torch.float64)
    try:
        laplacian(function)(middle)
    except NoEnclosure:
        return True
    return False


@pytest.mark.parametrize("name", [*MOVES, *SUMS, *MODULES, *FUNCTIONS])
def test_laplacians_are_enclosed_or_refused(name: str) -> None:
    assert is_refused(name) == (name in WITHOUT)
    if name in WITHOUT:
        return
    function, truth, domain = of_code(name)
    generator = random.Random(name)
    for _ in range(6):
        assert violations(generator, laplacian(function), second_differences(truth), domain) == []


def network_of(seed: int, dimension: int, activation: str) -> tuple[Callable[[Any], Any], Real]:
    generator = np.random.default_rng(seed)
    hidden = [int(generator.integers(2, 6)) for _ in range(1 + seed % 2)]
    dense = random_network(generator, dimension, hidden, activation, scale=1.5, standardised=seed % 3 == 0)
    return lambda x: network(dense, x), lambda *point: exactly(dense, point)


@pytest.mark.parametrize("activation", TWICE_DIFFERENTIABLE)
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_laplacians_of_networks_are_enclosed(dimension: int, activation: str) -> None:
    assert activation in DERIVATIVES
    generator = random.Random(dimension)
    for seed in range(4):
        function, truth = network_of(seed, dimension, activation)
        domain = ((-1.0, 1.0), (0.25, 0.75), (10.0, 11.0))[:dimension]
        assert violations(generator, laplacian(function), second_differences(truth), domain) == []


def test_they_are_not_without_rounding_terms() -> None:
    generator, found = random.Random(0), []
    with ignored():
        for seed in range(12):
            function, truth = network_of(seed, 2, "gelu")
            found += violations(generator, laplacian(function), second_differences(truth), ((-1.0, 1.0),) * 2)
    assert found


@pytest.mark.parametrize("name", [name for name, kind in targets.REGISTRY.items() if kind.smoothness == math.inf])
def test_laplacians_of_targets(name: str) -> None:
    """Against nested automatic differentiation, at points and on boxes around them."""
    kind = targets.REGISTRY[name]
    target = kind(kind.dimensions[-1] if kind.dimensions else 3)
    places = torch.from_numpy(samples(0, 20, target.domain))
    expected = -minus_laplacian(target, places)
    size = expected.abs().max() + 1.0
    assert (laplacian(target)(places) - expected).abs().max() < 1e-11 * size
    form = laplacian(target)(boxes(*around(places, target.domain), target.domain))
    low, high = form.range()
    assert ((low - 1e-9 * size <= expected) & (expected <= high + 1e-9 * size)).all()
    assert (high - low).max() < 1e-6 * size, "an enclosure that says nothing"


def test_a_jet_is_changed_in_place_only_under_its_one_name() -> None:
    points = jet(at_points(torch.tensor([[0.3, 0.4], [0.5, 0.6]], dtype=torch.float64)))
    with pytest.raises(NoEnclosure):
        points += 1.0
    total = torch.sin(points[:, 0])
    total += points[:, 1] * points[:, 1]
    assert torch.allclose(total.laplacian.leading, 2.0 - torch.sin(points.value.leading[:, 0]), rtol=1e-14)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.float32])
def test_constants_of_any_type_are_subtracted_as_the_numbers_that_they_are(dtype: torch.dtype) -> None:
    number, points = torch.tensor([-128 if dtype == torch.int8 else 3], dtype=dtype), torch.rand(4, 2).double()
    expected = -torch.sin(points[:, 0] - float(number))
    assert torch.allclose(laplacian(lambda x: torch.sin(x[:, 0] - number))(points), expected, rtol=1e-12)
    assert torch.allclose(laplacian(lambda x: torch.sin(torch.rsub(number, x[:, 0])))(points), expected, rtol=1e-12)


def test_constants_with_a_value_for_each_point_are_refused() -> None:
    def numbered(x: Any) -> Any:
        return torch.cat([x, torch.arange(len(x)).double()[:, None]], 1).prod(1)

    with pytest.raises(NoEnclosure, match="for each point"):
        laplacian(numbered)(torch.rand(3, 2).double())
