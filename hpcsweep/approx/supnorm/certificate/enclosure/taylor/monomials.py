"""The monomials of Taylor models, and which order forms have at present.

A form (`affine.AffineForm`) whose terms have more rows than the center and the slopes is a Taylor model: a row for each
monomial t^a = t_1^a_1 ... t_d^a_d of the unit coordinates, |t_i| <= 1, by rising degree |a|. Since |t^a| <= 1, all
that holds of affine forms because their coordinates lie in [-1, 1] holds of Taylor models too: sums, multiples and
linear layers, ranges, choices, and every bound of roundings by sums of absolute values. Products and functions of one
variable are better than those of affine forms; inside `of_order` the rules make them so.

A form may have fewer rows than its order has monomials: those of all degrees up to some degree. The others are zero.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache

import numpy as np


class Monomials:
    """All monomials up to a degree, with the tables that kernels take.

    Parameters
    ----------
    dimension: the number of coordinates, d.
    order: the largest degree, k >= 0.

    Attributes
    ----------
    exponents: (monomials, dimension), by degree, then lexicographic from above: 1, t_1, ..., t_d, t_1^2, t_1 t_2, ...
    counts: how many have degree 0, at most 1, ..., at most `order`
    degrees: 0 and then the counts: those of degree g are degrees[g], ..., degrees[g + 1] - 1
    starts, pairs: monomial a is the product of those of pairs[starts[a]:starts[a + 1]], the first pair being (1, a)
    most_pairs: the largest number of pairs of one monomial
    parents, axes, ratios: t^a is t^parent times the coordinate of the axis; ratio is |a| / a_axis, by which the
        coefficients of powers of linear forms grow
    squares: for each axis which monomial its square is; of an order below 2 empty
    move_starts, moves: what becomes of t^a where c + h s stands for the coordinate of an axis: parts of monomials b, as
        triples a, b, n (order + 1) + k of moves[move_starts[axis]:move_starts[axis + 1]], n = a_axis and k = b_axis
    """

    def __init__(self, dimension: int, order: int) -> None:
        self.dimension, self.order = dimension, order
        exponents = [a for a in itertools.product(range(order + 1), repeat=dimension) if sum(a) <= order]
        exponents.sort(key=lambda a: (sum(a), [-power for power in a]))
        self.exponents = np.array(exponents, dtype=np.int64)
        degree = self.exponents.sum(1)
        self.counts = [int((degree <= most).sum()) for most in range(order + 1)]
        self.degrees = np.array([0, *self.counts], dtype=np.int64)
        number = {a: n for n, a in enumerate(exponents)}
        factors = [list(itertools.product(*(range(power + 1) for power in a))) for a in exponents]
        self.starts = np.array([0, *itertools.accumulate(map(len, factors))], dtype=np.int64)
        self.most_pairs = max(map(len, factors))
        pairs = [
            (number[b], number[tuple(whole - part for whole, part in zip(a, b, strict=True))])
            for a, parts in zip(exponents, factors, strict=True)
            for b in parts
        ]
        self.pairs = np.array(pairs, dtype=np.int64).reshape(-1)
        self.axes = (self.exponents > 0).argmax(1)
        rows = np.arange(1, len(exponents))
        parents = self.exponents.copy()
        parents[rows, self.axes[1:]] -= 1
        self.parents = np.array([number[tuple(a)] for a in parents.tolist()], dtype=np.int64)
        self.ratios = np.ones(len(exponents))
        self.ratios[1:] = degree[1:] / self.exponents[rows, self.axes[1:]]
        twice = 2 * np.eye(dimension, dtype=int)
        self.squares = [number[tuple(a)] for a in twice.tolist()] if order >= 2 else []
        moves = [
            [
                (number[a], number[(*a[:axis], k, *a[axis + 1 :])], a[axis] * (order + 1) + k)
                for a in exponents
                for k in range(a[axis] + 1)
            ]
            for axis in range(dimension)
        ]
        self.move_starts = np.array([0, *itertools.accumulate(map(len, moves))], dtype=np.int64)
        self.moves = np.array(list(itertools.chain.from_iterable(moves)), dtype=np.int64).reshape(-1)

    def degree(self, rows: int) -> int:
        """Return up to which degree a form of so many rows goes."""
        return self.counts.index(rows)


@lru_cache(64)
def monomials(dimension: int, order: int) -> Monomials:
    """Return the monomials of so many coordinates up to a degree."""
    return Monomials(dimension, order)


_PRESENT: ContextVar[Monomials | None] = ContextVar("order of Taylor models", default=None)


def present() -> Monomials | None:
    """Return the monomials of the forms at present; None for affine forms."""
    return _PRESENT.get()


@contextmanager
def of_order(dimension: int, order: int) -> Iterator[Monomials]:
    """Inside, forms are Taylor models of an order; they must be made there, and not outlive it."""
    token = _PRESENT.set(monomials(dimension, order))
    try:
        yield monomials(dimension, order)
    finally:
        _PRESENT.reset(token)
