"""The screen: equal to the naive twin, the same bits in any order, and no NaN is ever lost."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from hpcsweep.approx.supnorm.points import PointSet, make
from hpcsweep.approx.supnorm.screening.error_keys import NAN_KEY
from hpcsweep.approx.supnorm.screening.screen import (
    Screen,
    default_tile,
    empty,
    evaluate,
    merge,
    screen,
    tile_count,
)
from hpcsweep.bracket import Bracket
from hpcsweep.errors import PluginError

SQUARE = ((-1.0, 1.0),) * 2
Function = Callable[[Tensor], Tensor]


def target(places: Tensor) -> Tensor:
    return torch.sin(3 * places[:, 0]) * places.square().sum(1)


def zero(places: Tensor) -> Tensor:
    return torch.zeros(len(places), dtype=torch.float64)


def perceptron(seed: int, dimension: int = 2, width: int = 16) -> Function:
    generator = np.random.default_rng(seed)
    shapes = ((dimension, width), width, width)
    inner, bias, outer = (torch.from_numpy(generator.normal(size=shape)) for shape in shapes)
    return lambda places: torch.tanh(places @ inner + bias) @ outer


def at(points: PointSet, values: dict[int, float]) -> Function:
    """Return a function with given values at given points of a set, zero elsewhere."""
    places = {tuple(points(index, 1)[0].tolist()): value for index, value in values.items()}
    return lambda x: torch.tensor([places.get(tuple(row), 0.0) for row in x.tolist()], dtype=torch.float64)


def whole(points: PointSet, tile: int, of: Function, *networks: Function) -> list[Screen]:
    return screen(points, range(tile_count(points, tile)), tile, of, networks)


# Tiled against whole


@pytest.mark.parametrize("kind", ["grid", "sobol", "uniform"])
@pytest.mark.parametrize("tile", [1, 7, 256, 5000])
def test_tiled_equals_the_naive_twin(kind: str, tile: int) -> None:
    points = make(kind, 2, 1000, 3, SQUARE)
    networks = [perceptron(0), perceptron(1)]
    every = points(0, points.count)
    for network, result in zip(networks, whole(points, tile, target, *networks), strict=True):
        errors = np.abs((target(every) - network(every)).numpy())
        assert result.count == points.count == len(errors)
        # Another tile is another matrix product, hence the tolerance; the same tile is compared to the bit
        # below.
        assert result.supremum == pytest.approx(errors.max(), rel=1e-13)
        assert result.index == errors.argmax()
        assert result.where == tuple(every[result.index].tolist())
        assert result.l1 == pytest.approx(errors.mean(), rel=1e-13)
        assert result.l2 == pytest.approx(math.sqrt((errors**2).mean()), rel=1e-13)
        assert result.bracket == Bracket(result.supremum, math.inf, result.where)


def test_sums_are_exact() -> None:
    points = make("uniform", 1, 500, 0, ((0.0, 1.0),))

    def wild(places: Tensor) -> Tensor:
        return torch.exp(300 * (2 * places[:, 0] - 1))

    (result,) = whole(points, 1, wild, zero)  # tiles of one point: no rounding but that of the squares
    values = wild(points(0, 500)).tolist()
    assert Fraction(result.absolute, 2**1074) == sum(map(Fraction, values))
    assert Fraction(result.square, 2**1074) == sum(Fraction(v * v) for v in values)
    assert result.l1 == math.fsum(values) / 500


@pytest.mark.parametrize("size", [5e-324, 1e-150, 1.0, 1e160, 1.7e308])
def test_means_neither_overflow_nor_vanish(size: float) -> None:
    points = make("sobol", 1, 300, 0, ((0.0, 1.0),))
    (result,) = whole(points, 64, lambda x: torch.full((len(x),), size, dtype=torch.float64), zero)
    assert result.supremum == size
    assert result.l1 == pytest.approx(size, rel=1e-14)
    assert result.l2 == (0.0 if size < 1e-162 else pytest.approx(size, rel=1e-14))


def test_nothing_is_neutral_and_knows_nothing() -> None:
    assert merge(empty(), empty()) == empty()
    assert empty().bracket == Bracket(0.0, math.inf)
    assert math.isnan(empty().l1)
    assert screen(make("sobol", 1, 8, 0, ((0, 1),)), range(0), 4, target, [zero, zero]) == [empty(), empty()]


# What is not finite


@pytest.mark.parametrize("index", [0, 3, 4, 9, 11])
@pytest.mark.parametrize("value", [math.nan, -math.nan, math.inf, -math.inf])
def test_not_finite_on_any_tile(index: int, value: float) -> None:
    points = make("sobol", 1, 12, 0, ((0.0, 1.0),))
    (clean,) = whole(points, 4, at(points, {5: 7.0, 6: 1.5}), zero)
    (result,) = whole(points, 4, at(points, {5: 7.0, 6: 1.5, index: value}), zero)
    assert result.index == index
    assert result.where == tuple(points(index, 1)[0].tolist())
    assert (result.nans, result.infinities) == (math.isnan(value), math.isinf(value))
    assert (result.absolute, result.square) == (clean.absolute, clean.square)
    for norm in (result.supremum, result.l1, result.l2, result.bracket.lower):
        assert math.isnan(norm) if math.isnan(value) else norm == math.inf


def test_nans_of_every_payload_are_equal() -> None:
    points = make("sobol", 1, 12, 0, ((0.0, 1.0),))
    (odd,) = struct.unpack("<d", struct.pack("<q", NAN_KEY + 291))
    for first, second in ((5, 6), (3, 8)):
        (result,) = whole(points, 4, at(points, {first: math.nan, second: odd}), zero)
        assert (result.key, result.index, result.nans) == (NAN_KEY, first, 2)


def test_infinity_less_infinity_is_a_nan() -> None:
    points = make("sobol", 1, 8, 0, ((0.0, 1.0),))
    infinite = at(points, {3: math.inf})
    (result,) = whole(points, 4, infinite, infinite)
    assert (result.nans, result.index) == (1, 3)


# The tail


@pytest.mark.parametrize("beyond", [5.0, math.nan, math.inf])
def test_what_lies_beyond_the_last_point_is_left_out(beyond: float) -> None:
    points = make("sobol", 1, 10, 0, ((0.0, 1.0),))
    seen: list[int] = []

    def spied(places: Tensor) -> Tensor:
        seen.append(len(places))
        return at(points, {9: 1.0, 10: beyond, 11: beyond})(places)

    (result,) = whole(points, 4, spied, zero)
    assert seen == [4, 4, 4]  # at full shape all the same
    assert (result.supremum, result.index, result.count, result.nans) == (1.0, 9, 10, 0)
    assert result.l1 == 0.1


# Contracts


def test_points_and_target_are_computed_once_for_all_networks() -> None:
    calls: list[Tensor] = []

    def spied(places: Tensor) -> Tensor:
        calls.append(places)
        return target(places)

    whole(make("sobol", 2, 64, 0, SQUARE), 16, spied, perceptron(0), perceptron(1), perceptron(2))
    assert len(calls) == 4


@pytest.mark.parametrize(
    "wrong", [lambda x: x[:, :1], lambda x: x[:, 0].to(torch.float32), lambda x: x[1:, 0], lambda x: 0.0]
)
def test_wrong_values_are_refused(wrong: Function) -> None:
    with pytest.raises(PluginError, match=r"float64 \(16,\) is expected"):
        whole(make("sobol", 2, 64, 0, SQUARE), 16, target, wrong)
    with pytest.raises(PluginError, match="is expected"):
        whole(make("sobol", 2, 64, 0, SQUARE), 16, wrong, zero)


def test_no_graph_is_kept() -> None:
    weight = torch.ones(2, dtype=torch.float64, requires_grad=True)
    assert not evaluate(lambda x: x @ weight, torch.ones(3, 2, dtype=torch.float64)).requires_grad


def test_tiles_outside_the_set_are_refused() -> None:
    points = make("sobol", 2, 65, 0, SQUARE)
    assert tile_count(points, 16) == 5
    with pytest.raises(ValueError, match="leaves the 5 tiles"):
        screen(points, range(4, 6), 16, target, [zero])


def test_default_tile_follows_the_machine() -> None:
    assert {default_tile(width) for width in (1, 64, 10**6)} == {8192}
    widths = {16: 2**20, 64: 2**20, 128: 2**20, 256: 2**19, 512: 2**18, 10**6: 2**16}
    assert {width: default_tile(width, "cuda") for width in widths} == widths
