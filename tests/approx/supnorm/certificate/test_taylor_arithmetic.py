"""The arithmetic of Taylor models, operation by operation, against rational arithmetic and 50 digits."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest
import torch
from torch import Tensor

from hpcsweep.approx.kernels import polynomials as kernels
from hpcsweep.approx.supnorm.certificate.enclosure import AffineForm, rounding
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import TINY, gamma
from hpcsweep.approx.supnorm.certificate.enclosure.taylor import compositions
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.monomials import Monomials, monomials, of_order
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.series import SERIES, sigmoids
from tests.approx.supnorm.certificate import polynomials
from tests.approx.supnorm.certificate.exact import UNARY

SPACES = [(1, 1), (1, 7), (2, 4), (3, 3), (4, 2), (6, 2)]


def drawn(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """Coefficients (rows, columns) of very different sizes, some of them zero."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=(rows, columns)) * 10.0 ** generator.integers(-6, 1, (rows, columns))


# Polynomials


@pytest.mark.parametrize(("dimension", "order"), SPACES)
def test_monomials_and_their_products(dimension: int, order: int) -> None:
    table = monomials(dimension, order)
    exponents = table.exponents.tolist()
    assert len(exponents) == math.comb(dimension + order, order) == table.counts[-1] and not any(exponents[0])
    assert exponents[1 : 1 + dimension] == np.eye(dimension, dtype=int).tolist()
    assert [sum(a) for a in exponents] == sorted(sum(a) for a in exponents)
    for a, (first, last) in enumerate(zip(table.starts, table.starts[1:], strict=False)):
        pairs = table.pairs.reshape(-1, 2)[first:last].tolist()
        assert pairs[0] == [0, a] and len(set(map(tuple, pairs))) == math.prod(i + 1 for i in exponents[a])
        assert all(np.array_equal(table.exponents[i] + table.exponents[j], exponents[a]) for i, j in pairs)


@pytest.mark.parametrize(("dimension", "order"), SPACES)
@pytest.mark.parametrize("columns", [1, 16, 37])
def test_products_are_those_of_polynomials(dimension: int, order: int, columns: int) -> None:
    table = monomials(dimension, order)
    left, right = drawn(table.counts[-1], columns), drawn(table.counts[-1], columns, seed=1)
    with of_order(dimension, order):
        forms = [
            AffineForm(torch.from_numpy(part), torch.zeros(columns, dtype=torch.float64)) for part in (left, right)
        ]
        product = compositions.product(table, *forms)
    for column in range(0, columns, 5):
        first, second = left[:, column], right[:, column]
        whole = polynomials.times(polynomials.of(table, first), polynomials.of(table, second))
        sizes = polynomials.times(polynomials.of(table, abs(first)), polynomials.of(table, abs(second)))
        computed = polynomials.of(table, product.terms[:, column].numpy())
        kept = polynomials.norm({a: whole[a] - computed[a] for a in computed})
        cut, most = (polynomials.norm({a: x for a, x in p.items() if a not in computed}) for p in (whole, sizes))
        assert kept <= 1e-14 * polynomials.norm(sizes)
        assert cut + kept <= product.radius[column].item() <= most + 1e-13 * polynomials.norm(sizes)
        doubt = Fraction(gamma(table.most_pairs)) * polynomials.norm(sizes)
        assert most + doubt <= Fraction(product.radius[column].item())


@pytest.mark.parametrize(("dimension", "order"), SPACES[1:])
@pytest.mark.parametrize("degree", [1, 2])
def test_compositions_are_those_of_polynomials(dimension: int, order: int, degree: int) -> None:
    table, columns = monomials(dimension, order), 21
    rows = table.counts[degree]
    inner, outer = drawn(rows, columns), drawn(order + 1, columns, seed=1)
    form = AffineForm(torch.from_numpy(inner), torch.zeros(columns, dtype=torch.float64))
    terms, lost = compositions._composed(table, order, degree, form, torch.from_numpy(outer))
    for column in range(0, columns, 4):
        exact = polynomials.composed(outer[:, column], polynomials.of(table, inner[:, column]))
        off = polynomials.norm(polynomials.plus(exact, polynomials.of(table, terms[:, column].numpy()), -1))
        reach = float(np.abs(inner[1:, column]).sum())
        size = sum(abs(g) * reach**m for m, g in enumerate(outer[:, column]))
        if degree == 1:  # by the multinomial theorem: nothing is lost, but for roundings of each coefficient
            assert off <= gamma(3 * order + 2) * size
        else:
            assert off <= lost[column].item() * (1 + 1e-12) <= 1.0001 * size


