"""Frozen networks in fixed buffers: the values of the model itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from hpcsweep.approx import models
from hpcsweep.approx.meter import dense
from hpcsweep.approx.meter.points import make
from hpcsweep.approx.meter.screening.evaluator import Evaluator, frozen, piece
from hpcsweep.approx.meter.screening.screen import screen
from tests.products import biases_differ, may_differ

DOMAIN = ((-1.0, 1.0), (0.0, 3.0), (-2.0, 0.1))
HIDDEN = ([], [16, 16], [3, 3, 3], [64, 32, 128], [300, 20], [520, 30])
TYPES = (torch.float64, torch.float32)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Bits are promised for one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def places(count: int) -> Tensor:
    return make("sobol", 3, count, 3, DOMAIN)(0, count)


def by_model(model: models.Model, parameters: Tensor, points: Tensor, cut: int) -> Tensor:
    """The slow truth: the model, a piece at a time."""
    return torch.cat([model.apply(parameters, part) for part in points.split(cut)]).to(torch.float64)


def network(hidden: list[int], activation: str, seed: int = 1, **other: object) -> tuple[models.Model, Tensor]:
    model = models.make({"hidden": hidden, "activation": activation, **other}, 3, DOMAIN)
    return model, model.init([seed], torch.float64)[0]


@pytest.mark.parametrize("hidden", HIDDEN, ids=str)
@pytest.mark.parametrize("activation", models.ACTIVATIONS)
@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_values_are_those_of_the_model(
    hidden: list[int], activation: str, standardise: bool, dtype: torch.dtype
) -> None:
    model, parameters = network(hidden, activation, standardise=standardise)
    cut, points = piece(max(hidden, default=1), dtype), places(4096)
    expected = by_model(model, parameters.to(dtype), points.to(dtype), cut)
    values = Evaluator(dense.of(model, parameters), dtype)(points)
    assert values.dtype == torch.float64
    # In double precision of different sums; to the bit where torch multiplies with MKL, for which the order is chosen.
    assert torch.allclose(values, expected, rtol=0, atol=100 * torch.finfo(dtype).eps)
    if torch.backends.mkl.is_available():
        may_differ(biases_differ([3, *hidden], cut, dtype))
        assert torch.equal(values, expected)


@pytest.mark.parametrize("count", [1, 7, 255, 1024, 1500, 5000])
def test_any_number_of_points_in_any_layout(count: int) -> None:
    model, parameters = network([64, 64], "tanh")
    points, evaluate = places(count), frozen(model, parameters)
    expected = model.apply(parameters, points)
    for layout in (points, points.contiguous(), points.clone(memory_format=torch.contiguous_format)):
        assert torch.allclose(evaluate(layout), expected, rtol=1e-13, atol=1e-14)


def test_results_are_kept_apart_from_the_buffers() -> None:
    model, parameters = network([16, 16], "relu")
    evaluate = frozen(model, parameters)
    first = evaluate(places(500))
    copy = first.clone()
    evaluate(-places(500))
    assert torch.equal(first, copy)
    assert torch.equal(evaluate(places(500)), copy)


def test_two_networks_do_not_disturb_each_other() -> None:
    points = make("sobol", 3, 2**13, 3, DOMAIN)
    pairs = [network([32, 32], "relu", seed) for seed in range(3)]
    together = screen(points, range(2), 4096, lambda x: x[:, 0], [frozen(*pair) for pair in pairs], worst=5)
    alone = [screen(points, range(2), 4096, lambda x: x[:, 0], [frozen(*pair)], worst=5)[0] for pair in pairs]
    assert together == alone


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_sums_of_networks(dtype: torch.dtype) -> None:
    model, parameters = network([24, 24], "sin", stages=3)
    assert isinstance(model, models.Sum)
    rows = model.networks(parameters)
    rows[1].copy_(model.network.init([8], torch.float64)[0])
    model.amplitudes(parameters)[0] = 0.01  # the third stage was not trained
    points = places(4096)
    values = Evaluator(dense.of(model, parameters), dtype)(points)
    expected = by_model(model, parameters.to(dtype), points.to(dtype), piece(24, dtype))
    assert torch.allclose(values, expected, rtol=0, atol=100 * torch.finfo(dtype).eps)
    if dtype == torch.float64 and torch.backends.mkl.is_available():
        may_differ(biases_differ([3, 24, 24], 2048, dtype))
        assert torch.equal(values, expected)


def test_pieces_follow_the_cache() -> None:
    widths = {1: 4096, 16: 4096, 17: 2048, 32: 2048, 64: 1024, 100: 512, 128: 512, 256: 256, 10**6: 256}
    assert {width: piece(width) for width in widths} == widths
    assert (piece(64, torch.float32), piece(64, torch.float64, "cuda")) == (2048, 2**21)


def test_nan_goes_through() -> None:
    model, parameters = network([16, 16], "relu")
    points = places(64).clone()
    points[5] = float("nan")
    assert frozen(model, parameters)(points).isnan().nonzero().tolist() == [[5]]
