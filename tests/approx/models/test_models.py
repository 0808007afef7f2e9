"""Models: choices, sizes, initial parameters, values; torch.nn is the truth."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hpcsweep.approx import models
from hpcsweep.errors import PluginError
from tests.products import columns_differ, may_differ

DOUBLE = torch.float64


class Plain(nn.Module):
    """An activation as torch computes it; torch.nn has no module for the sine."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.function = getattr(torch, name, None) or getattr(nn.functional, name)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.function(inputs)


def make(hidden: list[int], dimension: int, domain: list | None = None, **choice: object) -> models.MLP:
    model = models.make({"hidden": hidden, **choice}, dimension, domain or [(-1.0, 1.0)] * dimension)
    assert isinstance(model, models.MLP)
    return model


def twin(model: models.MLP, parameters: torch.Tensor) -> nn.Sequential:
    """Return the same network made of torch.nn modules, in the dtype of `parameters`."""
    steps: list[nn.Module] = []
    for block in model.layers(parameters):
        linear = nn.Linear(block.shape[1] - 1, block.shape[0], dtype=parameters.dtype)
        linear.weight.data, linear.bias.data = block[:, :-1].clone(), block[:, -1].clone()
        steps += [linear, Plain(model.activation)]
    return nn.Sequential(*steps[:-1])


def test_resolve_completes_a_choice() -> None:
    assert models.resolve({"hidden": (16, 8)}) == {
        "name": "mlp",
        "hidden": [16, 8],
        "activation": "tanh",
        "initialisation": "torch",
        "scale": None,
        "standardise": False,
    }
    full = models.resolve({"hidden": [], "initialisation": "normal", "scale": 1})
    assert full["scale"] == 1.0 and models.resolve(full) == full


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"hidden": [4], "activaton": "relu"}, "Did you mean 'activation'"),
        ({"hidden": [4], "activation": "relux"}, "Did you mean 'relu'"),
        ({"hidden": [4], "initialisation": "xavier"}, "Allowed: glorot, he, normal, torch"),
        ({"hidden": [4], "name": "resnet"}, "Allowed: legendre, mlp"),
        ({"hidden": [4], "name": ["mlp"]}, "Allowed: legendre, mlp"),
        ({}, "list of positive widths"),
        ({"hidden": [4, 0]}, "list of positive widths"),
        ({"hidden": [True]}, "list of positive widths"),
        ({"hidden": 16}, "list of positive widths"),
        ({"hidden": [4], "initialisation": "normal"}, "needs model.scale"),
        ({"hidden": [4], "initialisation": "normal", "scale": 0}, "needs model.scale"),
        ({"hidden": [4], "scale": 0.1}, 'belongs to initialisation "normal"'),
        ({"hidden": [4], "standardise": 1}, "true or false"),
    ],
)
def test_resolve_refuses(choice: dict, sentence: str) -> None:
    with pytest.raises(PluginError, match=sentence):
        models.resolve(choice)


def test_domain_and_dimension_must_agree() -> None:
    with pytest.raises(ValueError, match="2 axes"):
        models.make({"hidden": [4]}, 3, [(0, 1)] * 2)


@settings(max_examples=30, deadline=None)
@given(
    hidden=st.lists(st.integers(1, 12), max_size=4),
    dimension=st.integers(1, 5),
    points=st.integers(1, 40),
    activation=st.sampled_from(models.ACTIVATIONS),
    seed=st.integers(0, 2**64 - 1),
)
def test_apply_is_the_network_of_torch(
    hidden: list[int], dimension: int, points: int, activation: str, seed: int
) -> None:
    model = make(hidden, dimension, activation=activation)
    parameters = model.init([seed], DOUBLE)[0]
    where = torch.rand(points, dimension, dtype=DOUBLE) * 6 - 3
    kept = where.clone()
    network = twin(model, parameters)
    torch.testing.assert_close(model.apply(parameters, where), network(where)[:, 0].detach(), rtol=1e-13, atol=1e-14)
    assert torch.equal(where, kept)
    count = sum(tensor.numel() for tensor in network.parameters())
    assert model.parameters == models.count_parameters(model.config, dimension) == parameters.numel() == count


