"""Sums and products of float64 without error, and what follows: numbers x = x_h + x_l of two float64.

u = 2^-53; fl is rounding to nearest, so that |fl(a + b) - (a + b)| <= u |fl(a + b)|. No product here is fused with a
sum, whatever a library does: every torch call is one operation. All pairs that leave this module have
|x_l| <= u |x_h|, being the sum and the error of a sum. Overflow makes the second part NaN. No sum underflows (denormal
numbers must not be flushed to zero: `keeps_denormals`). A product may, by 2^-1074; callers add `TINY` for it, which is
so much larger that it covers what follows from an underflow as well.

Knuth, The Art of Computer Programming, vol. 2, section 4.2.2; Dekker, A floating-point technique for extending the
available precision, Numer. Math. 18 (1971); Joldes, Muller and Popescu, Tight and rigorous error bounds for basic
building blocks of double-word arithmetic, ACM Trans. Math. Softw. 44 (2017), who also give the classical algorithms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.kernels.bounds import double_double

Pair = tuple[Tensor, Tensor]
Number = Tensor | float

_SPLITTER = 2.0**27 + 1.0


def keeps_denormals() -> bool:
    """Return whether this processor computes with denormal numbers, as IEEE 754 asks."""
    return bool(torch.full((1,), 2.0**-1074, dtype=torch.float64).mul(1.0) > 0.0)


def two_sum(a: Tensor, b: Number) -> Pair:
    """Return fl(a + b) and its error, exactly (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)).add_(b - part)


def fast_two_sum(a: Tensor, b: Tensor) -> Pair:
    """Return the same for |a| >= |b|, or a = 0 (Dekker)."""
    total = a + b
    return total, torch.sub(b, total - a)


def split(a: Tensor) -> Pair:
    """Return a as a sum of two numbers of 26 bits (Veltkamp); NaN above 2^996."""
    large = a * _SPLITTER
    high = large - (large - a)
    return high, a - high


def two_product(a: Tensor, b: Tensor) -> Pair:
    """Return fl(a b) and its error, exactly but for underflow (Dekker)."""
    product = a * b
    (a_high, a_low), (b_high, b_low) = split(a), split(b)
    error = (a_high * b_high).sub_(product).addcmul_(a_high, b_low).addcmul_(a_low, b_high)
    return product, error.addcmul_(a_low, b_low)


def add(x: Pair, y: Pair) -> Pair:
    """Return x + y with an error of at most 4 u^2 (|x_h| + |y_h|), and of at most 2 (|x_l| + |y_l|).

    With M = |x_h| + |y_h|: |x_l + y_l| <= u M, whose rounding is at most u^2 M (1 + u); the error of x_h + y_h is at
    most u M, so that the last sum is at most 2 u M (1 + 2 u) and its rounding at most 2 u^2 M (1 + 2 u). Also, a sum
    is rounded by no more than either of its terms, so that the last one is by no more than |x_l + y_l|.
    """
    total, error = two_sum(x[0], y[0])
    return two_sum(total, error.add_(x[1] + y[1]))


def multiply(x: Pair, y: Pair) -> Pair:
    """Return x y with an error of at most 9 u^2 |result|, and of at most 3 (|x_h y_l| + |x_l y_h|), without underflow.

    With P = |x_h y_h|: x_l y_l, left out, is at most u^2 P; both other products are at most u P each and round by
    u^2 P each; their sum, at most 2 u P, rounds by 2 u^2 P; with the error of x_h y_h, at most u P, the sum is at most
    3 u P and rounds by 3 u^2 P: 8 u^2 P in all, up to factors 1 + 4 u; and P <= |result| (1 + 4 u). Also, the last sum
    is rounded by no more than the sum of both other products, and all the rest is below u times their sizes.
    """
    product, error = two_product(x[0], y[0])
    return fast_two_sum(product, error.add_((x[0] * y[1]).add_(x[1] * y[0])))


def reciprocal(y: Pair) -> Pair:
    """Return 1 / y with an error of at most 16 u^2 |result|, without underflow.

    With q = fl(1 / y_h) and e = 1 - q y: 1 / y = q (1 + e + e^2 + ...). fl(q y_h) is within 2 u of 1, so that its
    difference from 1 is exact. |e| <= 4 u; three sums of at most 4 u round by 4 u^2 each, q y_l by u^2, the last
    product by 4 u^2 times |q|; e^3 is nothing.
    """
    quotient = 1.0 / y[0]
    product, error = two_product(y[0], quotient)
    rest = (1.0 - product).sub_(error).sub_(y[1] * quotient)
    return fast_two_sum(quotient, rest.mul_(1.0 + rest).mul_(quotient))


def _polynomial(x: Pair, coefficients: Sequence[Pair], tail: Sequence[Number]) -> Pair:
    """Return the same by compiled loops, for coefficients that are one number each."""
    pairs = np.array([float(part) for pair in coefficients for part in pair])
    high, low = (part.contiguous().numpy().reshape(-1) for part in x)
    # In the order of the indices, wherever x has its numbers: a transposed tensor would be flattened into a copy.
    result = x[0].new_empty(x[0].shape), x[0].new_empty(x[0].shape)
    out = [part.numpy().reshape(-1) for part in result]
    double_double.polynomial[np.float64](high, low, pairs, np.array([float(part) for part in tail]), *out)
    return result


def polynomial(x: Pair, coefficients: Sequence[Pair], tail: Sequence[Number]) -> Pair:
    """Return sum_i c_i x^i + x^n sum_j t_j x^j, with n pairs c_i and float64 t_j, by Horner's scheme.

    The tail is evaluated in float64. Where |x| <= 2^-4 and |c_(i+1)|, |t_j| are at most 8 |c_i|, ... the callers say
    what the error is: that of the last sum, 4 u^2 (|c_0| + |x p|), the last product's, 9 u^2 |x p|, and |x| times the
    same of the step before, and so on.
    """
    if x[0].device.type == "cpu" and not any(
        isinstance(part, Tensor) and part.ndim for part in (*tail, coefficients[0][0])
    ):
        return _polynomial(x, coefficients, tail)
    value = torch.zeros_like(x[0]) + tail[-1]
    for coefficient in reversed(tail[:-1]):
        value = (value * x[0]).add_(coefficient)
    result = (value, torch.zeros_like(value))
    for constant in reversed(coefficients):
        result = add(constant, multiply(result, x))
    return result
