"""What is compiled or remembered for speed against what it stands for."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hpcsweep.approx.kernels.bounds import remainders
from hpcsweep.approx.supnorm.certificate.enclosure import DoubleDouble, exact, rounding
from hpcsweep.approx.supnorm.certificate.enclosure.affine import apply
from hpcsweep.approx.supnorm.certificate.enclosure.difference import Difference
from hpcsweep.approx.supnorm.certificate.enclosure.double_double import error_free
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.perceptrons import perceptron
from hpcsweep.approx.supnorm.certificate.enclosure.remembered import Forms
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.difference import TaylorDifference
from hpcsweep.approx.supnorm.dense import Dense
from hpcsweep.approx.supnorm.search import starts
from hpcsweep.approx.targets import REGISTRY
from tests.approx.supnorm.search.planted import random_network


def by_rules(term: Dense, points: DoubleDouble) -> Any:
    """The outputs of a perceptron by the operations that it consists of."""
    signal: Any = points
    for layer, (weight, bias) in enumerate(zip(term.weights, term.biases, strict=True)):
        signal = apply("linear", signal, weight, bias)
        if layer + 1 < len(term.weights):
            signal = apply("tanh", signal)
    return signal


def scaled(network: Dense, factor: float) -> Dense:
    return Dense(tuple(w * factor for w in network.weights), tuple(b * factor for b in network.biases), "tanh")


@pytest.mark.parametrize("factor", [1e-3, 1.0, 8.0, 1e3])
@pytest.mark.parametrize("widths", [(1, 8, 1), (2, 16, 16, 1), (3, 5, 7, 9, 2)])
def test_perceptrons_in_double_double_are_those_of_the_rules(widths: tuple[int, ...], factor: float) -> None:
    network = scaled(random_network(3, *widths), factor)
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(50, widths[0], dtype=torch.float64, generator=generator) * 2 - 1
    points[0] = 0.0
    compiled, rules = perceptron(network, exact(points)), by_rules(network, exact(points))
    apart = (compiled.leading - rules.leading) + (compiled.trailing - rules.trailing)
    assert (apart.abs() <= (compiled.radius + rules.radius) * 1.01).all()
    assert (compiled.radius <= 1e-27 * factor ** (len(widths) - 1) + 40 * rules.radius).all()


def test_perceptrons_of_numbers_that_overflow_or_are_none_have_no_bounds() -> None:
    network = scaled(random_network(3, 2, 8, 8, 1), 1.0)
    points = torch.tensor([[0.5, 0.5], [torch.nan, 0.0], [torch.inf, 1.0], [1e308, -1e308]], dtype=torch.float64)
    radius = perceptron(network, exact(points)).radius
    assert radius[0] < 1e-27 and not (radius[1:] < 1.0).any()


def test_errors_of_inputs_are_carried() -> None:
    network, width = random_network(3, 2, 16, 16, 1), 1e-6
    points = torch.full((3, 2), 0.3, dtype=torch.float64)
    vague = DoubleDouble(points.clone(), torch.zeros_like(points), torch.full_like(points, width))
    outputs, moved = perceptron(network, vague), perceptron(network, exact(points + 0.99 * width))
    assert ((outputs.leading - moved.leading).abs() <= outputs.radius).all()
    assert (outputs.radius <= 40 * by_rules(network, vague).radius).all()


def test_polynomials_of_pairs_have_the_bits_of_their_operations() -> None:
    generator = torch.Generator().manual_seed(0)
    x = error_free.two_sum(
        torch.rand(99, dtype=torch.float64, generator=generator) / 16, torch.full((99,), 1e-19).double()
    )
    coefficients = [error_free.two_sum(torch.tensor(1.0 / n).double(), 1e-18) for n in range(1, 7)]
    tail, value = [0.1, 0.01, 0.001], torch.full((99,), 0.001, dtype=torch.float64)
    for coefficient in reversed(tail[:-1]):
        value = (value * x[0]).add_(coefficient)
    expected = value, torch.zeros_like(value)
    for constant in reversed(coefficients):
        expected = error_free.add(constant, error_free.multiply(expected, x))
    result = error_free.polynomial(x, coefficients, tail)
    assert torch.equal(result[0], expected[0]) and torch.equal(result[1], expected[1])


@pytest.mark.parametrize("dimension", [1, 2, 3, 7])
def test_distances_to_the_nearest(dimension: int) -> None:
    generator = torch.Generator().manual_seed(dimension)
    places, samples = (torch.rand(n, dimension, dtype=torch.float64, generator=generator) for n in (1100, 37))
    torch.testing.assert_close(starts._nearest(places, samples), starts.nearest(places, samples), rtol=1e-14, atol=0)
    assert starts._nearest(places, samples[:0]).isinf().all()


def test_coefficients_of_tanh_are_those_of_the_recurrence() -> None:
    values = np.tanh(np.linspace(-3, 3, 41))
    out = np.concatenate([values, np.zeros(41 * 9)])
    remainders.tanh_coefficients[np.float64](10, 41, out)
    rows = out.reshape(10, 41)
    for value, column in zip(values.tolist(), rows.T.tolist(), strict=True):
        y = [Fraction(value)]
        for m in range(9):
            y.append((int(m == 0) - sum(y[i] * y[m - i] for i in range(m + 1))) / (m + 1))
        assert column == pytest.approx([float(part) for part in y], rel=1e-13, abs=1e-15)


# What is remembered


def differences(forms: Forms | None) -> list[Difference]:
    target, network = REGISTRY["exp_cos"](2), random_network(1, 2, 8, 8, 1)
    lines = Difference(target, network, target.domain, [network], forms=forms)
    return [lines, TaylorDifference(lines, 4)]


def test_what_is_remembered_changes_no_bounds() -> None:
    generator = torch.Generator().manual_seed(0)
    centers = torch.rand(20, 2, dtype=torch.float64, generator=generator) - 0.5
    forms = Forms()
    for radii in (torch.full_like(centers, 0.1), torch.full_like(centers, 0.2)):
        for _ in range(2):
            for ours, afresh in zip(differences(forms), differences(None), strict=True):
                assert torch.equal(ours.bounds(centers, radii), afresh.bounds(centers, radii))
    assert len(forms._known) == 4  # lines and models, of boxes of two sizes


def test_little_is_remembered() -> None:
    calls, forms = [], Forms()

    def made(size: int) -> Callable[[], tuple[Tensor, Tensor]]:
        return lambda: (calls.append(size), (torch.zeros(size, 2), torch.zeros(size)))[1]

    for _ in range(2):
        forms.tile("small", 0, 8, made(8))
        forms.tile("large", 0, 1 << 20, made(1 << 20))
    assert calls == [8, 1 << 20, 1 << 20]
    for number in range(100):
        box = torch.full((1, 2), float(number))
        forms.get(box, box, None, lambda: (None, None))
    assert len(forms._known) <= 32


def test_rounding_terms_of_compiled_perceptrons_are_counted() -> None:
    network = scaled(random_network(5, 2, 16, 16, 1), 1.0)
    points = torch.rand(10, 2, dtype=torch.float64)
    counted = perceptron(network, exact(points)).radius
    with rounding.ignored():
        assert (perceptron(network, exact(points)).radius < counted).all()
