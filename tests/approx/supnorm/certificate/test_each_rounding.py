"""Remainders cover what rational arithmetic says is needed, to the last bit: each rounding and underflow is counted.

Of numbers of very different sizes, so that no term of a bound can stand in for another one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure import AffineForm, DoubleDouble, rounding

SIZES = (0.0, 1e-200, 1e-16, 1.0, 1.0, 1e16)
UNDERFLOWING = (0.0, 1e-200, 1e-200)  # products of these are 0
CASES, FEATURES, ROWS = 300, 3, 3  # rows: a center and two slopes
Exactly = Callable[..., tuple[list[Any], Any]]  # terms and radius that hold without any rounding


def drawn(generator: random.Random, *shape: int, sizes: Sequence[float] = SIZES) -> Tensor:
    """Numbers of one size."""
    size = generator.choice(sizes)
    count = torch.Size(shape).numel()
    return torch.tensor([size * generator.uniform(-1, 1) for _ in range(count)], dtype=torch.float64).view(shape)


def form(generator: random.Random, sizes: Sequence[float] = SIZES) -> AffineForm:
    """One box, (1, FEATURES): the center, the slopes and the radius of sizes of their own."""
    terms = torch.cat([drawn(generator, rows, 1, FEATURES, sizes=sizes) for rows in (1, ROWS - 1)])
    return AffineForm(terms, drawn(generator, 1, FEATURES, sizes=sizes).abs())


def fractions(values: Tensor) -> list[Fraction]:
    return [Fraction(value) for value in values.flatten().tolist()]


def rows(x: AffineForm) -> list[list[Fraction]]:
    return [fractions(row) for row in x.terms]


def scaled(x: AffineForm, factors: list[Fraction], added: list[Fraction]) -> tuple[list[Any], Any]:
    terms = [[value * factor for value, factor in zip(row, factors, strict=True)] for row in rows(x)]
    terms[0] = [value + other for value, other in zip(terms[0], added, strict=True)]
    return terms, [radius * abs(factor) for radius, factor in zip(fractions(x.radius), factors, strict=True)]


NONE, ONES = [Fraction(0)] * FEATURES, [Fraction(1)] * FEATURES
Operation = tuple[Callable[..., AffineForm], Exactly]
OPERATIONS: dict[str, Operation] = {  # of forms x, y, constants c, d (FEATURES,) and weights w (1, FEATURES)
    "add": (
        lambda x, y, c, d, w: x + y,
        lambda x, y, c, d, w: (
            [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(rows(x), rows(y), strict=True)],
            [r + s for r, s in zip(fractions(x.radius), fractions(y.radius), strict=True)],
        ),
    ),
    "shift": (lambda x, y, c, d, w: x + c, lambda x, y, c, d, w: scaled(x, ONES, fractions(c))),
    "scale": (lambda x, y, c, d, w: x * c, lambda x, y, c, d, w: scaled(x, fractions(c), NONE)),
    "divide": (
        lambda x, y, c, d, w: x / c.where(c != 0.0, 3.0),
        lambda x, y, c, d, w: scaled(x, [1 / (number or Fraction(3)) for number in fractions(c)], NONE),
    ),
    "sum": (
        lambda x, y, c, d, w: x.sum(1),
        lambda x, y, c, d, w: ([[sum(row)] for row in rows(x)], [sum(fractions(x.radius))]),
    ),
    "linear": (
        lambda x, y, c, d, w: x.linear(w, d[:1]),
        lambda x, y, c, d, w: (
            [
                [sum(a * b for a, b in zip(row, fractions(w), strict=True)) + (fractions(d)[0] if not number else 0)]
                for number, row in enumerate(rows(x))
            ],
            [sum(abs(a) * r for a, r in zip(fractions(w), fractions(x.radius), strict=True))],
        ),
    ),
    "affine": (
        lambda x, y, c, d, w: x.affine(c[None], torch.minimum(d, w[0])[None], torch.maximum(d, w[0])[None]),
        lambda x, y, c, d, w: (
            scaled(x, fractions(c), [(a + b) / 2 for a, b in zip(fractions(d), fractions(w), strict=True)])[0],
            [
                r + abs(a - b) / 2
                for r, a, b in zip(scaled(x, fractions(c), NONE)[1], fractions(d), fractions(w), strict=True)
            ],
        ),
    ),
}


def violated(name: str) -> int:
    """Count results whose radius is less than what terms and radius need that hold without any rounding."""
    generator, count = random.Random(name), 0
    operation, exactly = OPERATIONS[name]
    for _ in range(CASES):
        sizes = generator.choice((SIZES, SIZES, UNDERFLOWING))
        given: list[Any] = [form(generator, sizes), form(generator, sizes)]
        given += [drawn(generator, *shape, sizes=sizes) for shape in ((FEATURES,), (FEATURES,), (1, FEATURES))]
        if generator.random() < 0.5:  # an interval about zero, or of no width
            given[4] = given[3][None] * generator.choice((1.0, -1.0001))
        result, (terms, radii) = operation(*given), exactly(*given)
        for feature, (radius, enough) in enumerate(zip(fractions(result.radius), radii, strict=True)):
            off = [abs(row[feature] - own[feature]) for row, own in zip(terms, rows(result), strict=True)]
            count += radius < enough + sum(off)
    return count


@pytest.mark.parametrize("name", OPERATIONS)
def test_remainders_cover_all_roundings(name: str) -> None:
    assert violated(name) == 0
    with rounding.ignored():
        assert violated(name) > 20


def test_sizes_and_ranges_are_upper_bounds() -> None:
    generator = random.Random(0)
    for _ in range(CASES):
        x = form(generator)
        (low, high), center = map(fractions, x.range()), rows(x)[0]
        for feature, (radius, spread, mass) in enumerate(
            zip(*map(fractions, (x.radius, x.spread(), x.mass())), strict=True)
        ):
            whole = radius + sum(abs(row[feature]) for row in rows(x)[1:])
            assert (
                fractions(x.reach())[feature] >= whole - radius
                and spread >= whole
                and mass >= whole + abs(center[feature])
            )
            assert low[feature] <= center[feature] - whole and high[feature] >= center[feature] + whole


# Double-doubles


def number(generator: random.Random) -> DoubleDouble:
    """(CASES,): leading parts of many sizes, trailing parts, and radii that are small or nearly all of them."""
    leading = torch.tensor(
        [generator.choice((-1, 1)) * 10.0 ** generator.uniform(-3, 3) for _ in range(CASES)]
    ).double()
    shares = torch.tensor([generator.choice((0.0, 1e-40, 1e-20, 1e-9, 0.3, 0.9)) for _ in range(CASES)]).double()
    trailing = leading * torch.tensor([generator.uniform(-1, 1) * 2.0**-54 for _ in range(CASES)]).double()
    return DoubleDouble(leading, trailing, leading.abs() * shares)


OF_NUMBERS: dict[str, tuple[Callable[..., DoubleDouble], Callable[..., Fraction]]] = {
    "add": (lambda x, y: x + y, lambda x, y: x + y),
    "sub": (lambda x, y: x - y, lambda x, y: x - y),
    "mul": (lambda x, y: x * y, lambda x, y: x * y),
    "div": (lambda x, y: x / y, lambda x, y: x / y),
    "square": (lambda x, y: torch.square(x), lambda x, y: x * x),
    "abs": (lambda x, y: torch.abs(x), lambda x, y: abs(x)),
    "maximum": (lambda x, y: torch.maximum(x, y), lambda x, y: max(x, y)),
}


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_double_doubles_contain_the_ends_of_what_they_stand_for(name: str) -> None:
    generator = random.Random(name)
    x, y = number(generator), number(generator)
    operation, exactly = OF_NUMBERS[name]
    result = operation(x, y)
    parts = [list(zip(*map(fractions, (one.leading, one.trailing, one.radius)), strict=True)) for one in (x, y, result)]
    for (a, b, r), (c, d, s), (e, f, bound) in zip(*parts, strict=True):
        for at, other in ((0, 0), (r, s), (r, -s), (-r, s), (-r, -s)):
            assert abs(exactly(a + b + at, c + d + other) - e - f) <= bound
