"""Products of small matrices and sums over vectors: the kernels in which training spends its time.

Matrices lie row by row in flat arrays: an array, the place of the first number, and the distance of rows. Their columns
are samples where nothing else is said, a multiple of the lanes. Tiles of a product live in registers; their shape
follows the processor and changes no bits, since each number is one chain of fused multiplications and additions.
"""

from __future__ import annotations

from typing import Final

from hpcsweep.approx.kernels.builder import Code
from hpcsweep.approx.kernels.compiling import is_wide, kernel
from hpcsweep.approx.kernels.vectors import Array, Index, Matrix, Number, fma

# Rows of a tile of a product, its vectors in a row, and the side of a tile of `add_outer`.
_ROWS, _VECTORS, _SIDE = (8, 3, 4) if is_wide() else (4, 1, 2)
_ALONE: Final = 8  # vectors of a tile of one row: so many chains hide the latency of an addition


@kernel
def product(
    code: Code,
    rows: Index,
    inner: Index,
    columns: Index,
    left: Matrix,
    left_column: Index,
    bias: Matrix,
    right: Matrix,
    out: Matrix,
) -> None:
    """Write out[i, :] = bias[i] + sum_l left[i, l] right[l, :] for `rows` i and `inner` l.

    Entries of a row of `left` lie `left_column` apart, those of a column `left.row`: so it may be transposed.
    """
    for i, height in code.blocks(rows, sorted({_ROWS, 4, 1}, reverse=True)):
        first = left.start + i * left.row
        starts = [(bias.start + (i + r) * bias.row).number() for r in range(height)]
        widths = (_ALONE, 4, 2, 1) if height == 1 else range(_VECTORS, 0, -1)
        for s, size in code.blocks(columns, [width * code.lanes for width in widths]):
            vectors = range(0, size, code.lanes)
            sums = [[code.variable(start.spread()) for _ in vectors] for start in starts]
            with code.loop(inner) as place:
                below = right.start + (place * right.row + s)
                signals = [below.vector(at) for at in vectors]
                weights = first + place * left_column
                for r, row in enumerate(sums):
                    weight = weights.number(left.row * r).spread()
                    for signal, total in zip(signals, row, strict=True):
                        total.set(fma(weight, signal, total.get()))
            for r, row in enumerate(sums):
                above = out.start + ((i + r) * out.row + s)
                for at, total in zip(vectors, row, strict=True):
                    above.put(total.get(), at)


@kernel
def add_outer(
    code: Code, rows: Index, columns: Index, length: Index, factor: Number, left: Matrix, right: Matrix, out: Matrix
) -> None:
    """Add factor * sum_s left[i, s] right[k, s] to out[i, k] for `rows` i and `columns` k; `length` samples s.

    The sum of a number runs in the lanes of one vector, sample s in lane s mod lanes, which are then added up.
    """
    for i, height in code.blocks(rows, [_SIDE, 1]):
        above = left.start + i * left.row
        for k, width in code.blocks(columns, sorted({_SIDE, 4 if height == 1 else _SIDE, 2, 1}, reverse=True)):
            below = right.start + k * right.row
            sums = [[code.variable(code.vector(0.0)) for _ in range(width)] for _ in range(height)]
            with code.loop(length, code.lanes) as s:
                signals = [(below + right.row * c).vector(s) for c in range(width)]
                for r, row in enumerate(sums):
                    delta = (above + left.row * r).vector(s)
                    for signal, total in zip(signals, row, strict=True):
                        total.set(fma(delta, signal, total.get()))
            for r, row in enumerate(sums):
                for c, total in enumerate(row):
                    entry = out.start + ((i + r) * out.row + k + c)
                    entry.put(fma(factor, total.get().sum(), entry.number()))


@kernel
def multiply(
    code: Code, rows: Index, columns: Index, stride: Index, work: Array, at: Index, factor_at: Index, out_at: Index
) -> None:
    """Write out = matrix * factor, number by number; all three lie in `work`, with rows `stride` apart."""
    with code.loop(rows) as i, code.loop(columns, code.lanes) as s:
        entries = work + (i * stride + s)
        entries.put(entries.vector(at) * entries.vector(factor_at), out_at)


