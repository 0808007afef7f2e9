"""Frozen networks as functions of points, compiled and in the buffers of a device: the values of the model itself."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from hpcsweep.approx import models
from hpcsweep.approx.supnorm import dense
from hpcsweep.approx.supnorm.approximations import ErrorFunction
from hpcsweep.approx.supnorm.certificate.enclosure.affine import boxes
from hpcsweep.approx.supnorm.points import make
from hpcsweep.approx.supnorm.screening.evaluator import Evaluator, frozen, piece
from hpcsweep.approx.supnorm.search.ascent import with_slopes

DOMAIN = ((-1.0, 1.0), (0.0, 3.0), (-2.0, 0.1))
HIDDEN = ([], [16, 16], [3, 3, 3], [64, 32, 128], [300, 20], [520, 30])


def places(count: int) -> Tensor:
    return make("sobol", 3, count, 3, DOMAIN)(0, count)


def network(hidden: list[int], activation: str, seed: int = 1, **other: object) -> tuple[models.Model, Tensor]:
    model = models.make({"hidden": hidden, "activation": activation, **other}, 3, DOMAIN)
    return model, model.init([seed], torch.float64)[0]


def evaluated(model: models.Model, parameters: Tensor, points: Tensor) -> list[Tensor]:
    """Values as on processors, and as on devices in pieces of 1000 points."""
    return [frozen(model, parameters)(points), Evaluator(dense.of(model, parameters), 1000)(points)]


@pytest.mark.parametrize("hidden", HIDDEN, ids=str)
@pytest.mark.parametrize("activation", models.ACTIVATIONS)
@pytest.mark.parametrize("options", [{}, {"standardise": True}, {"stages": 3}], ids=str)
def test_values_are_those_of_the_model(hidden: list[int], activation: str, options: dict[str, object]) -> None:
    model, parameters = network(hidden, activation, **options)
    if isinstance(model, models.Sum):
        model.networks(parameters)[1].copy_(model.network.init([8], torch.float64)[0])
        model.amplitudes(parameters)[0] = 0.01  # the third stage was not trained
    points = places(4096)
    expected = model.apply(parameters, points)
    for values in evaluated(model, parameters, points):
        assert values.dtype == torch.float64
        assert torch.allclose(values, expected, rtol=0, atol=2e-14)


def test_slopes_are_those_of_the_model() -> None:
    model, parameters = network([16, 16], "tanh", standardise=True)
    terms, points = dense.of(model, parameters), places(700)
    expected = with_slopes(partial(model.apply, parameters), points)
    for function in (frozen(model, parameters), Evaluator(terms, points=300)):
        for found, exact in zip(with_slopes(function, points), expected, strict=True):
            assert torch.allclose(found, exact, rtol=0, atol=1e-12)


def test_slopes_of_an_error_are_those_of_autograd() -> None:
    model, parameters = network([16, 16], "tanh")
    points = places(512)
    error = ErrorFunction(lambda x: torch.sin(x).prod(1), frozen(model, parameters), DOMAIN)
    values, slopes = with_slopes(error, points)
    expected = with_slopes(lambda x: error(x), points)
    assert torch.equal(values, error(points))
    assert torch.allclose(values, expected[0], rtol=0, atol=1e-14)
    assert torch.allclose(slopes, expected[1], rtol=0, atol=1e-13)
    flat = replace(error, target=lambda x: torch.zeros(len(x), dtype=torch.float64))
    assert torch.equal(with_slopes(flat, points)[1], -with_slopes(flat.approximant, points)[1])


def test_residual_networks_are_compiled_and_on_boxes_their_own_code() -> None:
    model, parameters = network([16, 16], "tanh", name="residual")
    assert not dense.of(model, parameters)
    evaluate, points = frozen(model, parameters), places(300)
    assert torch.allclose(evaluate(points), model.apply(parameters, points), rtol=1e-13, atol=1e-14)
    alone = torch.cat([evaluate(point[None]) for point in points])
    assert torch.equal(evaluate(points), alone)
    middle = torch.zeros(1, 3, dtype=torch.float64)
    low, high = evaluate(boxes(middle, middle + 0.1, DOMAIN)).range()
    centre = torch.tensor(DOMAIN, dtype=torch.float64).mean(1)
    assert low < evaluate(centre[None]) < high


def test_results_are_kept_apart_from_the_buffers() -> None:
    points, evaluators = places(500), [Evaluator(dense.of(*network([16, 16], "relu", seed)), 200) for seed in (1, 2)]
    first, other = (evaluate(points) for evaluate in evaluators)
    kept = first.clone()
    evaluators[0](-points)
    assert torch.equal(first, kept) and not torch.equal(first, other)
    assert torch.equal(evaluators[0](points), kept) and torch.equal(evaluators[1](points), other)


def test_pieces_follow_the_memory_of_a_device() -> None:
    assert (piece(64), piece(1), piece(10**9)) == (2**21, 2**24, 256)
