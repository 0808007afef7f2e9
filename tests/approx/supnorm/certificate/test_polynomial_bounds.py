"""Upper bounds of polynomials on boxes: by a line, and by branch and bound below a level."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from hpcsweep.approx.supnorm.certificate.enclosure import AffineForm, rounding
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.difference import _peaks, _upper_bound
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.monomials import monomials
from tests.approx.supnorm.certificate import polynomials
from tests.approx.supnorm.certificate.test_taylor_arithmetic import drawn


@pytest.mark.parametrize(("dimension", "order"), [(1, 1), (1, 3), (2, 2), (3, 3)])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_line_is_above_the_polynomial(dimension: int, order: int, sign: float) -> None:
    table, columns = monomials(dimension, order), 200
    terms = torch.from_numpy(drawn(table.counts[-1], columns, dimension))
    zero = torch.zeros(columns, dtype=torch.float64)
    form = AffineForm(terms, zero)
    bound = _upper_bound(table, form, sign, torch.zeros(columns, dimension, dtype=torch.float64), math.inf)
    generator, largest = np.random.default_rng(0), np.full(columns, -np.inf)
    corners = np.array(np.meshgrid(*[[-1.0, 1.0]] * dimension)).reshape(dimension, -1).T
    for t in [*generator.uniform(-1, 1, (300, dimension)), *corners]:
        values = sign * (terms.numpy() * np.prod(t**table.exponents, axis=1)[:, None]).sum(0)
        line = bound.center.numpy() + bound.slopes.numpy() @ t
        assert (values <= line + 1e-15).all()
        largest = np.maximum(largest, values)
    assert (largest <= bound.top().numpy() + 1e-15).all()
    if order < 3 and dimension == 1:
        assert np.median(bound.top().numpy() - largest) < 1e-3


def exceeded_by_roundings() -> int:
    table = monomials(1, 2)
    terms = torch.from_numpy(np.random.default_rng(5).normal(size=(3, 300)))
    zero = torch.zeros(300, dtype=torch.float64)
    bound = _upper_bound(table, AffineForm(terms, zero), 1.0, zero[:, None], math.inf)
    return sum(
        max(sum(polynomials.of(table, column * signs).values()) for signs in (np.ones(3), np.array([1.0, -1.0, 1.0])))
        > Fraction(float(top))
        for column, top in zip(terms.numpy().T, bound.top(), strict=True)
    )


def test_the_sum_counts_its_roundings() -> None:
    assert exceeded_by_roundings() == 0
    with rounding.ignored():
        assert exceeded_by_roundings() > 20


@pytest.mark.parametrize(("dimension", "order"), [(1, 2), (1, 7), (2, 5), (3, 4), (6, 3)])
def test_bounds_below_a_level_hold_and_are_found_where_polynomials_are_below_it(dimension: int, order: int) -> None:
    table, columns = monomials(dimension, order), 60
    generator = np.random.default_rng(order)
    terms = generator.normal(size=(table.counts[-1], columns)) * 4.0 ** -table.exponents.sum(1)[:, None]
    corners = np.array(np.meshgrid(*[[-1.0, 1.0]] * dimension)).reshape(dimension, -1).T
    points = [*corners, *generator.uniform(-1, 1, (2000, dimension))]
    largest = np.max([terms.T @ np.prod(t**table.exponents, axis=1) for t in points], axis=0)
    form = AffineForm(torch.from_numpy(terms), torch.full((columns,), 1e-9, dtype=torch.float64))
    share, found = torch.zeros(columns, dimension, dtype=torch.float64), []
    for room in (-1e-6, 0.01, 0.3):
        for column in range(columns):
            one = AffineForm(form.terms[:, column : column + 1], form.radius[column : column + 1])
            level = float(largest[column]) + room
            bound = _upper_bound(table, one, 1.0, share[:1], level)
            closer = float(bound.least())
            assert closer >= largest[column] and (float(bound.closer) <= level or float(bound.closer) == math.inf)
            found.append(closer <= level)
    below, little, much = np.array(found).reshape(3, -1).mean(1)
    assert below == 0.0 and much > 0.9 and little > (0.9 if dimension == 1 else 0.3 if dimension < 4 else 0.0)


def peaks_exceeded_by_roundings() -> int:
    table = monomials(2, 3)
    terms = np.abs(np.random.default_rng(6).normal(size=(table.counts[-1], 300)))  # the highest point is a corner
    exact = [sum(map(Fraction, column.tolist())) for column in terms.T]
    mass, zero = torch.from_numpy(terms.sum(0)), torch.zeros(300, dtype=torch.float64)
    tops = _peaks(table, torch.from_numpy(terms), zero, mass, 2 * float(mass.max()))
    return sum(Fraction(float(top)) < total for top, total in zip(tops, exact, strict=True))


def test_bounds_below_a_level_count_their_roundings() -> None:
    assert peaks_exceeded_by_roundings() == 0
    with rounding.ignored():
        assert peaks_exceeded_by_roundings() > 20