@kernel
def multiply_rows(
    code: Code, rows: Index, inner: Index, columns: Index, channels: Index, left: Matrix, right: Matrix, out: Matrix
) -> None:
    """Write row (i, k) of `out`: the products of row i of one matrix with row k of another, summed over channels."""
    with code.loop(rows) as i, code.loop(inner) as k, code.loop(columns, code.lanes) as s:
        one, other = left.start + (i * left.row + s), right.start + (k * right.row + s)
        total = code.variable(one.vector() * other.vector())
        with code.loop(channels, start=1) as c:
            total.set(fma(one.vector(c * columns), other.vector(c * columns), total.get()))
        (out.start + ((i * inner + k) * out.row + s)).put(total.get())


@kernel
def add_gram(
    code: Code,
    first: Index,
    columns: Index,
    outputs: Index,
    inner: Index,
    stride: Index,
    work: Array,
    left_delta: Index,
    left_signal: Index,
    right_delta: Index,
    right_signal: Index,
    out: Matrix,
) -> None:
    """Add (sum_j d[j, i] e[j, s]) (sum_l a[l, i] b[l, s]) to out[i, s], for eight samples i from `first` on.

    That is what a layer gives to the product of a Jacobian with its transpose: d, e are derivatives by what leaves the
    layer, a, b are signals.
    """
    for r, height in code.blocks(Index(code, code.integer(8)), [4]):
        for s, size in code.blocks(columns, [2 * code.lanes, code.lanes]):
            vectors = range(0, size, code.lanes)
            products: list[list[list[Number]]] = []  # of the two sums
            for count, left_at, right_at in ((inner, left_signal, right_signal), (outputs, left_delta, right_delta)):
                sums = [[code.variable(code.vector(0.0)) for _ in vectors] for _ in range(height)]
                with code.loop(count) as k:
                    left, right = work + (left_at + k * stride + first + r), work + (right_at + k * stride + s)
                    signals = [right.vector(at) for at in vectors]
                    for row, total in enumerate(sums):
                        weight = left.number(row).spread()
                        for signal, one in zip(signals, total, strict=True):
                            one.set(fma(weight, signal, one.get()))
                products.append([[one.get() for one in row] for row in sums])
            for row in range(height):
                entries = out.start + ((first + r + row) * out.row + s)
                for at, signal, delta in zip(vectors, products[0][row], products[1][row], strict=True):
                    entries.put(fma(signal, delta, entries.vector(at)), at)


@kernel
def add(code: Code, rows: Index, columns: Index, stride: Index, work: Array, at: Index, out_at: Index) -> None:
    """Add a matrix to another, as `multiply` does."""
    with code.loop(rows) as i, code.loop(columns, code.lanes) as s:
        entries = work + (i * stride + s)
        entries.put(entries.vector(out_at) + entries.vector(at), out_at)


@kernel
def dot(code: Code, count: Index, left: Array, left_at: Index, right: Array, right_at: Index) -> Number:
    """Return the sum of products of two vectors; `count` is a multiple of the lanes."""
    total = code.variable(code.vector(0.0))
    with code.loop(count, code.lanes) as i:
        total.set(fma((left + left_at).vector(i), (right + right_at).vector(i), total.get()))
    return total.get().sum()


@kernel
def add_multiple(code: Code, count: Index, factor: Number, vector: Array, at: Index, out: Array, out_at: Index) -> None:
    """Add a multiple of a vector to another."""
    with code.loop(count, code.lanes) as i:
        entries = out + (out_at + i)
        entries.put(fma(factor.spread(), (vector + at).vector(i), entries.vector()))


@kernel
def write_multiple(
    code: Code, count: Index, factor: Number, vector: Array, at: Index, out: Array, out_at: Index
) -> None:
    """Write a multiple of a vector."""
    with code.loop(count, code.lanes) as i:
        (out + (out_at + i)).put(factor.spread() * (vector + at).vector(i))


@kernel
def fill(code: Code, count: Index, number: Number, out: Array, out_at: Index) -> None:
    """Write a number into each place of a vector."""
    with code.loop(count, code.lanes) as i:
        (out + (out_at + i)).put(number.spread())


@kernel
def copy(code: Code, count: Index, vector: Array, at: Index, out: Array, out_at: Index) -> None:
    """Copy a vector."""
    with code.loop(count, code.lanes) as i:
        (out + (out_at + i)).put((vector + at).vector(i))


@kernel
def norm1(code: Code, count: Index, vector: Array, at: Index) -> Number:
    """Return the sum of the absolute values."""
    total = code.variable(code.vector(0.0))
    with code.loop(count, code.lanes) as i:
        total.set(total.get() + abs((vector + at).vector(i)))
    return total.get().sum()
