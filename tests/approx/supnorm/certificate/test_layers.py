"""Both passes through a network against plain loops, and lines about activations against exact arithmetic."""

from __future__ import annotations

import contextlib

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mpf

from hpcsweep.approx.models import ACTIVATE, ACTIVATIONS
from hpcsweep.approx.supnorm.certificate.enclosure import layers as layers_module
from hpcsweep.approx.supnorm.certificate.enclosure import rounding
from hpcsweep.approx.supnorm.certificate.enclosure.activation_lines import lines_about, tanh
from hpcsweep.approx.supnorm.certificate.enclosure.affine import AffineForm, boxes
from hpcsweep.approx.supnorm.certificate.enclosure.layers import InputBoxes, Layers
from hpcsweep.approx.supnorm.certificate.enclosure.univariate import registry
from hpcsweep.approx.supnorm.dense import Dense
from tests.approx.supnorm.certificate.exact import UNARY, exactly, random_network


def input_boxes(generator: np.random.Generator, count: int, dimension: int, radius: float) -> InputBoxes:
    center = torch.from_numpy(generator.uniform(-1, 1, (count, dimension)))
    return InputBoxes(center, torch.full_like(center, radius), torch.zeros_like(center))


# Lines about activations


def lines(activation: str, low: float, high: float) -> tuple[float, float, float, float]:
    """Return slope and offset of the line above, and of the line below, as the backward pass sees them."""
    pair = [torch.tensor([[end]], dtype=torch.float64) for end in (low, high)]
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    made = lines_about(activation, *pair)
    above, below = made.substitute(one), made.substitute(-one)
    return float(above[0]), float(above[1]), -float(below[0]), -float(below[1])


reals = st.floats(-40, 40) | st.floats(-1e-6, 1e-6) | st.sampled_from([0.0, -1.0, 1.0, 1e-300])
lengths = st.floats(0, 60) | st.floats(0, 1e-6) | st.just(1e-15)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@given(low=reals, length=lengths, inside=st.lists(st.floats(0, 1), min_size=3, max_size=3))
@settings(max_examples=150, deadline=None)
def test_lines_enclose_the_activation(activation: str, low: float, length: float, inside: list[float]) -> None:
    high = low + length
    slope_above, above, slope_below, below = lines(activation, low, high)
    for part in (0.0, 1.0, *inside):
        x = mpf(low) + (mpf(high) - mpf(low)) * mpf(part)
        value = UNARY[activation](x)
        doubt = 64 * mpf(2) ** -53 * abs(x) + mpf(1e-320)  # counted by the backward pass
        assert mpf(slope_below) * x + mpf(below) - doubt <= value <= mpf(slope_above) * x + mpf(above) + doubt
        assert abs(slope_above) <= 1.25 and abs(slope_below) <= 1.25
        assert abs(value) <= mpf(1.25) * abs(x)


@given(low=reals, length=lengths)
@settings(max_examples=300, deadline=None)
def test_tanh_is_as_tight_as_the_exact_remainder(low: float, length: float) -> None:
    ends = [torch.tensor([end], dtype=torch.float64) for end in (low, low + length)]
    slope, least, most = (mpf(float(part)) for part in tanh(*[end.clone() for end in ends]))
    stationary = mpmath.atanh(mpmath.sqrt(max(mpf(0), 1 - slope))) if slope < 1 else mpf(0)
    places = [mpf(low), mpf(float(ends[1]))]
    places += [x for x in (stationary, -stationary) if places[0] < x < places[1]]
    values = [mpmath.tanh(x) - slope * x for x in places]
    slack = mpf(1e-13) + mpf(1e-14) * abs(slope * places[0])
    assert max(values) <= most + slack and most <= max(values) + slack
    assert min(values) >= least - slack and least >= min(values) - slack


# Both passes