def roundings_of_a_composition(doubt: float) -> int:
    """Count compositions of low degree, of which nothing is cut off, whose errors exceed the bound."""
    table, columns = monomials(2, 6), 64
    inner, outer = drawn(table.counts[2], columns, 3), drawn(7, columns, 4)
    outer[4:] = 0.0
    out, lost = np.empty(table.counts[-1] * columns), np.empty(columns)
    sizes, tables = (6, len(inner), columns), (table.degrees, table.starts, table.pairs)
    kernels.compose[np.float64](*sizes, doubt, 0.0, *tables, inner.reshape(-1), outer.reshape(-1), out, lost)
    count = 0
    for column in range(columns):
        exact = polynomials.composed(outer[:, column], polynomials.of(table, inner[:, column]))
        computed = polynomials.of(table, out.reshape(-1, columns)[:, column])
        count += polynomials.norm(polynomials.plus(exact, computed, -1)) > lost[column] * (1 + 1e-12)
    return count


def test_horner_counts_its_roundings() -> None:
    assert roundings_of_a_composition(gamma(monomials(2, 6).most_pairs)) == 0
    assert roundings_of_a_composition(0.0) > 50


def test_what_underflows_in_a_product_is_counted() -> None:
    small = AffineForm(torch.full((3, 1), 1e-200, dtype=torch.float64), torch.zeros(1).double())
    product = compositions.product(monomials(1, 4), small, small)
    assert (product.terms == 0.0).all() and product.radius.item() > 0.0


def test_products_of_remainders_are_counted() -> None:
    wide = AffineForm(torch.zeros(1, 1).double(), torch.ones(1).double())
    assert compositions.product(monomials(1, 4), wide, wide).radius.item() >= 1.0


