"""Brackets at the edges of float64: underflow, overflow, constants in any layout, places outside the domain."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import pytest
import torch
from torch import Tensor

import hpcsweep
from hpcsweep.approx.supnorm.certificate.enclosure import DoubleDouble, NoEnclosure, exact
from hpcsweep.approx.supnorm.certificate.enclosure.difference import Difference
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.difference import TaylorDifference
from hpcsweep.approx.supnorm.certificate.lower import lower_end
from tests.approx.supnorm.certificate.test_double_double import doubles


def nothing(points: Tensor) -> Tensor:
    """The function 0."""
    return points[:, 0] * 0.0


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("dimension", [2, 10])
def test_the_layout_of_a_constant_in_memory_changes_no_bound(dimension: int, columns: int) -> None:
    """With ten inputs lines have as many terms as models have with two."""
    for weight in (torch.ones(columns, dimension), torch.ones(dimension, columns).T):
        weight = weight.double()

        def target(points: Tensor, weight: Tensor = weight) -> Tensor:
            return torch.exp(torch.exp(points)[:, None, :] * weight).mean((1, 2))

        lines = Difference(target, nothing, [(0.0, 1.0)] * dimension)
        whole = torch.zeros(1, dimension).double(), torch.ones(1, dimension).double()
        assert float(lines.bounds(*whole)) >= math.exp(math.e)
        assert float(TaylorDifference(lines, 2).bounds(*whole)) >= math.exp(math.e)


def test_boxes_in_any_layout_are_bounded_alike() -> None:
    difference = Difference(lambda x: torch.exp(x).sum(1), nothing, [(0.0, 1.0)] * 10)
    centers = torch.linspace(-0.5, 0.5, 50).double().reshape(5, 10)
    radii = torch.full_like(centers, 0.5)
    permuted = centers.T.contiguous().T, radii.T.contiguous().T
    assert torch.equal(difference.bounds(*permuted), difference.bounds(centers, radii))


def extreme(generator: random.Random) -> float:
    """A number of any size, or 0."""
    size = generator.choice((0.0, 1.0, 2.0 ** generator.uniform(-1074, 300), 2.0 ** generator.uniform(-1074, -900)))
    return generator.choice((-1.0, 1.0)) * size * generator.uniform(0.5, 1.0)


def test_products_with_factors_that_underflow_are_enclosed() -> None:
    """Against rational arithmetic, with errors at both ends of the radii."""
    generator, count = random.Random(3), 4000
    factors = []
    for _ in range(2):
        leading = [extreme(generator) for _ in range(count)]
        trailing = [generator.choice((0.0, number * 2.0**-54)) for number in leading]
        radius = [abs(extreme(generator)) * generator.choice((0.0, 1e-20, 1.0)) for _ in leading]
        factors.append((leading, trailing, radius))
    product = DoubleDouble(*map(doubles, factors[0])) * DoubleDouble(*map(doubles, factors[1]))
    wrong = 0
    for number in range(count):
        pair, radius = [], float(product.radius[number])
        if not math.isfinite(radius):
            continue
        found = Fraction(float(product.leading[number])) + Fraction(float(product.trailing[number]))
        for leading, trailing, error in factors:
            center = Fraction(leading[number]) + Fraction(trailing[number])
            pair.append((center - Fraction(error[number]), center + Fraction(error[number])))
        wrong += any(abs(x * y - found) > Fraction(radius) for x in pair[0] for y in pair[1])
    assert wrong == 0


def test_exponentials_that_underflow_on_the_way_prove_nothing_false() -> None:
    def one(x: Tensor) -> Tensor:
        tiny, huge = torch.exp(-750 * x[:, 0]), torch.exp(680 * x[:, 0])
        return tiny * tiny * huge * huge * torch.exp(140 * x[:, 0])

    bracket = hpcsweep.measure(lambda x: x[:, 0] * 0 + 1.0, one, [(0.99, 1.0)], uniform=0)
    assert bracket.lower < 1e-10 or not bracket.proved
    bracket = hpcsweep.measure(nothing, lambda x: torch.exp(700 * x[:, 0]), [(0.0, 1.0)], uniform=0)
    assert bracket.lower > 1e290 or (not bracket.proved and "lower: evaluated" in bracket.message)


def test_a_place_outside_the_domain_proves_nothing_there() -> None:
    difference = Difference(lambda x: x[:, 0] ** 2, nothing, [(-1.0, 1.0)])
    end = lower_end(difference, doubles([[0.5], [5.0]]), lambda: doubles([[0.1]]), [(-1.0, 1.0)])
    assert end.bracket.lower <= 1.0 and abs(end.bracket.where[0]) <= 1.0


@pytest.mark.parametrize("mixing", [lambda x: x - x.mean(), lambda x: x * x.sum()])
def test_sums_over_points_have_no_enclosure(mixing: object) -> None:
    with pytest.raises(NoEnclosure, match="across the points"):
        mixing(exact(torch.ones(3, 2).double()))  # type: ignore[operator]
