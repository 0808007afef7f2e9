"""SOAP: what it is, and where it departs from the paper, is told in `hpcsweep.approx.training.optimizers.soap`.

Matrices of a layer lie in rows of whole vectors. Bases are kept transposed: a row for each of their vectors.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Final

from numpy import ndarray

from hpcsweep.approx.kernels.compiling import entry, inlined
from hpcsweep.approx.kernels.iteration import PROPOSE, STEPS
from hpcsweep.approx.kernels.matrices import add_multiple, add_outer, dot, fill, product, write_multiple
from hpcsweep.approx.kernels.problem import LANES, LAYERS, WIDTHS
from hpcsweep.approx.kernels.updates import first_order
from hpcsweep.approx.kernels.updates.first_order import FIRST, FLOOR, SECOND, clear_tiny, corrected, is_sweep

REFRESH: Final = first_order.END
END: Final = first_order.END + 1
SHIFT: Final = 1e-4  # of the mean eigenvalue, added to all of them in a power step


def _sides(widths: tuple[int, ...], lanes: int) -> list[tuple[int, int, int, int]]:
    """Return rows and columns of each layer, and the lengths of rows that hold them in whole vectors."""
    return [
        (outputs, inputs + 1, -(-outputs // lanes) * lanes, -(-(inputs + 1) // lanes) * lanes)
        for inputs, outputs in pairwise(widths)
    ]


def starts(widths: tuple[int, ...], lanes: int) -> list[tuple[int, int, int, int]]:
    """Return where the left and the right basis of each layer begin among the vectors, and their sides and rows.

    As (place, side, row length, 0), two for each layer: so they begin as identities.
    """
    bases, at = [], 0
    for rows, columns, tall, wide in _sides(widths, lanes):
        at += 2 * rows * wide
        bases += [(at + rows * tall, rows, tall, 0), (at + 2 * rows * tall + columns * wide, columns, wide, 0)]
        at += 2 * (rows * tall + columns * wide)
    return bases


def size(widths: tuple[int, ...], lanes: int) -> int:
    """Return how many numbers the state has: for each layer two moments and two pairs of squares; then room."""
    sides = _sides(widths, lanes)
    state = sum(2 * rows * wide + 2 * (rows * tall + columns * wide) for rows, columns, tall, wide in sides)
    largest = max(max(tall, wide) for _, _, tall, wide in sides)
    return state + 3 * largest * largest + lanes


@inlined
def _turn(
    side: int, row: int, floor: float, vectors: ndarray, covariance: int, basis: int, room: int, zero: int
) -> bool:
    """Turn a basis by a power step and an orthonormalisation; write new times old transposed at `room`.

    Of C / trace C + SHIFT / side. By Gram and Schmidt's method, twice, in a fixed order. What is not finite turns
    nothing: the network is lost anyway.
    """
    clear_tiny(side * row, floor, vectors, covariance)
    trace = floor
    for i in range(side):
        trace += vectors[covariance + i * row + i]
    new = room + side * row
    product(side, side, row, vectors, basis, row, 1, vectors, zero, 0, vectors, covariance, row, vectors, new, row)
    for j in range(side):
        one = new + j * row
        write_multiple(row, 1.0 / trace, vectors, one, vectors, one)
        add_multiple(row, SHIFT / side, vectors, basis + j * row, vectors, one)
        for _ in range(2):
            for k in range(j):
                other = new + k * row
                add_multiple(row, -dot(row, vectors, other, vectors, one), vectors, other, vectors, one)
        norm = math.sqrt(dot(row, vectors, one, vectors, one))
        if not (norm > 0.0 and norm < math.inf):
            return False
        write_multiple(row, 1.0 / norm, vectors, one, vectors, one)
    fill(side * row, 0.0, vectors, room)
    add_outer(side, side, row, 1.0, vectors, new, row, vectors, basis, row, vectors, room, row)
    write_multiple(side * row, 1.0, vectors, new, vectors, basis)
    return True


@inlined
def _turn_both(rows: int, columns: int, tall: int, wide: int, floor: float, vectors: ndarray, at: int, covariances: int,
               room: int, zero: int) -> None:  # fmt: skip
    """Turn the bases of a layer, and with them its first moments at `at`."""
    left, right = covariances + rows * tall, covariances + 2 * rows * tall + columns * wide
    if _turn(rows, tall, floor, vectors, covariances, left, room, zero):
        turned = room + rows * tall
        product(rows, rows, wide, vectors, room, tall, 1, vectors, zero, 0, vectors, at, wide, vectors, turned, wide)
        write_multiple(rows * wide, 1.0, vectors, turned, vectors, at)
    if _turn(columns, wide, floor, vectors, covariances + 2 * rows * tall, right, room, zero):
        turned = room + columns * wide
        fill(rows * wide, 0.0, vectors, turned)
        add_outer(rows, columns, wide, 1.0, vectors, at, wide, vectors, room, wide, vectors, turned, wide)
        write_multiple(rows * wide, 1.0, vectors, turned, vectors, at)


@inlined
def _move(numbers: ndarray, vectors: ndarray, point: ndarray, gradient: ndarray, start: int, rows: int, columns: int,
          tall: int, wide: int, at: int, room: int, zero: int, factor: float, epsilon: float) -> None:  # fmt: skip
    """Rotate the gradient G of a layer to L G R', divide its moments as Adam does, rotate the quotient back."""
    covariances, second, back = at + 2 * rows * wide, numbers[SECOND], room + rows * wide
    left, right = covariances + rows * tall, covariances + 2 * rows * tall + columns * wide
    fill(2 * rows * wide, 0.0, vectors, room)
    for i in range(rows):
        for k in range(columns):
            vectors[room + i * wide + k] = gradient[start + i * columns + k]
    write_multiple(rows * tall, second, vectors, covariances, vectors, covariances)
    add_outer(rows, rows, wide, 1.0 - second, vectors, room, wide, vectors, room, wide, vectors, covariances, tall)
    product(columns, rows, wide, vectors, room, 1, wide, vectors, zero, 0, vectors, room, wide, vectors, back, wide)
    for i in range(columns * wide):
        entry_at = covariances + 2 * rows * tall + i
        vectors[entry_at] = second * vectors[entry_at] + (1.0 - second) * vectors[back + i]
    if int(numbers[STEPS]) % int(numbers[REFRESH]) == 0:
        _turn_both(rows, columns, tall, wide, numbers[FLOOR], vectors, at, covariances, back, zero)
    product(rows, rows, wide, vectors, left, tall, 1, vectors, zero, 0, vectors, room, wide, vectors, back, wide)
    fill(rows * wide, 0.0, vectors, room)
    add_outer(rows, columns, wide, 1.0, vectors, back, wide, vectors, right, wide, vectors, room, wide)
    for i in range(rows * wide):
        slope, mean, square = vectors[room + i], vectors[at + i], vectors[at + rows * wide + i]
        mean += (1.0 - numbers[FIRST]) * (slope - mean)
        square += (1.0 - second) * (slope * slope - square)
        vectors[at + i], vectors[at + rows * wide + i] = mean, square
        vectors[room + i] = mean / (math.sqrt(square) + epsilon)
    product(rows, rows, wide, vectors, left, 1, tall, vectors, zero, 0, vectors, room, wide, vectors, back, wide)
    product(rows, columns, wide, vectors, back, wide, 1, vectors, zero, 0, vectors, right, wide, vectors, room, wide)
    for i in range(rows):
        for k in range(columns):
            point[start + i * columns + k] -= factor * vectors[room + i * wide + k]


