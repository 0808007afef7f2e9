"""Polynomials in several variables by rational arithmetic: slow, naive and exact."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from hpcsweep.approx.supnorm.certificate.enclosure.taylor.monomials import Monomials

Polynomial = dict[tuple[int, ...], Fraction]


def of(table: Monomials, coefficients: Sequence[float] | np.ndarray) -> Polynomial:
    """Return the polynomial with these coefficients, one for each monomial as far as they go."""
    exponents = map(tuple, table.exponents.tolist())
    return {a: Fraction(float(c)) for a, c in zip(exponents, coefficients, strict=False)}


def plus(left: Polynomial, right: Polynomial, factor: Fraction = Fraction(1)) -> Polynomial:
    """Return left + factor * right."""
    return {a: left.get(a, Fraction(0)) + factor * right.get(a, Fraction(0)) for a in left.keys() | right.keys()}


def times(left: Polynomial, right: Polynomial) -> Polynomial:
    """Return the product, of all degrees."""
    product: Polynomial = {}
    for a, x in left.items():
        for b, y in right.items():
            both = tuple(i + j for i, j in zip(a, b, strict=True))
            product[both] = product.get(both, Fraction(0)) + x * y
    return product


def composed(outer: Sequence[float] | np.ndarray, inner: Polynomial) -> Polynomial:
    """Return sum_m outer_m p^m of all degrees, p = inner without its constant."""
    constant = next(a for a in inner if not any(a))
    inner = {a: x for a, x in inner.items() if a != constant}
    total: Polynomial = {constant: Fraction(0)}
    for coefficient in reversed(list(outer)):
        total = plus(times(total, inner), {constant: Fraction(float(coefficient))})
    return total


def norm(polynomial: Polynomial) -> Fraction:
    """Return the sum of the absolute values of the coefficients."""
    return sum(map(abs, polynomial.values()), Fraction(0))
