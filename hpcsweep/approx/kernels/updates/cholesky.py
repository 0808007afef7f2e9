"""Cholesky's factorisation and solutions with it, in the vector language: the same bits on every processor.

Matrices are (size, size), row by row, lower triangles; sizes are multiples of the lanes. Columns are taken in blocks of
as many as a vector has lanes, whose diagonal blocks are inverted, so that a vector is multiplied instead of solved for.
"""

from __future__ import annotations

import math

from numpy import ndarray

from hpcsweep.approx.kernels.builder import Code
from hpcsweep.approx.kernels.compiling import inlined, kernel
from hpcsweep.approx.kernels.matrices import add_multiple, add_outer
from hpcsweep.approx.kernels.vectors import Array, Index, fma


@kernel
def _multiply_blocks(
    code: Code, rows: Index, matrix: Array, at: Index, row: Index, inverse: Array, inverse_at: Index
) -> None:
    """Multiply each of `rows` vectors, `row` apart, with a block: vector c of `inverse` is what number c brings."""
    with code.loop(rows) as i:
        vector = matrix + (at + i * row)
        total = code.vector(0.0)
        for c in range(code.lanes):
            total = fma(vector.number(c).spread(), (inverse + (inverse_at + c * code.lanes)).vector(), total)
        vector.put(total)


@inlined
def factorise(size: int, lanes: int, matrix: ndarray, at: int, inverse: ndarray, inverse_at: int) -> bool:
    """Replace a positive definite matrix by its factor L, and write the inverses of L's diagonal blocks; say if it is.

    Parameters
    ----------
    matrix, at : the lower triangle; what stands above it, but for diagonal blocks, is kept
    inverse, inverse_at : (size, lanes), of each block its transpose
    """
    for first in range(0, size, lanes):
        block = at + first * size
        add_outer(
            size - first, lanes, first, -1.0, matrix, block, size, matrix, block, size, matrix, block + first, size
        )
        for j in range(lanes):
            row = block + j * size + first
            for k in range(j):
                total, other = matrix[row + k], block + k * size + first
                for m in range(k):
                    total -= matrix[row + m] * matrix[other + m]
                matrix[row + k] = total / matrix[other + k]
            pivot = matrix[row + j]
            for m in range(j):
                pivot -= matrix[row + m] * matrix[row + m]
            if not (pivot > 0.0 and pivot < math.inf):
                return False
            matrix[row + j] = math.sqrt(pivot)
        _invert(size, lanes, matrix, block + first, inverse, inverse_at + first * lanes)
        below = at + (first + lanes) * size + first
        _multiply_blocks(size - first - lanes, matrix, below, size, inverse, inverse_at + first * lanes)
    return True


@inlined
def _invert(size: int, lanes: int, matrix: ndarray, at: int, inverse: ndarray, inverse_at: int) -> None:
    """Write the transposed inverse of a diagonal block: row c has the solutions for the unit vector c."""
    for c in range(lanes):
        for j in range(lanes):
            total = 1.0 if j == c else 0.0
            for k in range(c, j):
                total -= matrix[at + j * size + k] * inverse[inverse_at + c * lanes + k]
            inverse[inverse_at + c * lanes + j] = total / matrix[at + j * size + j] if j >= c else 0.0


@inlined
def solve(
    size: int, lanes: int, matrix: ndarray, at: int, inverse: ndarray, inverse_at: int, vector: ndarray, vector_at: int
) -> None:
    """Replace a vector by the solution of L L' x = vector."""
    for first in range(0, size, lanes):
        part_at = vector_at + first
        add_outer(lanes, 1, first, -1.0, matrix, at + first * size, size, vector, vector_at, 0, vector, part_at, 1)
        _multiply_blocks(1, vector, part_at, 0, inverse, inverse_at + first * lanes)
    for first in range(size - lanes, -1, -lanes):
        part_at = vector_at + first
        for c in range(lanes):  # the transposed inverse: in its place, as number c needs the later ones only
            total = 0.0
            for j in range(c, lanes):
                total += inverse[inverse_at + (first + c) * lanes + j] * vector[part_at + j]
            vector[part_at + c] = total
        for c in range(lanes):
            row = at + (first + c) * size
            add_multiple(first, -vector[part_at + c], matrix, row, vector, vector_at)
