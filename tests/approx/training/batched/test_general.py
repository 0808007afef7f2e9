"""Models without a closed form: against the closed form on a perceptron, against autograd on others; bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hpcsweep.approx import models
from hpcsweep.approx.training import optimizers
from hpcsweep.approx.training.batched.general import General, check_compatible, layout_of, passes_of
from hpcsweep.approx.training.operations import losses
from hpcsweep.approx.training.operations.engine import full_loss
from hpcsweep.approx.training.operations.passes import Passes
from hpcsweep.config import OptimizerConfig
from hpcsweep.errors import StudyError
from tests.approx.packs import Cells
from tests.approx.training.operations.test_engine import SHAPES, pack

DOUBLE = torch.float64
WORKING = [name for name in optimizers.NAMES if not optimizers.needs(name).features]


class Rational(models.Model):
    """sum_i a_i x^i / (1 + (sum_i b_i x^i)^2) of a sum of coordinates: no layers, no closed form here."""

    fields: ClassVar = ()

    def __init__(self, choice: dict[str, Any], dimension: int) -> None:
        self.dimension, self.parameters = dimension, 8

    def init(self, seeds: Sequence[int], dtype: torch.dtype) -> Tensor:
        rows = [torch.linspace(-1, 1, 8, dtype=DOUBLE).mul(1 + seed % 7).sin() for seed in seeds]
        return torch.stack(rows).to(dtype)

    def apply(self, parameters: Tensor, points: Tensor) -> Tensor:
        total = points.sum(1)
        powers = torch.stack([torch.ones_like(total), total, total * total, total * total * total])
        above, below = parameters.view(2, 4) @ powers
        return above / (1 + below * below)


def residual(hidden: Sequence[int] = (6, 6), dimension: int = 2, **choice: object) -> models.Residual:
    made = models.make({"name": "residual", "hidden": list(hidden), **choice}, dimension, [(-1.0, 2.0)] * dimension)
    assert isinstance(made, models.Residual)
    return made


MODELS: dict[str, models.Model] = {
    **{name: models.MLP({"hidden": [9, 5], "activation": name}, 2, [(-1.0, 1.0)] * 2) for name in models.ACTIVATIONS},
    "residual": residual(),
    "sine": residual((5, 5, 5), 1, activation="sin", standardise=True),
    "gelu": residual((7,), 3, activation="gelu"),
    "rational": Rational({}, 2),
}


def furnished(model: models.Model, slots: int, samples: int = 23, general: bool = False) -> Passes:
    """Return passes of a model with parameters, points and values that depend on the slot.

    In closed form where there is one, unless it shall be `general`.
    """
    layout, loss = layout_of(model, slots), losses.make(2)
    weights = torch.empty(slots * layout.parameters, dtype=DOUBLE)
    arguments = samples, weights, loss
    passes = General(layout, model, *arguments) if general else passes_of(model, layout, *arguments)
    place(passes, model, range(slots))
    return passes


def place(passes: Passes, model: models.Model, rows: Sequence[int]) -> None:
    """Put networks by their numbers into the slots."""
    data = [torch.Generator().manual_seed(row) for row in rows]
    points = torch.stack([torch.rand(passes.samples, model.dimension, generator=one, dtype=DOUBLE) for one in data])
    passes.layout.fill(passes.weights, model.init(rows, DOUBLE))
    passes.feed(points * 2 - 1, torch.sin(3 * points.sum(2)))


def evaluated(passes: Passes) -> list[Tensor]:
    """Return loss, gradient, Jacobian, J J^T and residuals of all slots, (slots, ...) each."""
    slots, samples = passes.layout.slots, passes.samples
    loss = torch.empty(slots, dtype=DOUBLE)
    passes.descend(loss)
    gradient = passes.layout.rows(passes.gradient)
    jacobian = torch.empty((slots, passes.layout.parameters, samples), dtype=DOUBLE)
    gram = torch.empty((slots, samples, samples), dtype=DOUBLE)
    residuals = passes.jacobian(jacobian, gram).clone()
    return [loss, gradient, jacobian, gram, residuals]


@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, activation=st.sampled_from(models.ACTIVATIONS), power=st.sampled_from([2, 4]))
def test_a_perceptron_has_the_loss_gradient_and_jacobian_of_the_closed_form(
    shape: dict, activation: str, power: int
) -> None:
    model, engine, parameters, points, values = pack(**shape, activation=activation)
    engine.minimised = losses.make(power)
    general = General(engine.layout, model, shape["samples"], torch.empty_like(engine.weights), losses.make(power))
    engine.layout.fill(general.weights, parameters)
    general.feed(points, values)
    for found, expected in zip(evaluated(general), evaluated(engine), strict=True):
        assert (found - expected).abs().max() <= 1e-12 * expected.abs().max() + 1e-13


@pytest.mark.parametrize("name", MODELS)
def test_models_have_the_derivatives_of_autograd(name: str) -> None:
    model = MODELS[name]
    passes = furnished(model, 4)
    loss, gradient, jacobian, gram, residuals = evaluated(passes)
    torch.testing.assert_close(gram, jacobian.mT @ jacobian, rtol=1e-12, atol=1e-12)
    for slot, row in enumerate(passes.layout.rows(passes.weights)):
        leaf, places = row.clone().requires_grad_(), passes.points[slot].T
        difference = model.evaluate(leaf, places) - passes.values[slot, 0]
        expected = difference.square().mean()
        [slope] = torch.autograd.grad(expected, leaf, retain_graph=True)
        rows = torch.stack([torch.autograd.grad(one, leaf, retain_graph=True)[0] for one in difference])
        torch.testing.assert_close(loss[slot], expected.detach(), rtol=1e-12, atol=0)
        torch.testing.assert_close(gradient[slot], slope, rtol=1e-12, atol=1e-12 * float(slope.abs().max()))
        torch.testing.assert_close(jacobian[slot].T, rows, rtol=1e-12, atol=1e-12 * float(rows.abs().max()))
        torch.testing.assert_close(residuals[slot, 0], difference.detach(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("samples", [1, 7, 64])
def test_the_bits_of_a_slot_do_not_depend_on_its_company(name: str, samples: int) -> None:
    model, order = MODELS[name], torch.randperm(17, generator=torch.Generator().manual_seed(3)).tolist()
    alone, many = furnished(model, 2, samples), furnished(model, 17, samples)
    truth = evaluated(many)
    for passes, rows in ((alone, [4, 11]), (alone, [16, 0]), (alone, [9, 9]), (many, order)):
        place(passes, model, rows)
        for found, expected in zip(evaluated(passes), truth, strict=True):
            assert torch.equal(found, expected[rows])
    place(many, model, range(17))
    others = [slot for slot in range(17) if slot != 2]
    for tensor in (many.layout.blocks(many.weights)[0], many.points, many.values):
        kept = tensor[2].clone()
        for poison in (torch.nan, torch.inf, 1e200):
            tensor[2] = poison
            for found, expected in zip(evaluated(many), truth, strict=True):
                assert torch.equal(found[others], expected[others])
        tensor[2] = kept
    assert all(torch.equal(one, other) for one, other in zip(evaluated(many), truth, strict=True))


@pytest.mark.parametrize("block", [1, 4, 10, 22, 23, 24, 40])
@pytest.mark.parametrize("name", ["tanh", "residual"])
def test_full_loss_in_blocks(name: str, block: int) -> None:
    passes = furnished(MODELS[name], 3)
    loss = torch.empty(3, dtype=DOUBLE)
    passes.loss(loss)
    judge = passes_of(MODELS[name], passes.layout, block, passes.weights, losses.make(2))
    torch.testing.assert_close(full_loss(judge, passes.points.mT, passes.values[:, 0]), loss, rtol=1e-13, atol=0)


@pytest.mark.parametrize("name", WORKING)
def test_each_optimizer_goes_the_way_it_goes_with_the_closed_form(name: str) -> None:
    """For 50 ticks; those with a line search and such are sensitive to rounding, so that they are compared by loss."""
    model = models.make({"hidden": [5, 4]}, 2, [(-1.0, 1.0)] * 2)
    histories = []
    for general in (False, True):
        passes, optimizer = furnished(model, 3, general=general), optimizers.make(name, {})
        state, rates = optimizer.init(passes), torch.full_like(passes.weights, 1e-2)
        found = torch.empty((50, 3), dtype=DOUBLE)
        for tick in range(50):
            optimizer.step(passes, state, tick, rates, found[tick])
        histories.append(found)
    assert (histories[0][-1] < histories[0][0]).all()
    rough = 1e-9 if optimizers.needs(name).rate else 1e-5
    torch.testing.assert_close(histories[1], histories[0], rtol=rough, atol=0)


def test_what_a_model_cannot_give_is_refused() -> None:
    for name in optimizers.NAMES:
        check_compatible(models.MLP({"hidden": [4]}, 1, [(0.0, 1.0)]), name)
    for name in WORKING:
        check_compatible(MODELS["residual"], name)
    check_compatible(MODELS["rational"], "adam+ssbroyden")
    with pytest.raises(StudyError, match=r"'least_squares' needs a linear last layer.*'residual'.*with it: adam.*muon"):
        check_compatible(MODELS["residual"], "adam+least_squares")
    with pytest.raises(StudyError, match=r"'muon' needs the weight matrices.*'Rational'.*with it: adam, adamw, bfgs"):
        check_compatible(MODELS["rational"], "muon")


def test_a_training_is_that_of_the_closed_form() -> None:
    """A perceptron in disguise; few steps, because trainings are chaotic."""

    class Disguise(models.Model):
        dimension, parameters = 2, 13
        hidden = models.MLP({"hidden": [3]}, 2, [(-1.0, 2.0)] * 2)

        def init(self, seeds: Sequence[int], dtype: torch.dtype) -> Tensor:
            return self.hidden.init(seeds, dtype)

        def apply(self, parameters: Tensor, points: Tensor) -> Tensor:
            return self.hidden.apply(parameters, points)

    cells = Cells([3], 2, 20, 5)
    chosen = OptimizerConfig(steps=60, batch=7, learning_rate=1e-2, schedule="cosine")
    closed = cells.train(chosen)
    cells.model = Disguise()
    general = cells.train(chosen)
    torch.testing.assert_close(general.parameters, closed.parameters, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(general.loss, closed.loss, rtol=1e-9)
    with pytest.raises(StudyError, match="'soap' needs the weight matrices, which model 'Disguise'"):
        cells.train(OptimizerConfig("soap", steps=3))
