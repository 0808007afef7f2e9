"""The rules of what people write in targets and networks, each against its formula in 50 digits.

On affine forms, on Taylor models, and on double-doubles at points.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch
from torch import nn

from hpcsweep.approx.supnorm.certificate.enclosure import AffineForm, NoEnclosure, boxes
from hpcsweep.approx.supnorm.certificate.enclosure import exact as at_points
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.monomials import of_order
from tests.approx.supnorm.certificate import test_double_double as numbers
from tests.approx.supnorm.certificate import test_taylor_soundness as models
from tests.approx.supnorm.certificate.formulas import MOVES, SUMS, WIDE, Real
from tests.approx.supnorm.certificate.formulas_of_modules import FUNCTIONS, MODULES
from tests.approx.supnorm.certificate.simulation_functions import COLLECTION
from tests.approx.supnorm.certificate.test_soundness import exact, outside, places, random_boxes


def violations(generator: random.Random, function: Callable[[Any], Any], truth: Real, domain: Any) -> list[str]:
    centers, radii = random_boxes(generator, len(domain))
    form = function(boxes(centers, radii, domain))
    with of_order(len(domain), generator.choice((1, 2, 4))) as table:
        model = function(boxes(centers, radii, domain))
    found: list[str] = []
    for _ in range(4):
        e = places(generator, len(domain))
        u = exact(centers) + exact(radii) * e
        low, high = exact(torch.tensor(domain, dtype=torch.float64)).T
        points = (low + high) / 2 + (high - low) / 2 * u
        values = [truth(*point) for point in points]
        found += [*outside(form, e, values), *models.outside(table, model, e, values)]
        rounded = torch.from_numpy(points.astype(float))
        values = [truth(*point) for point in exact(rounded)]
        found += numbers.outside(function(at_points(rounded)), values)
    return found


@pytest.mark.parametrize("name", [*MOVES, *SUMS, *MODULES])
def test_functions_of_points(name: str) -> None:
    function, truth = (MOVES | SUMS | MODULES)[name]
    generator = random.Random(name)
    for _ in range(25):
        assert violations(generator, function, truth, WIDE) == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_one_variable(name: str) -> None:
    function, truth, interval = FUNCTIONS[name]
    generator = random.Random(name)
    for _ in range(25):
        assert violations(generator, lambda x: function(x[:, 0]), truth, (interval,)) == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors_at_points_are_carried(name: str) -> None:
    function, truth, (low, high) = FUNCTIONS[name]
    generator, found = random.Random(name), []
    x = at_points(torch.tensor([generator.uniform(low, high) for _ in range(40)], dtype=torch.float64))
    x.radius.copy_(torch.tensor([10.0 ** -generator.uniform(0, 20) for _ in range(40)]))
    result = function(x)
    for share in (-1.0, -0.3, 0.8, 1.0):
        places = exact(x.leading) + share * exact(x.radius)
        inside = [low <= place <= high for place in places]
        values = [truth(place) if known else mp.nan for place, known in zip(places, inside, strict=True)]
        found += numbers.outside(result, values)
    assert found == [] and bool((result.radius < 1e-9).any())


@pytest.mark.parametrize("name", [*MOVES, *SUMS, *MODULES, *FUNCTIONS])
def test_narrow_boxes_have_narrow_ranges(name: str) -> None:
    """And the values that torch computes on the whole batch."""
    centers = torch.tensor([[0.437, 0.351], [0.713, 0.622], [0.563, 0.871]], dtype=torch.float64)
    if name in FUNCTIONS:
        of_one, _, interval = FUNCTIONS[name]
        domain, function = (interval,), lambda x: of_one(x[:, 0])
    else:
        domain, function = WIDE, (MOVES | SUMS | MODULES)[name][0]
    centers = centers[:, : len(domain)]
    low, high = function(boxes(centers, torch.full_like(centers, 1e-6), domain)).range()
    ends = torch.tensor(domain, dtype=torch.float64).T
    with torch.no_grad():
        points = ends.mean(0) + centers * (ends[1] - ends[0]) / 2
        values, number = function(points), function(at_points(points))
    assert bool((number.radius <= 1e-14 * (1 + values.abs())).all())
    assert bool(((low <= values + 1e-12) & (values - 1e-12 <= high) & (high - low < 1e-3)).all())


@pytest.mark.parametrize(
    "use",
    [
        lambda x: x.T @ x,
        lambda x: torch.einsum("ni,mi->nm", x, x),
        lambda x: x.T.sum(1),
        lambda x: x.flip(0),
        lambda x: x.roll(1, 0),
        lambda x: x.reshape(-1),
        lambda x: x.reshape(2, -1),
        lambda x: x.T.reshape(-1, 2),
        lambda x: x[:, 0] + x[:, :1],
        lambda x: x[[1, 0, 2]],
        lambda x: torch.cumsum(x, 0),
        lambda x: torch.max(x),
        lambda x: torch.softmax(x, 0),
        lambda x: torch.stack([x[:, 0], torch.arange(len(x))]),
        lambda x: x.T * torch.arange(len(x)),
        lambda x: torch.cdist(x, x),
        lambda x: nn.BatchNorm1d(2).double()(x),
        lambda x: list(x),
        lambda x: x[x > 0],
    ],
)
def test_what_mixes_points_is_refused(use: Callable[[Any], Any]) -> None:
    centers = torch.linspace(-0.5, 0.5, 6, dtype=torch.float64).view(3, 2)
    for values in (boxes(centers, torch.full_like(centers, 0.1), WIDE), at_points(centers)):
        with pytest.raises(NoEnclosure):
            use(values)


@pytest.mark.parametrize("kind", ["boxes", "points"])
def test_operations_in_place_change_every_name_of_a_value_or_are_refused(kind: str) -> None:
    centers = torch.zeros(2, 2, dtype=torch.float64)
    x: Any = boxes(centers, torch.ones_like(centers), WIDE) if kind == "boxes" else at_points(centers)
    value = torch.sin(x[:, 0])
    other, copied = value, value.clone()
    other += 5
    assert bool((least(value) > 3).all() and (least(copied) < 2).all())
    columns = torch.sin(x)
    first = columns[:, 0]
    for change in (lambda: first.add_(1), lambda: columns.mul_(2), lambda: x.sub_(1), lambda: x.T.add_(1)):
        with pytest.raises(NoEnclosure, match="other names"):
            change()
    zeros = torch.zeros(2, dtype=torch.float64)
    total = zeros.add_(value)
    assert bool((least(total) > 3).all())
    with pytest.raises(NoEnclosure, match="changed in place"):
        torch.gt(zeros, 0.5)
    turned = torch.sin(x).T * 1.0
    same, negative = turned, -turned
    turned.mul_(0.5).add_(5)
    assert bool((least(same[0]) > 4).all() and (least(negative[0]) <= 0).all())
    with pytest.raises(NoEnclosure, match="other names"):
        turned.tanh_()  # same[0] is a view
    ones = torch.ones(2, dtype=torch.float64)
    for changed in (ones[:1].expand(2), ones.view(2), torch.from_numpy(np.zeros(2))):
        with pytest.raises(NoEnclosure, match="other names"):
            changed.add_(value)


def least(value: Any) -> torch.Tensor:
    return value.range()[0] if isinstance(value, AffineForm) else value.leading - value.radius


@pytest.mark.parametrize("name", COLLECTION)
def test_functions_of_collections_are_enclosed(name: str) -> None:
    """On boxes next to points, closely."""
    function, dimension, interval = COLLECTION[name]
    generator = torch.Generator().manual_seed(1)
    centers = 1.6 * torch.rand(8, dimension, dtype=torch.float64, generator=generator) - 0.8
    low, high = function(boxes(centers, torch.full_like(centers, 1e-6), [interval] * dimension)).range()
    values = function(sum(interval) / 2 + (interval[1] - interval[0]) / 2 * centers)
    assert bool(((low <= values) & (values <= high) & (high - low < 1e-3 * (1 + values.abs()))).all())


@pytest.mark.parametrize("seed", range(12))
def test_compositions(seed: int) -> None:
    """Rules on forms with slopes and remainders of their own, which moves have brought about."""
    generator = random.Random(seed)
    plain = MOVES | SUMS | MODULES
    for _ in range(20):
        (outer, truth), *inner = (plain[generator.choice(list(plain))] for _ in range(3))

        def function(x: Any, outer: Any = outer, inner: Any = inner) -> Any:
            return outer(torch.stack([torch.sin(part(x)) for part, _ in inner]).T)

        def formula(a: mp.mpf, b: mp.mpf, truth: Any = truth, inner: Any = inner) -> mp.mpf:
            return truth(*(mp.sin(part(a, b)) for _, part in inner))

        assert violations(generator, function, formula, WIDE) == []
