"""Sobol direction numbers to the full 53 bits of a float64.

torch holds Joe and Kuo's direction numbers (Constructing Sobol sequences with better two-dimensional
projections, SIAM J. Sci. Comput. 30, 2008) for 21201 axes, but to 30 bits only, so that its points end at
index 2**30. Behind each axis stands a primitive polynomial x^s + a_1 x^(s-1) + ... + a_(s-1) x + 1 over GF(2)
with the recurrence (their eq. 2, ⊕ is exclusive or)

    m_k = 2 a_1 m_(k-1) ⊕ 4 a_2 m_(k-2) ⊕ ... ⊕ 2^(s-1) a_(s-1) m_(k-s+1) ⊕ 2^s m_(k-s) ⊕ m_(k-s),

every m_k odd and below 2^k. Read from the lowest bit up, one such equation gives a_1, a_2, ... one after the
other; the remaining ones of the 30 confirm them (s <= 18), and the recurrence then goes on to m_53.
"""

from __future__ import annotations

import functools

import numpy as np
from torch.quasirandom import SobolEngine

from hpcsweep.approx.supnorm.points.counter import BITS

MAXIMAL_DIMENSION = SobolEngine.MAXDIM
_MAXIMAL_DEGREE = 18


@functools.cache
def direction_numbers(dimension: int) -> np.ndarray:
    """Return the direction numbers of the first `dimension` axes, int64, (53, dimension), read-only.

    Row k is what bit k of the index contributes, as an integer of 53 bits: point i of the unscrambled
    sequence in natural order is the exclusive or of the rows that i selects, times 2**-53.
    """
    held = SobolEngine(dimension, scramble=False).sobolstate.tolist()  # (dimension, 30), 30-bit integers
    last = SobolEngine.MAXBIT - 1
    columns = [_extended([word >> (last - k) for k, word in enumerate(row)]) for row in held]
    rows = [[odd << (BITS - 1 - k) for odd in odds] for k, odds in enumerate(zip(*columns, strict=True))]
    numbers = np.array(rows, dtype=np.int64)
    numbers.flags.writeable = False  # every caller gets this one array
    return numbers


def _extended(odds: list[int]) -> list[int]:
    """Continue one axis' m_1, m_2, ... to m_53 by the recurrence that the given ones obey."""
    coefficients = _polynomial(odds)
    longer = list(odds)
    while len(longer) < BITS:
        longer.append(_next(longer, coefficients))
    return longer


def _polynomial(odds: list[int]) -> list[int]:
    """Return a_1 ... a_s (a_s = 1) of the smallest degree whose recurrence all the given numbers obey.

    The first axis (van der Corput: every m_k is 1) has no polynomial: degree 0.
    """
    if all(odd == 1 for odd in odds):
        return []
    for degree in range(1, _MAXIMAL_DEGREE + 1):
        coefficients = _read_off(odds, degree)
        if all(_next(odds[:k], coefficients) == odds[k] for k in range(degree, len(odds))):
            return coefficients
    raise RuntimeError("torch's Sobol direction numbers obey no recurrence: has their layout changed?")


def _read_off(odds: list[int], degree: int) -> list[int]:
    """Solve the first equation of a degree for its coefficients, from the lowest bit up."""
    rest = odds[degree] ^ odds[0]
    coefficients = []
    for j in range(1, degree):
        bit = rest >> j & 1  # m_(k-j) is odd: this bit is a_j plus what lower ones gave
        coefficients.append(bit)
        rest ^= (odds[degree - j] << j) * bit
    return [*coefficients, 1]


def _next(odds: list[int], coefficients: list[int]) -> int:
    """Return the number that follows the given ones."""
    if not coefficients:
        return 1
    word = odds[-len(coefficients)]
    for j, coefficient in enumerate(coefficients, start=1):
        word ^= (odds[-j] << j) * coefficient
    return word
