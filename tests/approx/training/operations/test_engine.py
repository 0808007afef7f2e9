"""The engine: its layout, its losses, its gradients (torch.autograd is the truth), its isolation of slots."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hpcsweep.approx import models
from hpcsweep.approx.models.activations import ACTIVATIONS
from hpcsweep.approx.training.operations.engine import Engine, Layout, full_loss

DOUBLE = torch.float64
SHAPES = st.fixed_dictionaries(
    {
        "hidden": st.lists(st.integers(1, 11), max_size=3),
        "dimension": st.integers(1, 4),
        "samples": st.integers(1, 33),
        "slots": st.integers(2, 5),
        "seed": st.integers(0, 2**32),
    }
)


def pack(
    hidden: list[int],
    dimension: int,
    samples: int,
    slots: int,
    seed: int,
    activation: str = "tanh",
    dtype: torch.dtype = DOUBLE,
) -> tuple[models.MLP, Engine, Tensor, Tensor, Tensor]:
    """Return model, engine, parameters (slots, parameters), points (slots, samples, dimension), values."""
    model = models.MLP({"hidden": hidden, "activation": activation}, dimension, [(-1.0, 1.0)] * dimension)
    generator = torch.Generator().manual_seed(seed)
    parameters = torch.randn(slots, model.parameters, generator=generator, dtype=dtype)
    points = torch.randn(slots, samples, dimension, generator=generator, dtype=dtype)
    values = torch.randn(slots, samples, generator=generator, dtype=dtype)
    layout = Layout(model.widths, slots)
    engine = Engine(layout, activation, samples, torch.empty(slots * layout.parameters, dtype=dtype))
    layout.fill(engine.weights, parameters)
    engine.feed(points, values)
    return model, engine, parameters, points, values


def truth(model: models.MLP, parameters: Tensor, points: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return loss and gradient of one network by torch.autograd."""
    leaf = parameters.clone().requires_grad_()
    loss = (model.apply(leaf, points) - values).square().mean()
    return loss.detach(), torch.autograd.grad(loss, leaf)[0]


@settings(max_examples=25, deadline=None)
@given(widths=st.lists(st.integers(1, 9), min_size=1, max_size=4), slots=st.integers(1, 6))
def test_rows_are_the_inverse_of_fill(widths: list[int], slots: int) -> None:
    layout = Layout((*widths, 1), slots)
    rows = torch.randn(slots, layout.parameters)
    buffer = torch.empty(slots * layout.parameters)
    layout.fill(buffer, rows)
    assert torch.equal(layout.rows(buffer), rows)
    assert all(block.is_contiguous() for block in layout.blocks(buffer))


@settings(max_examples=60, deadline=None)
@given(shape=SHAPES)
@pytest.mark.parametrize("activation", models.ACTIVATIONS)
def test_derivatives_are_those_of_autograd(activation: str, shape: dict) -> None:
    model, engine, *data = pack(**shape, activation=activation)
    slots, samples = shape["slots"], shape["samples"]
    loss, gram = engine.weights.new_empty(slots), engine.weights.new_empty((slots, samples, samples))
    jacobian = engine.weights.new_empty((slots, model.parameters, samples))
    engine.descend(loss)
    residuals = engine.jacobian(jacobian, gram)
    torch.testing.assert_close(gram, jacobian.mT @ jacobian, rtol=1e-12, atol=1e-12 * float(gram.abs().max()))
    for slot, gradient in enumerate(engine.layout.rows(engine.gradient)):
        parameters, points, values = (tensor[slot] for tensor in data)
        expected_loss, expected = truth(model, parameters, points, values)
        assert abs(loss[slot] - expected_loss) <= 1e-12 * expected_loss
        assert (gradient - expected).abs().max() <= 1e-12 * expected.abs().max() + 1e-14 * expected_loss.sqrt()
        expected = torch.func.jacrev(model.apply)(parameters, points)  # (samples, parameters)
        assert (jacobian[slot].T - expected).abs().max() <= 1e-12 * expected.abs().max()
        difference = residuals[slot, 0] - (model.apply(parameters, points) - values)
        assert difference.abs().max() <= 1e-12 * (1 + expected.abs().max())


@pytest.mark.parametrize("activation", models.ACTIVATIONS)
def test_float32_stays_float32(activation: str) -> None:
    model, engine, *data = pack([7, 6], 2, 20, 3, 0, activation, torch.float32)
    loss = torch.empty(3)
    engine.descend(loss)
    for slot, gradient in enumerate(engine.layout.rows(engine.gradient)):
        _, expected = truth(model, *(tensor[slot].double() for tensor in data))
        assert gradient.dtype == torch.float32
        assert (gradient - expected).abs().max() <= 2e-5 * expected.abs().max()


@pytest.mark.parametrize("activation", models.ACTIVATIONS)
def test_derivatives_far_out(activation: str) -> None:
    size = torch.tensor([0.0, 1e-300, 1e-8, 1.0, 30.0, 800.0, 1e5], dtype=DOUBLE)
    inputs = torch.cat([size, -size]).requires_grad_()
    expected = (getattr(torch, activation, None) or getattr(torch.nn.functional, activation))(inputs)
    slope = torch.autograd.grad(expected.sum(), inputs)[0]
    function, outputs, gradient = ACTIVATIONS[activation], torch.empty_like(expected), torch.ones(14, dtype=DOUBLE)
    function.value(inputs.detach(), outputs)
    torch.testing.assert_close(outputs, expected.detach(), rtol=1e-15, atol=1e-14)
    function.prepare(inputs.detach().clone(), outputs)
    function.pull(gradient, outputs)
    torch.testing.assert_close(gradient, slope, rtol=1e-14, atol=1e-14)


def test_full_loss_of_one_block_has_the_bits_of_training() -> None:
    _, engine, _, points, values = pack([6], 2, 1000, 3, 2)
    loss = torch.empty(3, dtype=DOUBLE)
    engine.loss(loss)
    assert torch.equal(full_loss(engine, points, values), loss)
