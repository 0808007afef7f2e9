"""Constants and tables of double-doubles, made once by decimal arithmetic with 60 digits.

`decimal` rounds its sums, products, exponentials and logarithms correctly; the series below end where their terms are
below 10^-55 of a value of about 1. A pair is a number rounded twice: off by less than u^2 of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor

DIGITS = 60
_END = Decimal(10) ** -(DIGITS - 5)


def _precisely(function: Callable[..., Any]) -> Callable[..., Any]:
    """Call the decorated function in decimal arithmetic of `DIGITS` digits, once for each arguments."""

    @cache
    def computed(*args: Any) -> Any:
        with localcontext() as context:
            context.prec = DIGITS
            return function(*args)

    return computed


def parts(value: Decimal, count: int = 2) -> tuple[float, ...]:
    """Return a number as a sum of float64 numbers, each the nearest to what those before it leave."""
    with localcontext() as context:
        context.prec = 3 * DIGITS
        found = []
        for _ in range(count):
            found.append(float(value))
            value -= Decimal(found[-1])
        return tuple(found)


@_precisely
def pi() -> Decimal:
    """Return pi, by Machin's formula 16 arctan(1/5) - 4 arctan(1/239)."""
    return 16 * _inverse_arctan(5) - 4 * _inverse_arctan(239)


def _inverse_arctan(whole: int) -> Decimal:
    """Return arctan(1 / whole), by its series."""
    power, total, k = 1 / Decimal(whole), Decimal(0), 0
    while abs(power) > _END / 100:
        total += power / (2 * k + 1)
        power /= -whole * whole
        k += 1
    return total


@_precisely
def arc(count: int) -> tuple[float, ...]:
    """Return 2 pi / count as a sum of three float64 numbers."""
    return parts(2 * pi() / count, 3)


@_precisely
def octave(count: int, bits: int) -> tuple[float, ...]:
    """Return log 2 / count rounded down to a multiple of 2^-bits, and two float64 numbers for the rest."""
    step = log_two() / count
    first = math.floor(step * 2**bits)
    return first / 2**bits, *parts(step - Decimal(first) / 2**bits)


@_precisely
def log_two() -> Decimal:
    """Return log 2."""
    return Decimal(2).ln()


@_precisely
def root_half() -> Decimal:
    """Return the square root of 1/2."""
    return Decimal("0.5").sqrt()


@_precisely
def inverse_factorial(n: int) -> Decimal:
    """Return 1 / n!."""
    return Decimal(1) if n == 0 else inverse_factorial(n - 1) / n


@_precisely
def powers(count: int) -> tuple[Tensor, Tensor]:
    """Return 2^(j / count) for j = 0, ..., count - 1, as pairs (count,)."""
    return _columns([(log_two() * j / count).exp() for j in range(count)])


@_precisely
def circle(count: int) -> tuple[Tensor, Tensor]:
    """Return sin and cos of 2 pi j / count for j = 0, ..., count - 1, as pairs (2, count); exact at quarters."""
    angles = [2 * pi() * j / count for j in range(count)]
    sines = [
        _sine(angle) if (4 * j) % count else Decimal((0, 1, 0, -1)[4 * j // count]) for j, angle in enumerate(angles)
    ]
    sines_high, sines_low = _columns(sines)
    return (
        torch.stack([sines_high, sines_high.roll(-(count // 4))]),
        torch.stack([sines_low, sines_low.roll(-(count // 4))]),
    )


def _sine(angle: Decimal) -> Decimal:
    """Return sin(angle) for 0 <= angle < 2 pi; 15 digits more pay for the terms of up to 60 that cancel."""
    with localcontext() as context:
        context.prec = DIGITS + 15
        term, total, k = angle, Decimal(0), 1
        while abs(term) > _END / 100:
            total += term
            term *= -angle * angle / ((k + 1) * (k + 2))
            k += 2
        return total


@_precisely
def error_function(per_unit: int, last: int, terms: int) -> tuple[Tensor, Tensor]:
    """Return the coefficients of erf(c + h) in powers of h, (terms, centers), at c = i / per_unit, as pairs.

    erf' = g with g' = -2 x g, so that (k + 1) g_(k+1) = -2 c g_k - 2 g_(k-1) for its coefficients.
    """
    columns = []
    for i in range(per_unit * last + 1):
        center = Decimal(i) / per_unit
        slope = [2 * (-center * center).exp() / pi().sqrt()]
        for k in range(terms - 2):
            before = slope[k - 1] if k else Decimal(0)
            slope.append((-2 * center * slope[k] - 2 * before) / (k + 1))
        columns.append(_columns([_erf(center, slope[0])] + [part / (k + 1) for k, part in enumerate(slope)]))
    return torch.stack([high for high, _ in columns], 1), torch.stack([low for _, low in columns], 1)


def _erf(x: Decimal, slope: Decimal) -> Decimal:
    """Return erf(x) = erf'(x) sum_n 2^n x^(2 n + 1) / (1 * 3 * ... * (2 n + 1)), of positive terms."""
    term, total, n = x, Decimal(0), 0
    while term > total * _END:
        total += term
        n += 1
        term *= 2 * x * x / (2 * n + 1)
    return slope * total


def _columns(values: list[Decimal]) -> tuple[Tensor, Tensor]:
    high, low = torch.tensor([parts(value) for value in values], dtype=torch.float64).T.contiguous()
    return high, low