def forward_by_loops(
    network: Dense, center: np.ndarray, radius: float, made: list
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the ranges of all pre-activations on one box by affine arithmetic, box by box and neuron by neuron."""
    terms, rest, ranges = np.concatenate([center[None], np.diag([radius] * len(center))]), np.zeros(len(center)), []
    for layer, (weight, bias) in enumerate(zip(network.weights[:-1], network.biases[:-1], strict=True)):
        terms = np.array([[row @ term for row in weight.numpy()] for term in terms])
        terms[0] += bias.numpy()
        rest = np.array([np.abs(row) @ rest for row in weight.numpy()])
        spread = np.abs(terms[1:]).sum(0) + rest
        ranges.append((terms[0] - spread, terms[0] + spread))
        for neuron, (low, high) in enumerate(zip(*ranges[-1], strict=True)):
            slope, least, most = by_hand(network.activation, low, high)
            made[layer].append((slope, least, most, low, high))
            terms[:, neuron] *= slope
            terms[0, neuron] += (least + most) / 2
            rest[neuron] = abs(slope) * rest[neuron] + (most - least) / 2
    return ranges


def by_hand(activation: str, low: float, high: float) -> tuple[float, float, float]:
    if activation == "relu":
        slope = high / (high - low) if low < 0 < high else float(low >= 0)
        return slope, 0.0, max(-slope * low if low < 0 < high else 0.0, 0.0)
    pair = [torch.tensor([end], dtype=torch.float64) for end in (low, high)]
    rule = tanh if activation == "tanh" else lambda *ends: registry.relax(activation, *ends)
    return tuple(float(part) for part in rule(*pair))


def backward_by_loops(network: Dense, made: list, sign: float) -> tuple[np.ndarray, float]:
    """Return the linear bound of sign * network, neuron by neuron."""
    row = sign * network.amplitude * network.weights[-1].numpy()[0]
    constant = sign * network.amplitude * float(network.biases[-1])
    for layer in reversed(range(len(network.weights) - 1)):
        entering = np.zeros_like(row)
        for neuron, (slope, least, most, low, high) in enumerate(made[layer]):
            below = float(high > -low) if network.activation == "relu" and low < 0 < high else slope
            entering[neuron] = row[neuron] * (slope if row[neuron] > 0 else below)
            constant += row[neuron] * (most if row[neuron] > 0 else least)
        constant += entering @ network.biases[layer].numpy()
        row = entering @ network.weights[layer].numpy()
    return row, constant


@pytest.mark.parametrize("hidden", [[], [5], [7, 3, 6]])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_both_passes_equal_loops(activation: str, hidden: list[int]) -> None:
    generator = np.random.default_rng(3)
    network = random_network(generator, 3, hidden, activation, scale=1.5, amplitude=-0.7)
    layers, where = Layers(network), input_boxes(generator, 6, 3, 0.2)
    forward_pass = layers.forward(where)
    for sign in (1.0, -1.0):
        bound = layers.above(forward_pass, sign)
        for box in range(6):
            made: list[list] = [[] for _ in hidden]
            forward_by_loops(network, where.center[box].numpy(), 0.2, made)
            row, constant = backward_by_loops(network, made, sign)
            np.testing.assert_allclose(bound.row[0, box], row, rtol=1e-10, atol=1e-12)
            assert float(bound.constant[0, box]) == pytest.approx(constant, rel=1e-10, abs=1e-12)


def violations(seeds: range, activation: str, full: bool = False) -> int:
    """Count exact points of random boxes at which a bound is exceeded, of networks alone: inputs are exact."""
    count = 0
    for seed in seeds:
        generator = np.random.default_rng(seed)
        hidden = generator.integers(4, 17, size=generator.integers(0, 4)).tolist()
        network = random_network(generator, 2, hidden, activation, scale=2.0, amplitude=1 / 3)
        layers, where = Layers(network), input_boxes(generator, 4, 2, 10.0 ** -generator.uniform(0, 15))
        bounds = [layers.above(layers.forward(where, full), sign) for sign in (1.0, -1.0)]
        peaks = [layers.peak(bound, where)[0].tolist() for bound in bounds]
        for box, inside in enumerate(generator.choice([-1.0, 0.0, 1.0], (4, 2))):
            numbers = zip(where.center[box].tolist(), where.reach[box].tolist(), inside.tolist(), strict=True)
            value = exactly(network, [mpf(c) + mpf(r) * mpf(e) for c, r, e in numbers])
            count += (value > mpf(peaks[0][box])) + (-value > mpf(peaks[1][box]))
    return count


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_bounds_of_a_network_alone_hold_to_fifty_digits(activation: str, full: bool) -> None:
    assert violations(range(25), activation, full) == 0


def test_roundings_of_layers_are_needed() -> None:
    with rounding.ignored():
        assert violations(range(25), "relu") > 3


def outside(seeds: range, monkeypatch: pytest.MonkeyPatch) -> int:
    """Count exact pre-activations outside of their ranges, in networks that are constant: nothing but roundings."""
    count, ranges = 0, []
    monkeypatch.setattr(
        layers_module, "lines_about", lambda *a: ranges.append((a[1].clone(), a[2].clone())) or lines_about(*a)
    )
    for seed in seeds:
        generator = np.random.default_rng(seed)
        network = random_network(generator, 2, [16, 16, 16], "relu", scale=2.0)
        for part in (network.weights[0], *network.biases[1:]):
            part.zero_()  # and no bias whose roundings would cover those of the products
        ranges.clear()
        Layers(network).forward(input_boxes(generator, 1, 2, 0.5))
        signal = [mpf(0), mpf(0)]
        for layer, (low, high) in enumerate(ranges):
            part = zip(network.weights[layer].tolist(), network.biases[layer].tolist(), strict=True)
            entering = [mpmath.fsum([mpf(b), mpmath.fdot(map(mpf, row), signal)]) for row, b in part]
            ends = zip(low[0].tolist(), high[0].tolist(), strict=True)
            count += sum(not mpf(a) <= h <= mpf(b) for h, (a, b) in zip(entering, ends, strict=True))
            signal = [max(mpf(0), h) for h in entering]
    return count


def test_ranges_of_constant_networks_hold_to_fifty_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert outside(range(20), monkeypatch) == 0
    with rounding.ignored():
        assert outside(range(20), monkeypatch) > 100


def test_standardised_inputs_are_seen_by_the_first_layer() -> None:
    generator = np.random.default_rng(6)
    network = random_network(generator, 2, [4], "tanh", standardised=True)
    places = boxes(torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64), [(0.1, 0.4), (-3, 5)])
    seen = Layers(network).input_boxes(places)
    ends = torch.tensor([[0.1, -3.0], [0.4, 5.0]], dtype=torch.float64)
    low, high = torch.sort(network.standardised(ends), dim=0).values
    spread = seen.reach.abs() + seen.radius
    torch.testing.assert_close(seen.center[0] - spread[0], low, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(seen.center[0] + spread[0], high, rtol=1e-12, atol=1e-12)
    assert (seen.radius > 0).all() and (seen.radius < 1e-12).all()


def test_roundings_of_standardised_inputs_are_counted() -> None:
    generator = np.random.default_rng(8)
    missed = {}
    for counted in (True, False):
        missed[counted] = 0
        for _ in range(30):
            network = random_network(generator, 3, [4], "tanh", standardised=True)
            points = torch.from_numpy(generator.normal(size=(1, 3)))
            form = AffineForm(torch.cat([points[None], torch.zeros(3, 1, 3).double()]), torch.zeros_like(points))
            with contextlib.nullcontext() if counted else rounding.ignored():
                seen = Layers(network).input_boxes(form)
            constants = zip(points[0].tolist(), network.shift.tolist(), network.factor.tolist(), strict=True)
            exact = [(mpf(x) - mpf(shift)) * mpf(factor) for x, shift, factor in constants]
            ends = zip(exact, seen.center[0].tolist(), seen.radius[0].tolist(), strict=True)
            missed[counted] += sum(abs(x - mpf(center)) > mpf(radius) for x, center, radius in ends)
    assert missed[True] == 0 < missed[False]


def test_activations_are_those_of_the_models() -> None:
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)
    for name, activate in ACTIVATE.items():
        exact = torch.tensor([float(UNARY[name](mpf(value))) for value in x.tolist()], dtype=torch.float64)
        torch.testing.assert_close(activate(x.clone()), exact, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("radius", [0.3, 0.01])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_values_inside_stay_below_and_close(activation: str, radius: float, full: bool) -> None:
    generator = np.random.default_rng(4)
    network = random_network(generator, 2, [12, 12, 12], activation)
    layers, where = Layers(network), input_boxes(generator, 40, 2, radius)
    axis = torch.linspace(-1, 1, 9, dtype=torch.float64)
    inside = torch.cat([torch.cartesian_prod(axis, axis), torch.from_numpy(generator.uniform(-1, 1, (200, 2)))])
    points = inside[:, None] * where.reach + where.center  # (points, boxes, 2)
    values = network(points.reshape(-1, 2)).view(len(inside), -1)
    for sign in (1.0, -1.0):
        excess = layers.peak(layers.above(layers.forward(where, full), sign), where)[0] - sign * values
        assert (excess >= 0).all() and (radius > 0.01 or float(excess.amin(0).median()) < 2e-4)
