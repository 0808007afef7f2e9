"""Taylor models in double-double contain the truth, to 50 digits, prove nothing false, and close where float64 ends."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure import AffineForm, DoubleDouble, NoEnclosure
from hpcsweep.approx.supnorm.certificate.enclosure.precise import compositions, series
from hpcsweep.approx.supnorm.certificate.enclosure.precise import model as models
from hpcsweep.approx.supnorm.certificate.enclosure.precise.model import Model
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.monomials import Monomials, of_order
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.series import SERIES
from hpcsweep.approx.targets import REGISTRY
from tests.approx.supnorm.certificate.exact import corners_and_others
from tests.approx.supnorm.certificate.expressions import BINARY, UNARY, fuzz
from tests.approx.supnorm.certificate.test_soundness import FUZZED, Domain, places, random_boxes, truths
from tests.approx.supnorm.certificate.test_taylor_arithmetic import EXACT, places_of

Function = Callable[[Any], Any]
SMALL = 0.01  # boxes of at most this radius have finite models, unless there is a pole
DIGITS = 1e-25  # relative to a function's size: what coefficients of small boxes may be off by; about 1e-30 is usual

# Functions


def enclosed(table: Monomials, model: Model, box: int, e: np.ndarray) -> tuple[mp.mpf, mp.mpf]:
    """Return the value of a model at e, and by how much it may be off."""
    numbers, powers = model.coefficients, table.exponents[: len(model.coefficients)].tolist()
    monomial = [mp.fprod(mp.mpf(at) ** power for at, power in zip(e, a, strict=True)) for a in powers]
    parts = (part[:, box].tolist() for part in (numbers.leading, numbers.trailing, numbers.radius))
    columns = [(mp.mpf(high) + mp.mpf(low), mp.mpf(off)) for high, low, off in zip(*parts, strict=True)]
    value = mp.fsum(c * t for (c, _), t in zip(columns, monomial, strict=True))
    off = mp.fsum(r * abs(t) for (_, r), t in zip(columns, monomial, strict=True))
    return value, off + mp.mpf(model.radius[box].item())


def outside(table: Monomials, model: Model, e: np.ndarray, values: np.ndarray) -> Iterator[str]:
    """One line for each box whose model does not contain the value at e, as float64 too."""
    form = model.rounded()
    for box, value in enumerate(values):
        if isinstance(value, mp.mpc) or not mp.isfinite(value):
            continue
        at, off = enclosed(table, model, box, e[box])
        if abs(value - at) > off:
            yield f"{value} is further than {off} from {at}"
        wide = Model(DoubleDouble(form.terms, 0 * form.terms, 0 * form.terms), form.radius)
        at, off = enclosed(table, wide, box, e[box])
        if abs(value - at) > off:
            yield f"{value} is further than {off} from {at}, rounded"


def violations(
    generator: random.Random, function: Function, domain: Domain, known: list[bool] | None = None
) -> list[str]:
    """One line for each false model of random boxes; `known` is told which small boxes have finite ones."""
    centers, radii = random_boxes(generator, len(domain))
    order, found = generator.choice((1, 2, 3, 5, 8) if len(domain) < 3 else (1, 2, 4)), []
    try:
        with of_order(len(domain), order) as table:
            model = function(models.places(centers, radii, domain, order))
    except NoEnclosure:
        return []
    if isinstance(model, Tensor):
        return []
    if known is not None and float(radii[0, 0]) < SMALL:
        known += model.rounded().radius.isfinite().tolist()
    for _ in range(4):
        e = places(generator, len(domain))
        values = truths(function, centers, radii, domain, e)
        found += [
            f"order {order}, radius {float(radii[0, 0]):.1e}: {line}" for line in outside(table, model, e, values)
        ]
    return found


SHIFTED: tuple[Domain, ...] = (*FUZZED, ((1e4, 1e4 + 1),))


def test_random_functions() -> None:
    known: list[bool] = []
    assert fuzz(lambda *args: violations(*args, known), 200, 14, SHIFTED) == []
    assert len(known) > 50 and np.mean(known) > 0.9


@pytest.mark.parametrize("rule", range(len(UNARY) + len(BINARY)))
def test_each_function(rule: int) -> None:
    generator, found, known = random.Random(rule), [], []
    for _ in range(12):
        if rule < len(UNARY):
            found += violations(generator, lambda x: UNARY[rule](x[:, 0]), ((-1.3, 1.0),), known)
        else:
            pair = BINARY[rule - len(UNARY)]
            found += violations(generator, lambda x, by=pair: by(x[:, 0], x[:, 1]), ((-1.0, 2.0), (0.3, 0.9)), known)
    assert found == [] and (not known or np.mean(known) > 0.6)


@pytest.mark.parametrize("name", [name for name in REGISTRY if "berner_teacher" not in name])
def test_targets(name: str) -> None:
    kind, generator, known = REGISTRY[name], random.Random(name), []
    for dimension in kind.dimensions or (1, 3):
        function = kind(dimension)
        for _ in range(8):
            assert violations(generator, function, function.domain, known) == []
    smooth = kind(1 if kind.dimensions is None else kind.dimensions[0]).smoothness == np.inf
    assert not smooth or np.mean(known) > 0.9


# Operations, of numbers that are known badly: every part of a remainder counts


def drawn(
    generator: np.random.Generator, rows: int, size: float, extreme: bool
) -> tuple[Model, np.ndarray, np.ndarray]:
    """Return models of 3 boxes, real coefficients in their double-doubles, and a constant within the remainders.

    `extreme`: all are positive and the largest that they may be, so that at t = 1 products reach their bounds.
    """
    leading = generator.normal(size=(rows, 3)) * 0.2
    trailing = leading * generator.uniform(-(2.0**-54), 2.0**-54, (rows, 3))
    radius, rest = np.abs(generator.normal(size=(rows, 3))) * size, np.abs(generator.normal(size=3)) * size
    ends = generator.choice([-1.0, 1.0], (rows, 3)), generator.choice([-1.0, 1.0], 3)
    if extreme:
        leading, trailing, ends = abs(leading), abs(trailing), (abs(ends[0]), abs(ends[1]))
    exactly_at = np.vectorize(mp.mpf, otypes=[object])
    true = exactly_at(leading) + exactly_at(trailing) + exactly_at(ends[0]) * exactly_at(radius)
    numbers = DoubleDouble(*map(torch.from_numpy, (leading, trailing, radius)))
    return Model(numbers, torch.from_numpy(rest)), true, exactly_at(ends[1]) * exactly_at(rest)


def value_at(table: Monomials, true: np.ndarray, rest: np.ndarray, t: np.ndarray, box: int) -> mp.mpf:
    powers = table.exponents[: len(true)].tolist()
    monomial = [mp.fprod(mp.mpf(x) ** n for x, n in zip(t, a, strict=True)) for a in powers]
    return mp.fsum(c * m for c, m in zip(true[:, box], monomial, strict=True)) + rest[box]


def false_operations(size: float) -> dict[str, int]:
    """Count points at which operations on models do not contain what they should, by operation."""
    count = dict.fromkeys(("product", "sum", "rounded", *series.EXPANSIONS), 0)
    for seed in range(8):
        generator = np.random.default_rng(seed)
        dimension, order = [(1, 2), (1, 6), (2, 3), (3, 2)][seed % 4]
        with of_order(dimension, order) as table:
            rows = [table.counts[generator.integers(0, order + 1)] for _ in range(2)]
            (f, *left), (g, *right) = (drawn(generator, n, size, seed % 3 == 0) for n in rows)
            made = {"product": f * g, "sum": f + g}
            made |= {name: compositions.compose(table, name, f + 1.5) for name in series.EXPANSIONS}
        form = f.rounded()
        made["rounded"] = Model(DoubleDouble(form.terms, 0 * form.terms, 0 * form.terms), form.radius)
        for box in range(3):
            for t in (np.ones(dimension), *corners_and_others(generator, dimension)):
                a, b = value_at(table, *left, t, box), value_at(table, *right, t, box)
                truth = {"product": a * b, "sum": a + b, "rounded": a}
                truth |= {name: EXACT[name](a + 1.5) for name in series.EXPANSIONS}
                for name, model in made.items():
                    at, off = enclosed(table, model, box, t)
                    count[name] += bool(abs(truth[name] - at) > off)
    return count


@pytest.mark.parametrize("size", [0.0, 1e-16, 1e-3, 0.05])
def test_operations_contain_what_they_should(size: float) -> None:
    assert not any(false_operations(size).values())


def _without(part: str) -> Callable[[Any], Any]:
    """Return a function of numbers, or of a model, that forgets one part of them."""
    return lambda numbers: type(numbers)(
        *(0 * getattr(numbers, name) if name == part else getattr(numbers, name) for name in numbers.__slots__[:-1])
    )


FORGOTTEN = {
    "what a product cuts off": (compositions, "_beyond", lambda left, right, order: 0 * left[0] * right[0]),
    "errors of coefficients in norms": (compositions, "sizes", lambda numbers: numbers.leading.abs()),
    "errors of coefficients in float64": (
        models.Model,
        "rounded",
        lambda f: AffineForm(f.coefficients.leading, f.radius),
    ),
    "roundings of remainders": (models, "gamma", lambda _: 0.0),
    "remainders": (compositions, "up", lambda bound, _: 0 * bound),
    "derivatives beyond": (
        compositions,
        "SERIES",
        {n: replace(s, beyond=lambda n, u, r: 0 * u) for n, s in SERIES.items()},
    ),
    "the last coefficient": (
        compositions,
        "EXPANSIONS",
        {n: lambda u, k, by=e: [*by(u, k)[:-1], by(u, k)[-1] * 0.0] for n, e in series.EXPANSIONS.items()},
    ),
    "errors of products": (compositions, "multiply", lambda x, y: forgetful(compositions_multiply(x, y))),
    "errors of sums": (compositions, "add", lambda x, y: forgetful(compositions_add(x, y))),
}
compositions_multiply, compositions_add = compositions.multiply, compositions.add


def forgetful(numbers: DoubleDouble) -> DoubleDouble:
    return DoubleDouble(*numbers.pair, 0 * numbers.radius)


@pytest.mark.parametrize("name", FORGOTTEN)
def test_without_any_part_of_a_remainder_the_same_test_fails(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*FORGOTTEN[name])
    assert any(any(false_operations(size).values()) for size in (0.05, 0.0, 1e-16))


@pytest.mark.parametrize("name", series.EXPANSIONS)
def test_coefficients_of_series_are_enclosed_and_accurate(name: str) -> None:
    points = [x for x in places_of(name) if abs(x) < 100]
    zero = torch.zeros(len(points), dtype=torch.float64)
    expanded = series.EXPANSIONS[name](DoubleDouble(torch.tensor(points, dtype=torch.float64), zero, zero), 10)
    for row, x in enumerate(points):
        with mp.workdps(60):
            true = mp.taylor(EXACT[name], mp.mpf(x), 9)
        size = max(map(abs, true)) + (abs(x) + 1) * 1e-3
        for coefficient, value in zip(expanded, true, strict=True):
            number = mp.mpf(coefficient.leading[row].item()) + mp.mpf(coefficient.trailing[row].item())
            off = coefficient.radius[row].item()
            assert abs(number - value) <= off + 1e-45 and off <= DIGITS * size
