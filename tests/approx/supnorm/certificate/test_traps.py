"""Code that torch takes otherwise than its names suggest: enclosed as torch computes it, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hpcsweep.approx.supnorm.certificate.enclosure import AffineForm, DoubleDouble, NoEnclosure, boxes
from hpcsweep.approx.supnorm.certificate.enclosure import exact as at_points
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.monomials import of_order
from hpcsweep.approx.supnorm.functions import adapted
from hpcsweep.approx.supnorm.functions.components import component_of

Code = Callable[[Any], Any]
SQUARE = ((-2.0, 3.0),) * 2
NORM = nn.BatchNorm1d(2).double().eval()
for _part, _values in zip(NORM.state_dict().values(), ([3.0, 0.2], [0.1, 0.7], [1.0, 2.0], [4.0, 0.5]), strict=False):
    _part.copy_(torch.tensor(_values))


def buffer(x: Any, columns: int = 2) -> torch.Tensor:
    return torch.zeros(len(x), columns, dtype=torch.float64)


def written(operation: Code, columns: int = 2) -> Code:
    """Return a function that writes into a constant, by out=, and goes on with that."""

    def function(x: Any) -> Any:
        operation(x, out=(values := buffer(x, columns)))
        return values[:, 0]

    return function


def changed(first: Code, change: Callable[[Any], Any]) -> Code:
    """Return a function that changes one of two names of a value, and gives the other."""

    def function(x: Any) -> Any:
        value = other = first(x)
        change(value)
        return other

    return function


def remainder(value: Any) -> None:
    value %= 0.3


def quotient(value: Any) -> None:
    value //= 0.3


def conjunction(value: Any) -> None:
    value &= value > 0.5


def overwritten(look: Code) -> Code:
    """Return a function that looks at a constant to which values were added in place."""

    def function(x: Any) -> Any:
        values = buffer(x)
        values.add_(torch.sin(x))
        return look(values)

    return function


def seen_before(x: Any) -> Any:
    values = buffer(x)
    values[:, 0].add_(torch.sin(x[:, 0]))
    return torch.where(values[:, 0] > 0.5, 1.0, 2.0)


def copied(convert: Code) -> Code:
    def function(x: Any) -> Any:
        values = torch.sin(x)
        other = convert(values)
        other *= 2.0
        return values[:, 0] + other[:, 0]

    return function


def of_both(value: Any) -> Any:
    return torch.where((value > 0.0)[0], 1.0, 2.0)


PLAIN: dict[str, Code] = {
    "softmax out": written(lambda x, out: torch.softmax(x, 1, out=out)),
    "log_softmax out": written(lambda x, out: torch.log_softmax(x, 1, out=out)),
    "nan_to_num out": written(lambda x, out: torch.nan_to_num(x, out=out)),
    "cat out": written(lambda x, out: torch.cat([x, x], 1, out=out), 4),
    "view as whole numbers": lambda x: x[:, 0].view(torch.int64).double(),
    "type by name": lambda x: x[:, 0].type("torch.LongTensor").double(),
    "type of tensors": lambda x: x[:, 0].type(torch.LongTensor).double(),
    "copied": copied(lambda x: x.to(torch.float64, copy=True)),
    "copied by position": copied(lambda x: x.to(torch.float64, False, True)),
    "remainder in place": changed(lambda x: torch.exp(x[:, 0]), remainder),
    "quotient in place": changed(lambda x: torch.exp(x[:, 0]), quotient),
    "remainder of transposed": changed(lambda x: torch.exp(x.T)[0], remainder),
    "condition of transposed": lambda x: of_both(
        changed(lambda x: x.T > 0, lambda value: value.__iand__(x.T > 0.5))(x)
    ),
    "positions are none": lambda x: x[:, 0] * (x.max(1).indices == 0),
    "positions are some": lambda x: x[:, 0] * (x.max(1).indices != 0),
    "comparison of what was there": overwritten(lambda values: torch.where(values[:, 0] > 0.5, 1.0, 2.0)),
    "numbers of what was there": overwritten(lambda values: torch.nan_to_num(values)[:, 0]),
    "sum of what was there": overwritten(lambda values: values.nansum(1)),
    "comparison behind a view": seen_before,
    "batch norm by torch": lambda x: torch.batch_norm(
        x, NORM.weight, NORM.bias, NORM.running_mean, NORM.running_var, False, 0.1, 1e-5, False
    )[:, 0],
    "batch norm": lambda x: NORM(x)[:, 0],
    "cross of the first axis": lambda x: torch.cross(
        (x[:, [0, 1, 0]])[:, :, None] * torch.ones(3), x[:, [1, 1, 0]][:, :, None] * torch.tensor([1.0, 2.0, 3.0])
    )[:, 0, 1],
    "choice in float32": lambda x: torch.where(x[:, 0] > 0, 0.1, 0.3) * x[:, 0],
    "choice of conditions": lambda x: torch.where(x[:, 0] > 0, True, False) + torch.where(x[:, 1] > 0, True, False),
    "choice of bytes": lambda x: torch.where(x[:, 0] > 0, torch.tensor(200).byte(), torch.tensor(9).byte()) + 100,
    "type by its number": lambda x: torch.ops.aten.to(x[:, 0], 4).double(),
    "softmax by a number of float32": lambda x: torch.ops.aten.softmax(x, 1, 6)[:, 0].double(),
    "power of a number of NumPy": lambda x: np.float32(0.3) ** x[:, 0],
    "quotient of a constant": lambda x: torch.tensor(7.3, dtype=torch.float64) // (x[:, 0] + 5.0),
    "cosine with a constant": lambda x: torch.cosine_similarity(x, torch.tensor([1.0, -2.0]).double(), 1),
    "any, kept": lambda x: torch.where((x > 0).any(1, keepdim=True), x, -x)[:, 1],
    "choice by a method": lambda x: x[:, 0].where(x[:, 1] > 0, x[:, 1]),
    "choice of a number by a method": lambda x: x.T.where(x.T > 0, 0.5)[0],
}
ADAPTED: dict[str, Code] = {
    "whole numbers of float32": lambda x: (x[:, 0].float() * 1.5).to(torch.int64) * torch.ones(1),
    "whole numbers by type": lambda x: (x[:, 0].float() * 1.5).type(torch.int32).float(),
    "quotients of whole numbers": lambda x: torch.where(x[:, 0] > 0, 1, 2) / 3 * x[:, 0],
    "quotients of float32": lambda x: torch.where(x[:, 0] > 0, 0.1, 0.3) / 3 * x[:, 0],
    "a copy in float32": copied(lambda x: x.float()),
    "a conversion to float32": copied(lambda x: x.to(torch.float32)),
}


def enclosures(function: Code) -> list[str]:
    """Return how values that torch computes are not enclosed at points, nor on boxes about them."""
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(40, 2, dtype=torch.float64, generator=generator) * 5 - 2
    values = function(points.clone()).double()
    centers, radii = (points - 0.5) / 2.5, torch.full_like(points, 1e-12)

    def on_boxes() -> tuple[torch.Tensor, torch.Tensor]:
        form = function(boxes(centers, radii, SQUARE))
        return ranges(form)

    def by_models() -> tuple[torch.Tensor, torch.Tensor]:
        with of_order(2, 2):
            return on_boxes()

    wrong = []
    for kind in (on_boxes, by_models, lambda: ranges(function(at_points(points)))):
        try:
            low, high = kind()
        except NoEnclosure:
            continue
        slack = 1e-11 * (1 + values.abs())
        if not bool(((low - slack <= values) & (values <= high + slack)).all()):
            wrong.append(f"{values} not in {low} to {high}")
    return wrong


def ranges(result: Any) -> tuple[torch.Tensor, torch.Tensor]:
    if isinstance(result, AffineForm):
        return result.range()
    if isinstance(result, DoubleDouble):
        return result.leading - result.radius, result.leading + result.radius
    return result.double(), result.double()


@pytest.mark.parametrize("name", PLAIN)
def test_code_is_enclosed_as_torch_takes_it_or_refused(name: str) -> None:
    assert enclosures(PLAIN[name]) == []


@pytest.mark.parametrize("name", ADAPTED)
def test_code_in_float32_is_enclosed_as_it_is_measured_and_measured_as_it_is(name: str) -> None:
    function = adapted(ADAPTED[name], SQUARE)
    assert enclosures(function) == []
    points = torch.rand(40, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * 5 - 2
    assert torch.allclose(function(points.clone()), ADAPTED[name](points.clone()).double(), rtol=1e-6)


def test_an_operation_without_a_rule_writes_nothing_elsewhere() -> None:
    """Where other outputs do not depend on it, it is passed over; but a constant would hold numbers of an example."""

    def function(x: Any) -> Any:
        torch.special.bessel_j0(x, out=(values := buffer(x)))
        return torch.stack([values[:, 0], x[:, 0]], 1)

    centers = torch.zeros(3, 2, dtype=torch.float64)
    with pytest.raises(NoEnclosure):
        component_of(function, 0)(boxes(centers, centers + 0.1, SQUARE))


def test_dropout_in_place_is_nothing_after_training() -> None:
    values = torch.sin(boxes(torch.zeros(3, 2, dtype=torch.float64), torch.ones(3, 2, dtype=torch.float64), SQUARE))
    assert nn.Dropout(inplace=True).eval()(values) is values