def of_alone(columns: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return what the first column of a composition is, with so many others behind it."""

    def first(coefficients: np.ndarray) -> np.ndarray:
        table = monomials(2, 4)
        terms = torch.from_numpy(np.concatenate([coefficients, drawn(table.counts[-1], columns - 1, 7)], axis=1))
        form = AffineForm(terms, torch.zeros(columns, dtype=torch.float64))
        with of_order(2, 4):
            result = compositions.compose(table, "tanh", form, lambda part: part)
            return torch.cat([result.terms[:, 0], result.radius[:1]]).numpy()

    return first


def test_bits_do_not_depend_on_company() -> None:
    coefficients = drawn(monomials(2, 4).counts[-1], 1, 5) * 0.1
    assert all(np.array_equal(of_alone(columns)(coefficients), of_alone(1)(coefficients)) for columns in (2, 16, 33))


def by_the_formula(table: Monomials, name: str, form: AffineForm, column: int) -> Fraction:
    """The remainder of g(form) as the proof in `compositions` has it, by rational arithmetic."""
    rule, order = SERIES[name], table.order
    p = polynomials.of(table, form.terms[:, column].numpy())
    constant = next(a for a in p if not any(a))
    p = {a: x for a, x in p.items() if a != constant}
    h, r = polynomials.norm(p), Fraction(form.radius[column].item())
    u, radii = form.center[[column]], torch.tensor([float(h + r)], dtype=torch.float64)
    known = rule.expand(u, order + 2)
    g = [Fraction(part.item()) for part in known.coefficients]
    scale = Fraction(float(known.scale))
    errors = [Fraction(known.relative) * abs(x) for x in g]
    errors = [e + Fraction((*known.absolute, *[0.0] * 99)[m]) * scale for m, e in enumerate(errors)]
    tail = (abs(g[-1]) + errors[-1]) * h ** (order + 1)
    tail += Fraction(rule.beyond(order + 2, u, radii).item()) * h ** (order + 2)
    slopes = [Fraction(rule.beyond(n, u, radii).item()) for n in (1, 2)]
    slope = min(slopes[0], abs(g[1]) + errors[1] + 2 * slopes[1] * (h + r))
    lost, total = Fraction(0), {constant: g[order]}
    for m in reversed(range(order)):
        product = polynomials.times(total, p)
        sizes = polynomials.times(*({a: abs(x) for a, x in part.items()} for part in (total, p)))
        lost = lost * h + polynomials.norm({a: x for a, x in sizes.items() if sum(a) > order - m})
        lost += Fraction(gamma(table.most_pairs)) * polynomials.norm(total) * h
        total = {a: x for a, x in product.items() if sum(a) <= order - m} | {constant: g[m]}
    if len(form.terms) == 1 + table.dimension:
        lost = sum((Fraction(gamma(3 * m + 1)) * abs(g[m]) * h**m for m in range(1, order + 1)), Fraction(0))
    return lost + tail + slope * r + sum(e * h**m for m, e in enumerate(errors[:-1]))


@pytest.mark.parametrize("name", SERIES)
@pytest.mark.parametrize(("dimension", "order", "degree"), [(1, 4, 3), (2, 3, 2), (2, 3, 1), (3, 2, 2)])
def test_remainders_are_those_of_the_proof(name: str, dimension: int, order: int, degree: int) -> None:
    table, columns = monomials(dimension, order), 12
    terms = torch.from_numpy(drawn(table.counts[degree], columns, 9)) * 0.05
    terms[0] = terms[0].abs() + 0.7
    radius = torch.from_numpy(10.0 ** -np.random.default_rng(1).uniform(1, 18, columns))
    form = AffineForm(terms, radius)
    with of_order(dimension, order):
        result = compositions.compose(table, name, form, lambda part: AffineForm(part.terms, part.radius + math.inf))
    for column in range(columns):
        least = by_the_formula(table, name, form, column)
        assert least <= Fraction(result.radius[column].item()) <= least * Fraction(1.001) + Fraction(1e-15)


# Series

PLACES = [*np.linspace(-4, 4, 17), -30.0, 1e-8, 12.5, 40.0, 700.0, -1e5]
WHERE: dict[str, Callable[[float], bool]] = {
    "log": lambda x: x > 0.1,
    "sqrt": lambda x: x > 0.1,
    "reciprocal": lambda x: abs(x) > 0.1,
    "exp": lambda x: abs(x) < 600,
    "cosh": lambda x: abs(x) < 600,
}
EXACT = {**UNARY, "softplus": lambda x: mp.log(1 + mp.exp(x)), "arctan": mp.atan}
COUNT = 10


def places_of(name: str) -> list[float]:
    return [x for x in PLACES if WHERE.get(name, lambda x: True)(x)]


def exact_coefficients(name: str, x: float, count: int = COUNT) -> list[mp.mpf]:
    """By a contour around x, with 50 digits of their sizes."""
    with mp.workdps(60):
        function = EXACT[name]
        if name == "gelu":
            function = lambda z: z * (1 + mp.erf(z / mp.sqrt(2))) / 2  # noqa: E731
        return mp.taylor(function, mp.mpf(x), count - 1)


def coefficient_errors(name: str) -> list[str]:
    """One line for each coefficient that is further from the true one than its bound."""
    found, places = [], places_of(name)
    expanded = SERIES[name].expand(torch.tensor(places, dtype=torch.float64), COUNT)
    for row, x in enumerate(places):
        scale = expanded.scale[row].item() if isinstance(expanded.scale, Tensor) else expanded.scale
        for m, true in enumerate(exact_coefficients(name, x)):
            value = expanded.coefficients[m][row].item()
            bound = expanded.relative * abs(value) + TINY
            bound += expanded.absolute[m] * scale if expanded.absolute else 0.0
            if abs(mp.mpf(value) - true) > bound:
                found.append(f"{name}_{m} at {x}: {value} instead of {true}, bound {bound}")
    return found


@pytest.mark.parametrize("name", SERIES)
def test_coefficients_err_by_their_bounds(name: str) -> None:
    assert coefficient_errors(name) == []
    with rounding.ignored():
        assert len(coefficient_errors(name)) > 10


@pytest.mark.parametrize("name", SERIES)
def test_remainders_are_bounded(name: str) -> None:
    """At places inside of intervals of all sizes; not by much more than the largest of them."""
    places = [x for x in places_of(name) if abs(x) < 13 and (name not in WHERE or abs(x) > 0.4)]
    for radius in (0.02, 0.3):
        centers = torch.tensor(places, dtype=torch.float64)
        inside = {(x, e): exact_coefficients(name, x + e * radius) for x in places for e in (-1.0, 0.4, 1.0)}
        for n in range(1, COUNT):
            bounds = SERIES[name].beyond(n, centers, torch.full_like(centers, radius))
            truth = [max(abs(inside[x, e][n]) for e in (-1.0, 0.4, 1.0)) for x in places]
            assert all(true <= bound for true, bound in zip(truth, bounds.tolist(), strict=True))
            assert bounds.isfinite().all() and bounds.max() <= 40 * float(max(truth)) + 1e-6


def test_the_constants_of_tanh_are_maxima() -> None:
    """|p_n| on [-1, 1], by its values on a grid and its slopes in between."""
    grid = np.linspace(-1, 1, 100_001)
    p = np.polynomial.Polynomial([1.0])
    for n, constant in enumerate(sigmoids._TANH, start=1):
        between = np.abs(p.deriv().coef).sum() * (grid[1] - grid[0]) / 2 if n > 1 else 0.0
        largest = np.abs(p(grid)).max() / math.factorial(n)
        assert largest <= constant <= 1.0001 * largest and between / math.factorial(n) < 2e-2
        p = (np.polynomial.Polynomial([1.0, 0.0, -1.0]) * p).deriv()