@pytest.mark.parametrize("activation", models.ACTIVATIONS)
def test_apply_can_be_differentiated(activation: str) -> None:
    model = make([5, 4], 2, activation=activation, standardise=True)
    parameters = model.init([3], DOUBLE)[0].requires_grad_()
    points = (torch.rand(6, 2, dtype=DOUBLE) - 0.5).requires_grad_()
    assert torch.autograd.gradcheck(model.apply, (parameters, points))


@pytest.mark.parametrize("activation", models.ACTIVATIONS)
def test_values_do_not_depend_on_the_companions_of_a_point(activation: str) -> None:
    model = make([9, 7], 3, activation=activation)
    parameters = model.init([1], DOUBLE)[0]
    points = torch.rand(101, 3, dtype=DOUBLE)
    order = torch.randperm(101)
    values, permuted = model.apply(parameters, points)[order], model.apply(parameters, points[order])
    assert torch.allclose(values, permuted, rtol=1e-13, atol=1e-14)
    may_differ(columns_differ())
    assert torch.equal(values, permuted)


def test_standardise_maps_the_domain_to_mean_zero_and_variance_one() -> None:
    model = make([3], 2, [(1.0, 5.0), (-2.0, 0.0)], standardise=True)
    corners = torch.tensor([[1.0, -2.0], [5.0, 0.0], [3.0, -1.0]], dtype=DOUBLE)
    third = math.sqrt(3)  # a uniform variable on [-sqrt 3, sqrt 3] has variance 1
    expected = torch.tensor([[-third, -third], [third, third], [0, 0]], dtype=DOUBLE)
    torch.testing.assert_close(model.standardised(corners), expected)
    parameters, plain = model.init([0], DOUBLE)[0], make([3], 2)
    torch.testing.assert_close(model.apply(parameters, corners), plain.apply(parameters, expected))


@pytest.mark.parametrize("initialisation", models.INITIALISATIONS)
def test_initial_parameters_do_not_depend_on_companions(initialisation: str) -> None:
    scale = 0.3 if initialisation == "normal" else None
    model = make([6, 5], 2, initialisation=initialisation, scale=scale)
    seeds = [7, 2**64 - 1, 2**100]
    rows = model.init(seeds, DOUBLE)
    for seed, row in zip(seeds, rows, strict=True):
        assert torch.equal(model.init([seed], DOUBLE)[0], row)
    assert all(not torch.equal(one, other) for one, other in itertools.combinations(rows, 2))
    assert torch.equal(model.init(seeds, torch.float32), rows.to(torch.float32))
    assert model.init([], DOUBLE).shape == (0, model.parameters)


@pytest.mark.parametrize(
    ("initialisation", "bound", "deviation", "bias_deviation"),
    [
        ("torch", 1 / 20, 1 / 20 / math.sqrt(3), 1 / 20 / math.sqrt(3)),
        ("he", math.inf, math.sqrt(2 / 400), 0.0),
        ("glorot", math.sqrt(6 / 700), math.sqrt(2 / 700), 0.0),
        ("normal", math.inf, 0.25, 0.25),
    ],
)
def test_initial_distributions(initialisation: str, bound: float, deviation: float, bias_deviation: float) -> None:
    scale = 0.25 if initialisation == "normal" else None
    model = make([400, 300], 3, initialisation=initialisation, scale=scale)
    block = model.layers(model.init([11], DOUBLE)[0])[1]  # (300, 401)
    weights, biases = block[:, :-1], block[:, -1]
    assert weights.abs().max() <= bound
    assert bound == math.inf or weights.abs().max() > 0.999 * bound
    assert weights.std().item() == pytest.approx(deviation, rel=0.01)
    assert abs(weights.mean().item()) < 5 * deviation / math.sqrt(weights.numel())
    assert biases.std().item() == pytest.approx(bias_deviation, rel=0.15)


def test_default_initialisation_is_that_of_torch_nn() -> None:
    ours = make([300], 50).layers(make([300], 50).init([5], DOUBLE)[0])[0]
    theirs = nn.Linear(50, 300, dtype=DOUBLE)
    for one, other in ((ours[:, :-1], theirs.weight.detach()), (ours[:, -1], theirs.bias.detach())):
        quantiles = torch.linspace(0, 1, 11, dtype=DOUBLE)
        difference = one.flatten().quantile(quantiles) - other.flatten().quantile(quantiles)
        assert difference.abs().max() < 0.25 / math.sqrt(50)
