"""Enclosures contain the truth, to 50 digits: random functions and all targets, boxes of every size."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch

from hpcsweep.approx.supnorm.certificate.enclosure import AffineForm, boxes, rounding
from hpcsweep.approx.targets import REGISTRY
from tests.approx.supnorm.certificate.exact import Exact
from tests.approx.supnorm.certificate.expressions import BINARY, UNARY, fuzz

Domain = Sequence[tuple[float, float]]
BOXES, POINTS = 3, 4


def random_boxes(generator: random.Random, dimension: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes (boxes, dimension) within [-1, 1]^dimension, of one size between 1 and 1e-15, or points."""
    radius = generator.choice((0.0, 1.0, 0.5, 10.0 ** -generator.uniform(0, 15)))
    room = 1.0 - radius
    centers = [[generator.uniform(-room, room) for _ in range(dimension)] for _ in range(BOXES)]
    return torch.tensor(centers, dtype=torch.float64), torch.full((BOXES, dimension), radius, dtype=torch.float64)


def places(generator: random.Random, dimension: int) -> np.ndarray:
    """Unit coordinates e (boxes, dimension) of one point per box: a corner or any."""
    corner = generator.random() < 0.5
    draw = (lambda: generator.choice((-1.0, 1.0))) if corner else (lambda: generator.uniform(-1, 1))
    return np.array([[mp.mpf(draw()) for _ in range(dimension)] for _ in range(BOXES)], dtype=object)


def exact(values: torch.Tensor) -> np.ndarray:
    return np.vectorize(mp.mpf, otypes=[object])(values.numpy())


def truths(
    function: Callable[[Any], Any], centers: torch.Tensor, radii: torch.Tensor, domain: Domain, e: np.ndarray
) -> Any:
    """Values (boxes,) of the function at the places e of the boxes, in 50 digits."""
    u = exact(centers) + exact(radii) * e
    low, high = exact(torch.tensor(domain, dtype=torch.float64)).T
    return function(Exact((low + high) / 2 + (high - low) / 2 * u)).values


def outside(form: AffineForm, e: np.ndarray, values: np.ndarray) -> Iterator[str]:
    """One line for each box whose form, or range, does not contain the value at e."""
    low, high = form.range()
    for box, value in enumerate(values):
        if isinstance(value, mp.mpc) or not mp.isfinite(value):
            continue
        if not float(low[box]) <= value <= float(high[box]):
            yield f"{value} is not in {float(low[box])!r}, {float(high[box])!r}"
        terms, radius = form.terms[:, box].tolist(), form.radius[box].item()
        if np.isfinite([*terms, radius]).all():
            line = terms[0] + mp.fsum(mp.mpf(slope) * at for slope, at in zip(terms[1:], e[box], strict=True))
            if abs(value - line) > radius:
                yield f"{value} is further than {radius} from {line}"


def violations(generator: random.Random, function: Callable[[Any], Any], domain: Domain) -> list[str]:
    centers, radii = random_boxes(generator, len(domain))
    form = function(boxes(centers, radii, domain))
    found = []
    for _ in range(POINTS):
        e = places(generator, len(domain))
        found += [
            f"radius {float(radii[0, 0]):.1e}: {line}"
            for line in outside(form, e, truths(function, centers, radii, domain, e))
        ]
    return found


FUZZED: tuple[Domain, ...] = (((-1.0, 1.0),), ((0.1, 0.7),), ((-3.0, 4.1),))


def test_random_functions() -> None:
    assert fuzz(violations, 200, 4, FUZZED) == []


def test_without_rounding_terms_the_same_test_fails() -> None:
    with rounding.ignored():
        assert len(fuzz(violations, 60, 4, FUZZED)) > 20


@pytest.mark.parametrize("rule", range(len(UNARY)))
def test_each_function(rule: int) -> None:
    generator = random.Random(rule)
    for scale in (1.0, 0.05, 5.0):
        found = [
            line
            for _ in range(8)
            for line in violations(generator, lambda x: UNARY[rule](scale * x[:, 0]), ((-1.3, 1.0),))  # noqa: B023
        ]
        assert found == []


@pytest.mark.parametrize("rule", range(len(BINARY)))
def test_each_function_of_two(rule: int) -> None:
    generator = random.Random(rule)
    domain = ((-1.0, 2.0), (0.3, 0.9))
    for _ in range(20):
        assert violations(generator, lambda x: BINARY[rule](x[:, 0], x[:, 1]), domain) == []


@pytest.mark.parametrize("name", REGISTRY)
def test_targets(name: str) -> None:
    kind, generator = REGISTRY[name], random.Random(name)
    rounds = 1 if "berner_teacher" in name else 8
    for dimension in kind.dimensions or (1, 3):
        target = kind(dimension)
        for _ in range(rounds):
            assert violations(generator, target, target.domain) == []


def exactly(values: torch.Tensor) -> np.ndarray:
    return np.vectorize(Fraction, otypes=[object])(values.numpy())


# One operation each, on forms x, y (boxes, 8) that are exact points, with constants c (8,) and w (1, 8).
OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": lambda x, y, c, w: x + y,
    "shift": lambda x, y, c, w: x + c,
    "scale": lambda x, y, c, w: x * c,
    "product": lambda x, y, c, w: x * y,
    "sum": lambda x, y, c, w: x.sum(1),
    "linear": lambda x, y, c, w: x @ w.T,
    "affine": lambda x, y, c, w: (
        x.affine(y.center, 0 * y.center + c, 0 * y.center + c) if isinstance(x, AffineForm) else x * y + c
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_counts_its_own_rounding(name: str) -> None:
    generator = torch.Generator().manual_seed(11)
    x, y = (torch.randn(100, 8, dtype=torch.float64, generator=generator) for _ in range(2))
    c, w = (torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((8,), (1, 8)))
    truth = OPERATIONS[name](*(exactly(part) for part in (x, y, c, w)))

    def violated() -> int:
        points = [AffineForm(part[None], torch.zeros_like(part)) for part in (x, y)]
        form = OPERATIONS[name](*points, c, w)
        return int((abs(truth - exactly(form.center)) > exactly(form.radius)).sum())

    assert violated() == 0
    with rounding.ignored():
        assert violated() > 10
