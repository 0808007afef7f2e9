"""Kinks: points land on zero sets, thin slabs are found, and breakpoints of a line are all there, none twice."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hpcsweep.approx.supnorm.dense import Dense
from hpcsweep.approx.supnorm.points import make
from hpcsweep.approx.supnorm.search.climbers import Box
from hpcsweep.approx.supnorm.search.kinks import breakpoints, kink_points, project
from tests.approx.supnorm.search.planted import beside, random_network, slab, tensor, uniform

CUBE = ((-1.0, 1.0),) * 4
UNEVEN = ((-1.0, 3.0), (0.1, 0.3), (-500.0, 100.0))


# Projections


def test_one_step_reaches_a_plane() -> None:
    network = random_network(0, 4, 12, 1, activation="relu")
    places, neurons = uniform(0, 200, ((-0.2, 0.2),) * 4), torch.arange(200) % 12
    moved = project(network, 0, neurons, places, Box.of(((-9.0, 9.0),) * 4, places.device))
    entering = next(network.preactivations(moved))
    assert entering.gather(1, neurons[:, None]).abs().max() < 1e-12
    # Orthogonally: the difference is a multiple of the weights.
    weights = network.weights[0][neurons]
    along = ((moved - places) * weights).sum(1, keepdim=True) / weights.square().sum(1, keepdim=True)
    assert torch.allclose(moved - places, along * weights, atol=1e-12)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sin"])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_points_come_near_the_zeros_of_every_layer(activation: str, layer: int) -> None:
    network = random_network(1, 3, 16, 16, 16, 1, activation=activation)
    places, neurons = uniform(1, 400, UNEVEN), torch.arange(400) % 16
    scaled = replace(network, shift=tensor([1.0, 0.2, -200.0]), factor=tensor([0.5, 10.0, 1 / 300]))

    def residual(x: torch.Tensor) -> torch.Tensor:
        entering = list(scaled.preactivations(x))[layer].gather(1, neurons[:, None])[:, 0]
        return (entering - math.pi * (entering / math.pi).round()).abs() if activation == "sin" else entering.abs()

    moved = project(scaled, layer, neurons, places, Box.of(UNEVEN, places.device))
    low, high = tensor(UNEVEN).T
    assert (moved >= low).all() and (moved <= high).all()
    # In the first layer one step is enough; in the third each step crosses kinks of the others.
    assert residual(moved).median() < (1e-9, 0.05, 0.2)[layer] * residual(places).median()


def one_neuron(weights: list[float], bias: float, activation: str) -> Dense:
    return Dense((tensor([weights]), tensor([[1.0]])), (tensor([bias]), tensor([0.0])), activation)


def test_what_is_held_at_a_bound_leaves_the_step_to_the_others() -> None:
    box = Box.of(CUBE[:2], torch.device("cpu"))
    moved = project(one_neuron([1.0, 1.0], -1.5, "relu"), 0, torch.tensor([0]), tensor([[0.9, -0.9]]), box)
    assert moved[0].tolist() == pytest.approx([1.0, 0.5], abs=1e-15)


def test_the_nearest_transition_of_a_sine() -> None:
    box = Box.of(CUBE[:1], torch.device("cpu"))
    moved = project(one_neuron([10.0], 0.0, "sin"), 0, torch.tensor([0]), tensor([[0.3]]), box)
    assert moved.item() == pytest.approx(math.pi / 10, abs=1e-15)


def test_dead_neurons_leave_their_points() -> None:
    network = Dense((tensor([[0.0, 0.0]]), tensor([[1.0]])), (tensor([1.0]), tensor([0.0])), "relu")
    places = uniform(2, 5, CUBE[:2])
    moved = project(network, 0, torch.zeros(5, dtype=torch.int64), places, Box.of(CUBE[:2], places.device))
    assert torch.equal(moved, places)


def test_all_neurons_take_part_and_nothing_is_random() -> None:
    terms = [random_network(3, 4, 8, 8, 1), random_network(4, 4, 5, 1, activation="relu")]
    places = kink_points(terms, 2000, 7, CUBE)
    assert places.shape == (2000, 4)
    assert torch.equal(places, kink_points(terms, 2000, 7, CUBE))
    assert not torch.equal(places, kink_points(terms, 2000, 8, CUBE))
    for term in terms:
        for entering in list(term.preactivations(places))[:-1]:
            both = (entering.sign().mean(0).abs() < 0.8).nonzero()[:, 0]  # the others may have no zero in the box
            assert len(both) >= 3
            assert (entering.abs() < 1e-3).sum(0)[both].min() > 10  # by chance one or two


def test_no_hidden_layer_has_no_kinks() -> None:
    affine = Dense((tensor([[1.0, 2.0]]),), (tensor([0.0]),), "tanh")
    assert kink_points([affine], 10, 0, CUBE[:2]).shape == (0, 2)
    assert kink_points([], 10, 0, CUBE).shape == (0, 4)


# Planted ridges


def smooth_ridge(normal: list[float], offset: float, width: float) -> Dense:
    """(tanh((z + r)/r) - tanh((z - r)/r)) / 2 for z = normal . x - offset: half its height at either transition."""
    first = tensor([1 - offset / width, -1 - offset / width])
    return Dense((tensor([normal, normal]) / width, tensor([[0.5, -0.5]])), (first, tensor([0.0])), "tanh")


OBLIQUE = [torch.nn.functional.normalize(uniform(seed, 1, CUBE), dim=1)[0].tolist() for seed in range(5)]
PLANTED = [(slab(normal, 0.2, 1e-5, 1.0), "sobol", 0.9) for normal in OBLIQUE]
PLANTED += [(slab(normal, 0.37, 1e-3, 1.0), "grid", 0.9) for normal in torch.eye(4).tolist()]
PLANTED += [(smooth_ridge([0.6, 0.0, -0.48, 0.64], 0.2, 1e-6), "sobol", 0.45)]


@pytest.mark.parametrize(("ridge", "kind", "height"), PLANTED)
def test_a_ridge_that_points_miss_is_found(ridge: Dense, kind: str, height: float) -> None:
    """Among the neurons of a random network: 2048 points are enough."""
    widths = (4, 64, 64, 1) if ridge.activation == "relu" else (4, 64, 1)
    hidden = beside(random_network(1, *widths, activation=ridge.activation), ridge)
    assert ridge(kink_points([hidden], 2048, 1, CUBE)).max() > height
    assert ridge(make(kind, 4, 2048, 1, CUBE)(0, 2048)).max() < 1e-3


# Breakpoints


def test_breakpoints_in_closed_form() -> None:
    """A triangle wave by folding: x -> |2x - 1| three times has 8 pieces with kinks at multiples of 1/8."""
    fold, unfold = tensor([[2.0], [-2.0]]), tensor([[1.0, 1.0]])
    inner, first = fold @ unfold, tensor([-1.0, 1.0])
    network = Dense((fold, inner, inner, unfold), (first, first, first, tensor([0.0])), "relu")
    line, pieces = breakpoints(network, 0.0, 1.0)
    assert pieces == 8
    np.testing.assert_allclose(line.numpy(), np.arange(1, 8) / 8, atol=1e-15)


def test_kinks_that_cancel_or_change_nothing_are_no_breakpoints() -> None:
    # relu(x) - relu(-x) = x; a neuron with weight 0; the same kink twice; a neuron that is dead on the line.
    weights = (tensor([[1.0], [-1.0], [1.0], [1.0], [1.0], [1.0]]), tensor([[1.0, -1.0, 0.0, 1.0, 1.0, 5.0]]))
    network = Dense(weights, (tensor([0.0, 0.0, -0.5, 0.25, 0.25, -7.0]), tensor([1.0])), "relu")
    line, pieces = breakpoints(network, -1.0, 1.0)
    assert (line.tolist(), pieces) == ([-0.25], 2)
    assert breakpoints(network, 0.0, 1.0)[1] == 1


@given(st.integers(0, 2**31), st.lists(st.integers(1, 6), max_size=3), st.floats(-3, 3), st.floats(0.01, 4))
@example(16, [16, 16], -1.0, 3.0)
@example(96, [32, 32, 32], -1.0, 3.0)
@example(320, [64] * 5, -1.0, 3.0)
@settings(max_examples=40, deadline=None)
def test_breakpoints_carry_the_whole_function(seed: int, widths: list[int], low: float, side: float) -> None:
    network = random_network(seed, 1, *widths, 1, activation="relu")
    network = replace(network, shift=tensor([0.3]), factor=tensor([1.7]), amplitude=-2.5)
    line, pieces = breakpoints(network, low, low + side)
    assert pieces == len(line) + 1
    ends = torch.cat([tensor([low]), line, tensor([low + side])])
    assert ends.diff().gt(0).all()
    points = torch.linspace(low, low + side, 20_001, dtype=torch.float64)
    linear = np.interp(points.numpy(), ends.numpy(), network(ends[:, None]).numpy())
    np.testing.assert_allclose(network(points[:, None]).numpy(), linear, atol=1e-11 * (1 + abs(linear).max()))


def test_on_a_line_the_breakpoints_come_first() -> None:
    network = random_network(9, 1, 8, 1, activation="relu")
    line, _ = breakpoints(network, -1.0, 1.0)
    places = kink_points([network], 100, 0, ((-1.0, 1.0),))
    assert places.shape == (100, 1)
    assert set(line.tolist()) <= set(places[:, 0].tolist())
    assert len(kink_points([network], 3, 0, ((-1.0, 1.0),))) == 3


@pytest.mark.parametrize("weight", [math.nan, math.inf, 1e308])
def test_pieces_that_cannot_be_counted_are_not(weight: float) -> None:
    layers = (tensor([[weight], [1.0], [-1.0]]), tensor([[1.0, 2.0, 3.0]]))
    network = Dense(layers, (tensor([0.1, 0.2, 0.3]), tensor([0.0])), "relu")
    line, pieces = breakpoints(network, -1.0, 1.0)
    assert pieces == -1 and bool(line.isfinite().all())


def test_only_relu_of_one_variable() -> None:
    for network in (random_network(0, 1, 4, 1), random_network(0, 2, 4, 1, activation="relu")):
        with pytest.raises(ValueError, match="one variable"):
            breakpoints(network, -1.0, 1.0)
