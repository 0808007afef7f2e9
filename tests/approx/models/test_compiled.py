"""Compiled networks against torch's: values, slopes, and bits that are those of a point alone."""

from __future__ import annotations

import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hpcsweep.approx import machine, models
from hpcsweep.approx.models.compiled import Compiled, compiled, values
from tests.forks import without_avx512

DOUBLE = torch.float64
DOMAIN = ((-1.0, 1.0), (0.0, 3.0), (-2.0, 0.1))
TYPES = (torch.float64, torch.float32)


def network(
    activation: str = "tanh", hidden: tuple[int, ...] = (17, 9), **other: object
) -> tuple[models.Model, Tensor]:
    """A network, or a sum of three whose last one was rejected, with biases that are not 0."""
    model = models.make({"hidden": list(hidden), "activation": activation, **other}, 3, DOMAIN)
    parameters = model.init([1], DOUBLE)[0]
    if isinstance(model, models.Sum):
        model.networks(parameters)[1].copy_(model.network.init([8], DOUBLE)[0])
        model.amplitudes(parameters)[0] = 0.37
    return model, parameters


def function(model: models.Model, parameters: Tensor) -> Compiled:
    made = compiled(model, parameters)
    assert made is not None
    return made


def places(count: int, dimension: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.rand(count, dimension, dtype=DOUBLE, generator=generator) * 4 - 2


def by_autograd(model: models.Model, parameters: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Values (points,) and slopes (points, dimension)."""
    variable = points.clone().requires_grad_()
    found = model.apply(parameters, variable)
    return found.detach(), torch.autograd.grad(found.sum(), variable)[0]


def agree(model: models.Model, parameters: Tensor, points: Tensor) -> None:
    (value, slopes), exact = function(model, parameters).with_slopes(points), by_autograd(model, parameters, points)
    for found, expected in zip((value, slopes), exact, strict=True):
        assert (found - expected).abs().max() <= 1e-12 * expected.abs().max().clamp(min=1e-3)
    assert torch.equal(value, function(model, parameters)(points))


# Values and slopes

KINDS = ({}, {"standardise": True}, {"name": "residual"}, {"stages": 3, "standardise": True})


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("activation", models.ACTIVATIONS)
def test_values_and_slopes_are_those_of_autograd(activation: str, kind: dict[str, object]) -> None:
    hidden = (12, 12, 12) if kind.get("name") == "residual" else (17, 9)
    model, parameters = network(activation, hidden, **kind)
    for count in (1, 7, 96, 97, 500):
        agree(model, parameters, places(count))


@pytest.mark.parametrize("width", range(1, 71))
def test_every_width(width: int) -> None:
    agree(*network("tanh", (width, max(1, 70 - width))), places(101))
    agree(*network("relu", (width, width), name="residual"), places(101))


@settings(max_examples=40, deadline=None)
@given(
    hidden=st.lists(st.integers(1, 70), max_size=4),
    dimension=st.integers(1, 9),
    count=st.integers(1, 200),
    activation=st.sampled_from(models.ACTIVATIONS),
    residual=st.booleans(),
)
def test_every_shape(hidden: list[int], dimension: int, count: int, activation: str, residual: bool) -> None:
    choice: dict[str, object] = {"hidden": hidden, "activation": activation}
    if residual and hidden:
        choice |= {"name": "residual", "hidden": hidden[:1] * len(hidden)}
    model = models.make(choice, dimension, [(-1, 1)] * dimension)
    agree(model, model.init([3], DOUBLE)[0], places(count, dimension))


@pytest.mark.parametrize("activation", models.ACTIVATIONS)
def test_autograd_can_differentiate_them_twice(activation: str) -> None:
    model, parameters = network(activation, stages=3)
    points = places(5).requires_grad_()
    assert torch.autograd.gradcheck(function(model, parameters), (points,))
    if activation != "relu":
        assert torch.autograd.gradgradcheck(function(model, parameters), (points,))


@pytest.mark.parametrize("activation", models.ACTIVATIONS)
def test_single_precision(activation: str) -> None:
    model, parameters = network(activation, standardise=True)
    single, points = parameters.to(torch.float32), places(300)
    found = function(model, single)(points)
    assert found.dtype == DOUBLE and torch.equal(found, found.to(torch.float32).to(DOUBLE))
    expected = model.apply(single, points.to(torch.float32)).to(DOUBLE)
    assert torch.allclose(found, expected, rtol=0, atol=100 * torch.finfo(torch.float32).eps)


def test_values_of_what_is_not_compiled_are_those_of_the_model() -> None:
    model = models.make({"name": "legendre", "order": 3}, 1, [(-1, 1)])
    parameters, points = torch.linspace(1, 2, model.parameters, dtype=DOUBLE), places(5, 1)
    assert compiled(model, parameters) is None
    assert torch.equal(values(model, parameters, points), model.apply(parameters, points))


def test_no_point_at_all() -> None:
    made = function(*network())
    assert made(places(0)).shape == (0,) and made.with_slopes(places(0))[1].shape == (0, 3)


def test_nan_stays_where_it_is() -> None:
    points = places(64)
    points[5, 1] = float("nan")
    for activation in models.ACTIVATIONS:
        value, slopes = function(*network(activation)).with_slopes(points)
        assert value.isnan().nonzero().tolist() == [[5]]
        assert slopes.isnan().any(1).nonzero().tolist() == [[5]]


# Bits


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_bits_are_those_of_a_point_alone(kind: dict[str, object], dtype: torch.dtype) -> None:
    model, parameters = network("gelu", (12, 12), **kind)
    made, points = function(model, parameters.to(dtype)), places(211)
    whole = torch.cat([made(points)[:, None], made.with_slopes(points)[1]], 1)
    order = torch.randperm(211)

    def found(some: Tensor) -> Tensor:
        value, slopes = made.with_slopes(some)
        assert torch.equal(value, made(some))
        return torch.cat([value[:, None], slopes], 1)

    assert torch.equal(torch.cat([found(one[None]) for one in points]), whole)
    assert torch.equal(torch.cat([found(some) for some in points.split(29)]), whole)
    assert torch.equal(found(points[order]), whole[order])
    assert torch.equal(found(points.T.contiguous().T), whole)
    wide = torch.zeros(422, 7, dtype=DOUBLE)
    wide[::2, 1::2] = points
    assert torch.equal(found(wide[::2, 1::2]), whole)


def test_threads_change_no_bits() -> None:
    made, points = function(*network("tanh", (64, 64))), places(5001)
    alone = made(points), *made.with_slopes(points)
    with machine.threads(2):
        shared = made(points), *made.with_slopes(points)
    assert all(torch.equal(one, other) for one, other in zip(alone, shared, strict=True))


def digest() -> str:
    """Return a hash of the bits of values and slopes of all activations in both precisions."""
    known = hashlib.sha256()
    for activation in models.ACTIVATIONS:
        for dtype in TYPES:
            for kind in KINDS:
                model, parameters = network(activation, (21, 21), **kind)
                for some in function(model, parameters.to(dtype)).with_slopes(places(150)):
                    known.update(some.contiguous().numpy().tobytes())
    return known.hexdigest()


def test_the_bits_are_those_of_a_processor_without_avx512() -> None:
    assert without_avx512(__file__) == digest()