@entry(*PROPOSE)
def propose_soap(numbers: ndarray, vectors: ndarray, point: ndarray, gradient: ndarray, shape: ndarray) -> int:
    """Move by SOAP."""
    lanes, start, at, room = shape[LANES], 0, 0, 0
    for layer in range(shape[LAYERS]):
        rows, columns = shape[WIDTHS + layer + 1], shape[WIDTHS + layer] + 1
        tall, wide = -(-rows // lanes) * lanes, -(-columns // lanes) * lanes
        room += 2 * rows * wide + 2 * (rows * tall + columns * wide)
    sweeping = is_sweep(numbers)
    factor, epsilon = corrected(numbers)
    for layer in range(shape[LAYERS]):
        rows, columns = shape[WIDTHS + layer + 1], shape[WIDTHS + layer] + 1
        tall, wide = -(-rows // lanes) * lanes, -(-columns // lanes) * lanes
        if sweeping:
            clear_tiny(2 * rows * wide, numbers[FLOOR], vectors, at)
        _move(numbers, vectors, point, gradient, start, rows, columns, tall, wide, at, room, len(vectors) - 1, factor,
              epsilon)  # fmt: skip
        at += 2 * rows * wide + 2 * (rows * tall + columns * wide)
        start += rows * columns
    numbers[STEPS] += 1.0
    return 0
