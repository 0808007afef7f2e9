"""A generating vector for a rank-1 lattice of 2^m points, by a rule that needs no table and knows any m.

Korobov's form z = (1, a, a^2, ...) mod N leaves one number to choose. The lattice seen on the axes i < j
depends on a^(j-i) only, and its quality is the length of the shortest nonzero h with h_1 + h_2 a^(j-i) = 0
mod N: all points lie on lines at most 1 over that length apart (the spectral test: Knuth, The Art of Computer
Programming 2, 3.3.4). We take, of 128 odd numbers spread by the golden ratio, the one whose worst pair of
axes (at distance up to 16) is best. The rule keeps the bad ones out; it finds no optimum, and knows
nothing of three axes at once.
"""

from __future__ import annotations

_CANDIDATES = 128
_DISTANCES = 16
_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio


def generating_vector(dimension: int, exponent: int) -> list[int]:
    """Return z, `dimension` odd integers below 2**exponent (0 for one point); z_1 = 1.

    Odd entries make every 1-D projection complete: each multiple of 1/N occurs exactly once. Powers of an odd
    number repeat after N/4 at the latest, so that axes coincide where `dimension` exceeds N/4.
    """
    size = 1 << exponent
    best = max(_candidates(exponent), key=lambda multiplier: _worst_pair(multiplier, size, dimension))
    return [pow(best, axis, size) for axis in range(dimension)]


def _candidates(exponent: int) -> list[int]:
    """Return odd numbers below 2**exponent: the leading bits of multiples of the golden ratio."""
    size = 1 << exponent
    return [((c * _GOLDEN % 2**64) >> (64 - exponent) | 1) % size for c in range(1, _CANDIDATES + 1)]


def _worst_pair(multiplier: int, size: int, dimension: int) -> int:
    """Return the smallest squared length over the pairs of axes; the size for a single axis."""
    distances = range(1, min(dimension, _DISTANCES + 1))
    return min((shortest_squared(pow(multiplier, k, size), size) for k in distances), default=size)


def shortest_squared(ratio: int, size: int) -> int:
    """Return the least nonzero h_1^2 + h_2^2 with h_1 + h_2 * ratio = 0 mod `size` (Gauss's reduction)."""
    longer, shorter = (size, 0), (-ratio, 1)
    if _product(shorter, shorter) > _product(longer, longer):
        longer, shorter = shorter, longer
    while True:
        length = _product(shorter, shorter)
        # The nearest integer to the quotient, without leaving the integers.
        times = (2 * _product(longer, shorter) + length) // (2 * length)
        longer = (longer[0] - times * shorter[0], longer[1] - times * shorter[1])
        if _product(longer, longer) >= length:
            return length
        longer, shorter = shorter, longer


def _product(left: tuple[int, int], right: tuple[int, int]) -> int:
    return left[0] * right[0] + left[1] * right[1]
