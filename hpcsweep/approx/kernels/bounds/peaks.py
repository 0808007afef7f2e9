"""Upper bounds of polynomials on the unit cube by branch and bound: the polynomial is shifted, not computed anew.

In the part center + half s of the cube, |s_i| <= 1, a polynomial p has other coefficients q in s. On each axis the
maximum of g s + a s^2 is taken exactly, of all other terms the absolute values. Parts whose bound is above the level
are halved. Centers and halves are dyadic and exact, and |center_i| + half_i <= 1, so that the absolute values of all q
add up to at most |p|, those of p, after every axis. All roundings are therefore a share of |p|, see `roundings`.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from hpcsweep.approx.kernels.compiling import INTEGER, INTEGERS, NOTHING, VECTOR, entry, inlined

_PARTS: Final = 96  # of one polynomial, at most


def roundings(rows: int, dimension: int, order: int) -> int:
    """Return how many roundings of |p| a bound of so many terms has at most, and a remainder that is added to it.

    For each axis: a factor has up to 2 order + 2, a product with it one, and the sum of at most order + 1 as many.
    """
    return rows + dimension * (3 * order + 12) + 16


@inlined
def _shift(
    order: int,
    rows: int,
    center: float,
    half: float,
    moves: np.ndarray,
    first: int,
    last: int,
    factors: np.ndarray,
    q: np.ndarray,
    moved: np.ndarray,
) -> None:
    """Put center + half s in the place of one coordinate: t^n = sum_k (n over k) center^(n - k) half^k s^k."""
    factors[0] = 1.0
    for n in range(1, order + 1):
        own, before = n * (order + 1), (n - 1) * (order + 1)
        factors[own + n] = factors[before + n - 1] * half
        for k in range(n - 1, 0, -1):
            factors[own + k] = factors[before + k - 1] * half + factors[before + k] * center
        factors[own] = factors[before] * center
    for b in range(rows):
        moved[b] = 0.0
    for move in range(first, last):
        moved[moves[3 * move + 1]] += q[moves[3 * move]] * factors[moves[3 * move + 2]]
    for b in range(rows):
        q[b] = moved[b]


@inlined
def _bound(
    dimension: int, rows: int, exponents: np.ndarray, squares: np.ndarray, q: np.ndarray, shares: np.ndarray
) -> float:
    """Return an upper bound of q on the cube; write what the terms that are not linear contribute, by axis."""
    bound = q[0]
    for axis in range(dimension):
        shares[axis] = 0.0
    for a in range(1 + dimension, rows):
        size, square = abs(q[a]), False
        for axis in range(dimension):
            shares[axis] += exponents[a * dimension + axis] * size
            square |= squares[axis] == a
        if not square:
            bound += size
    for axis in range(dimension):
        slope, bent = abs(q[1 + axis]), q[squares[axis]]
        if bent < 0.0 and slope < -2.0 * bent:  # the highest point is inside
            bound += slope * (slope / (-4.0 * bent))
        else:
            bound += slope + bent
    return bound


@entry(NOTHING, INTEGER, INTEGER, INTEGER, INTEGER, *[INTEGERS] * 4, *[VECTOR] * 4)
def peaks(
    order: int,
    dimension: int,
    rows: int,
    columns: int,
    exponents: np.ndarray,
    squares: np.ndarray,
    starts: np.ndarray,
    moves: np.ndarray,
    terms: np.ndarray,
    rest: np.ndarray,
    levels: np.ndarray,
    out: np.ndarray,
) -> None:
    """Write upper bounds of polynomials plus `rest` that are at most the level; infinite where none is found.

    Parameters
    ----------
    exponents, squares, starts, moves: see `taylor.monomials`, of order 2 or more
    terms: (rows, columns), coefficients
    rest, levels: (columns,)
    out: (columns,)
    """
    q, moved, factors = np.empty(rows), np.empty(rows), np.empty((order + 1) * (order + 1))
    centers, halves = np.empty((_PARTS + 1) * dimension), np.empty((_PARTS + 1) * dimension)
    shares = np.empty(dimension)
    for column in range(columns):
        highest, level, open_parts, done = -np.inf, levels[column], 1, 0
        for axis in range(dimension):
            centers[axis], halves[axis] = 0.0, 1.0
        while open_parts > 0:
            own = (open_parts - 1) * dimension
            for a in range(rows):
                q[a] = terms[a * columns + column]
            if done > 0:
                for axis in range(dimension):
                    _shift(order, rows, centers[own + axis], halves[own + axis], moves, starts[axis], starts[axis + 1],
                           factors, q, moved)  # fmt: skip
            bound = _bound(dimension, rows, exponents, squares, q, shares) + rest[column]
            done += 1
            if bound <= level:
                highest = max(highest, bound)
                open_parts -= 1
                continue
            if done + open_parts > _PARTS or not q[0] + rest[column] <= level:
                highest = np.inf
                break
            longest = 0
            for axis in range(1, dimension):
                if shares[axis] > shares[longest]:
                    longest = axis
            for axis in range(dimension):
                centers[own + dimension + axis] = centers[own + axis]
                halves[own + dimension + axis] = halves[own + axis]
            half = halves[own + longest] / 2
            toward = half if q[1 + longest] >= 0.0 else -half  # where it rises comes first
            centers[own + dimension + longest] = centers[own + longest] + toward
            centers[own + longest] -= toward
            halves[own + dimension + longest] = halves[own + longest] = half
            open_parts += 1
        out[column] = highest
