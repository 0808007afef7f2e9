"""The generator of the Kronecker sequence R_d in fixed point, for any dimension and without a table.

Point i is frac(i alpha + shift) with alpha_j = g^-j, where g is the generalized golden ratio of dimension d: the
positive root of x^(d+1) = x + 1 (Roberts, The unreasonable effectiveness of quasirandom sequences, 2018; for d = 1 it
is the golden ratio, and no other number has multiples that are spread more evenly).
"""

from __future__ import annotations

import decimal

FRACTION_BITS = 64
_DIGITS = 60  # 64 bits are 20 of them


def generator(dimension: int) -> list[int]:
    """Return alpha_1 ... alpha_dimension as odd integers, in units of 2**-64, each within 1 of the truth.

    Odd, so that every axis runs through all 2**64 multiples before it repeats. The sequence is that of these rationals,
    exactly: i times the rounding, 2**-64, is less than the distance of neighbours up to i = 2**32 for certain, and
    beyond it the points are those of a lattice of 2**64 points, of which there is no better knowledge.
    """
    with decimal.localcontext(prec=_DIGITS):
        inverse = 1 / _golden(dimension)
        powers = [inverse**axis for axis in range(1, dimension + 1)]
        return [int(power * 2**FRACTION_BITS) | 1 for power in powers]


def _golden(dimension: int) -> decimal.Decimal:
    """Return the root of x^(dimension + 1) = x + 1 above 1, by Newton's method from above, where it is monotone."""
    root = decimal.Decimal(2)
    while True:
        power = root**dimension
        better = root - (power * root - root - 1) / ((dimension + 1) * power - 1)
        if better >= root or root - better < decimal.Decimal(10) ** (5 - _DIGITS):
            return better
        root = better
