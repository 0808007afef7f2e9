"""Products and compositions of truncated polynomials in several variables, in the vector language.

Many polynomials are worked on at once, one in each lane: an array (monomials, columns) holds their coefficients, one
monomial a row, by rising degree (see `certificate.enclosure.taylor.monomials`). `_BLOCK` columns at a time are copied
together, so that what is worked on stays in the first-level cache. What comes out in a column has the same bits
whatever the other columns are, and however many. Sums of what is cut off are computed beside; roundings of these sums
are not counted here, but by who calls.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from hpcsweep.approx.kernels.builder import Code
from hpcsweep.approx.kernels.compiling import INTEGER, INTEGERS, NOTHING, NUMBER, VECTOR, entry, inlined, kernel
from hpcsweep.approx.kernels.vectors import Array, Index, Integers, Number, fma

_BLOCK: Final = 16  # columns: two vectors of float64, for each pair of places that is looked up


def _vectors(code: Code) -> list[int]:
    return list(range(0, _BLOCK, code.lanes))


@kernel
def _norms(code: Code, degrees: Integers, top: Index, rows: Array, out: Array) -> None:
    """Write the sums of the absolute values of all coefficients of degree 0, ..., `top`."""
    with code.loop(top + 1) as degree, code.loop(code.index(_BLOCK), code.lanes) as s:
        total = code.variable(code.vector(0.0))
        with code.loop(degrees[degree + 1], start=degrees[degree]) as a:
            total.set(total.get() + abs(rows.vector(a * _BLOCK + s)))
        out.put(total.get(), degree * _BLOCK + s)


@kernel
def _convolve(
    code: Code,
    first: Index,
    last: Index,
    skipped: Index,
    starts: Integers,
    pairs: Integers,
    left: Array,
    right: Array,
    out: Array,
) -> None:
    """Write the rows last - 1, ..., `first` of a product, in this order: `out` may be `right` where one is skipped.

    `skipped`: how many pairs of a row are left out: 1 leaves out the product with the constant of `left`.
    """
    with code.loop(last - first) as done:
        a = last - 1 - done
        totals = [code.variable(code.vector(0.0)) for _ in _vectors(code)]
        with code.loop(starts[a + 1], start=starts[a] + skipped) as p:
            i, j = pairs[p * 2] * _BLOCK, pairs[p * 2 + 1] * _BLOCK
            for at, total in zip(_vectors(code), totals, strict=True):
                total.set(fma(left.vector(i + at), right.vector(j + at), total.get()))
        for at, total in zip(_vectors(code), totals, strict=True):
            out.put(total.get(), a * _BLOCK + at)


@kernel
def _lost(code: Code, order: Index, left: Array, right: Array, out: Array) -> None:
    """Write a bound of what a product has beyond `order`, from the norms (order + 1) of both factors."""
    with code.loop(code.index(_BLOCK), code.lanes) as s:
        total = code.variable(code.vector(0.0))
        with code.loop(order + 1, start=1) as i, code.loop(order + 1, start=order + 1 - i) as j:
            total.set(fma(left.vector(i * _BLOCK + s), right.vector(j * _BLOCK + s), total.get()))
        out.put(total.get(), s)


@kernel
def _horner(
    code: Code,
    order: Index,
    doubt: Number,
    tiny: Number,
    degrees: Integers,
    starts: Integers,
    pairs: Integers,
    inner: Array,
    outer: Array,
    total: Array,
    norms: Array,
    own: Array,
    error: Array,
) -> None:
    """Compose: total = sum_m outer_m inner^m without the constant of `inner`, by Horner's scheme; see `compose`.

    Parameters
    ----------
    norms, own: room for (order + 1) rows each: those of `inner` without its constant, and of what `total` is meanwhile.
    """
    _norms.write(code, degrees, order, inner, norms)
    with code.loop(code.index(_BLOCK), code.lanes) as s:
        reach = code.variable(code.vector(0.0))
        with code.loop(order + 1, start=1) as j:
            reach.set(reach.get() + norms.vector(j * _BLOCK + s))
        norms.put(reach.get(), s)
        total.put(outer.vector(order * _BLOCK + s), s)
        error.put(code.vector(0.0), s)
    with code.loop(order) as degree:  # of what `total` is before the product
        _norms.write(code, degrees, degree, total, own)
        with code.loop(code.index(_BLOCK), code.lanes) as s:
            lost, mass = code.variable(code.vector(0.0)), code.variable(code.vector(0.0))
            with code.loop(degree + 1) as i:
                size = own.vector(i * _BLOCK + s)
                mass.set(mass.get() + size)
                with code.loop(order + 1, start=degree + 2 - i) as j:
                    lost.set(fma(size, norms.vector(j * _BLOCK + s), lost.get()))
            reach_now = norms.vector(s)
            added = fma(mass.get() * doubt.spread(), reach_now, lost.get()) + tiny.spread()
            error.put(fma(error.vector(s), reach_now, added), s)
        _convolve.write(code, code.index(1), degrees[degree + 2], 1, starts, pairs, inner, total, total)
        with code.loop(code.index(_BLOCK), code.lanes) as s:
            total.put(outer.vector((order - 1 - degree) * _BLOCK + s), s)


@kernel
def _powers(
    code: Code,
    order: Index,
    degrees: Integers,
    parents: Integers,
    axes: Integers,
    ratios: Array,
    inner: Array,
    outer: Array,
    powers: Array,
    total: Array,
) -> None:
    """Compose with a linear `inner`: its powers by the multinomial theorem, one product of three factors a monomial."""
    with code.loop(code.index(_BLOCK), code.lanes) as s:
        powers.put(code.vector(1.0), s)
        total.put(outer.vector(s), s)
    with code.loop(order + 1, start=1) as degree, code.loop(degrees[degree + 1], start=degrees[degree]) as a:
        parent, axis, ratio = parents[a] * _BLOCK, (axes[a] + 1) * _BLOCK, ratios.number(a).spread()
        for at in _vectors(code):
            power = powers.vector(parent + at) * (inner.vector(axis + at) * ratio)
            powers.put(power, a * _BLOCK + at)
            total.put(power * outer.vector(degree * _BLOCK + at), a * _BLOCK + at)


@inlined
def _gather(source: np.ndarray, rows: int, room: int, columns: int, start: int, block: np.ndarray) -> None:
    """Copy `rows` rows of some columns into a block of `room` rows, zero where there is nothing."""
    width = min(_BLOCK, columns - start)
    for a in range(room):
        at, own = a * columns + start, a * _BLOCK
        for s in range(width if a < rows else 0):
            block[own + s] = source[at + s]
        for s in range(width if a < rows else 0, _BLOCK):
            block[own + s] = 0.0


@inlined
def _scatter(block: np.ndarray, rows: int, columns: int, start: int, out: np.ndarray) -> None:
    for a in range(rows):
        at, own = a * columns + start, a * _BLOCK
        for s in range(min(_BLOCK, columns - start)):
            out[at + s] = block[own + s]


@entry(NOTHING, INTEGER, INTEGER, VECTOR, VECTOR)
def absolute_sums(rows: int, columns: int, terms: np.ndarray, out: np.ndarray) -> None:
    """Write the sums of the absolute values of each column but for its first row; `out` (columns,) begins as zeros."""
    for a in range(1, rows):
        for s in range(columns):
            out[s] += abs(terms[a * columns + s])


@entry(NOTHING, INTEGER, INTEGER, INTEGER, INTEGER, INTEGER, INTEGERS, INTEGERS, INTEGERS, *[VECTOR] * 4)
def multiply(
    order: int,
    left_rows: int,
    right_rows: int,
    rows: int,
    columns: int,
    degrees: np.ndarray,
    starts: np.ndarray,
    pairs: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    out: np.ndarray,
    lost: np.ndarray,
) -> None:
    """Multiply polynomials, up to degree `order`, of which the product has `rows` coefficients.

    Parameters
    ----------
    left, right: (left_rows, columns) and (right_rows, columns)
    out: (rows, columns)
    lost: (columns,), bounds of what is cut off
    """
    room = degrees[order + 1]
    first, second, product = np.empty(room * _BLOCK), np.empty(room * _BLOCK), np.empty(room * _BLOCK)
    norms, other_norms, cut = np.empty((order + 1) * _BLOCK), np.empty((order + 1) * _BLOCK), np.empty(_BLOCK)
    for start in range(0, columns, _BLOCK):
        _gather(left, left_rows, room, columns, start, first)
        _gather(right, right_rows, room, columns, start, second)
        _norms(degrees, order, first, norms)
        _norms(degrees, order, second, other_norms)
        _lost(order, norms, other_norms, cut)
        _convolve(0, rows, 0, starts, pairs, first, second, product)
        _scatter(product, rows, columns, start, out)
        _scatter(cut, 1, columns, start, lost)


@entry(NOTHING, INTEGER, INTEGER, INTEGER, NUMBER, NUMBER, INTEGERS, INTEGERS, INTEGERS, *[VECTOR] * 4)
def compose(
    order: int,
    inner_rows: int,
    columns: int,
    doubt: float,
    tiny: float,
    degrees: np.ndarray,
    starts: np.ndarray,
    pairs: np.ndarray,
    inner: np.ndarray,
    outer: np.ndarray,
    out: np.ndarray,
    error: np.ndarray,
) -> None:
    """Compose polynomials: sum_m outer_m p^m up to degree `order`, p = inner without its constant.

    With S_m = g_m + p S_(m+1) cut at degree order - m, the error of S_m is at most |p| times that of S_(m+1), and what
    is cut off, and the roundings of the product, `doubt` |S_(m+1)| |p|, and what underflows, `tiny`: in norms, the sums
    of absolute values, all of which are computed beside.

    Parameters
    ----------
    inner: (inner_rows, columns); outer: (order + 1, columns)
    out: (monomials, columns)
    error: (columns,), bounds of the differences on |t_i| <= 1, up to the roundings of the bounds themselves
    """
    room = degrees[order + 1]
    polynomial, total, outers = np.empty(room * _BLOCK), np.empty(room * _BLOCK), np.empty((order + 1) * _BLOCK)
    norms, own, cut = np.empty((order + 1) * _BLOCK), np.empty((order + 1) * _BLOCK), np.empty(_BLOCK)
    for start in range(0, columns, _BLOCK):
        _gather(inner, inner_rows, room, columns, start, polynomial)
        _gather(outer, order + 1, order + 1, columns, start, outers)
        _horner(order, doubt, tiny, degrees, starts, pairs, polynomial, outers, total, norms, own, cut)
        _scatter(total, room, columns, start, out)
        _scatter(cut, 1, columns, start, error)


@entry(NOTHING, INTEGER, INTEGER, INTEGER, INTEGERS, INTEGERS, INTEGERS, *[VECTOR] * 4)
def compose_linear(
    order: int,
    inner_rows: int,
    columns: int,
    degrees: np.ndarray,
    parents: np.ndarray,
    axes: np.ndarray,
    ratios: np.ndarray,
    inner: np.ndarray,
    outer: np.ndarray,
    out: np.ndarray,
) -> None:
    """Compose with linear polynomials, likewise: each coefficient errs by 3 roundings for each degree, and one."""
    room = degrees[order + 1]
    polynomial, total, outers = np.empty(inner_rows * _BLOCK), np.empty(room * _BLOCK), np.empty((order + 1) * _BLOCK)
    powers = np.empty(room * _BLOCK)
    for start in range(0, columns, _BLOCK):
        _gather(inner, inner_rows, inner_rows, columns, start, polynomial)
        _gather(outer, order + 1, order + 1, columns, start, outers)
        _powers(order, degrees, parents, axes, ratios, polynomial, outers, powers, total)
        _scatter(total, room, columns, start, out)
