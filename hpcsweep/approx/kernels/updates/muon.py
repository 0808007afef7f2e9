"""Muon: what it is is told in `hpcsweep.approx.training.optimizers.muon`."""

from __future__ import annotations

import math
from typing import Final

from numpy import ndarray

from hpcsweep.approx.kernels.compiling import entry, inlined
from hpcsweep.approx.kernels.iteration import PROPOSE, STEPS
from hpcsweep.approx.kernels.matrices import add_multiple, add_outer, dot, fill, product, write_multiple
from hpcsweep.approx.kernels.problem import LANES, LAYERS, LONGEST, WIDTHS
from hpcsweep.approx.kernels.updates import first_order
from hpcsweep.approx.kernels.updates.first_order import (
    FIRST,
    FLOOR,
    SECOND,
    adam_step,
    clear_tiny,
    corrected,
    is_sweep,
    rate_of,
)

MOMENTUM, NESTEROV, TINIEST = range(first_order.END, first_order.END + 3)
END: Final = first_order.END + 3
VECTORS: Final = 4  # both moments of Adam, the mean gradient, the point before the step; then matrices
# Of the quintic x -> a x + b x^3 + c x^5 that drives singular values to 1.
COEFFICIENTS = _A, _B, _C = 3.4445, -4.7750, 2.0315
ITERATIONS = 5


def room(widths: tuple[int, ...], lanes: int) -> int:
    """Return how many numbers the matrices take: of the longest sides twice, and of the shorter ones thrice."""
    side = -(-(max(widths) + 1) // lanes) * lanes
    return 5 * side * side


@inlined
def _orthogonal(short: int, long: int, stride: int, lanes: int, vectors: ndarray, at: int, tiniest: float) -> None:
    """Replace a matrix (short, long), rows `stride` apart, by about U V' of its U S V'; other matrices follow it.

    Newton-Schulz iterations from the matrix divided by its Frobenius norm; zero stays zero.
    """
    size, wide, narrow = stride * stride, -(-long // lanes) * lanes, -(-short // lanes) * lanes
    gram, odd, zero = at + 2 * size, at + 3 * size, at + 5 * size - 1
    total = 0.0
    for i in range(short):
        total += dot(wide, vectors, at + i * stride, vectors, at + i * stride)
    norm = max(math.sqrt(total), tiniest)
    for i in range(short * stride):
        vectors[at + i] /= norm
    for _ in range(ITERATIONS):
        fill(short * stride, 0.0, vectors, gram)
        add_outer(short, short, wide, 1.0, vectors, at, stride, vectors, at, stride, vectors, gram, stride)
        product(short, short, narrow, vectors, gram, stride, 1, vectors, zero, 0, vectors, gram, stride, vectors, odd,
                stride)  # fmt: skip
        for i in range(short):
            write_multiple(narrow, _C, vectors, odd + i * stride, vectors, odd + i * stride)
            add_multiple(narrow, _B, vectors, gram + i * stride, vectors, odd + i * stride)
        product(short, short, wide, vectors, odd, stride, 1, vectors, zero, 0, vectors, at, stride, vectors, at + size,
                stride)  # fmt: skip
        for i in range(short):
            write_multiple(wide, _A, vectors, at + i * stride, vectors, at + i * stride)
            add_multiple(wide, 1.0, vectors, at + size + i * stride, vectors, at + i * stride)


@inlined
def _move(numbers: ndarray, vectors: ndarray, point: ndarray, gradient: ndarray, shape: ndarray, start: int,
          outputs: int, columns: int, rate: float) -> None:  # fmt: skip
    """Move an inner layer along the orthogonal factor of its mean gradient."""
    count, lanes, momentum = len(point), shape[LANES], numbers[MOMENTUM]
    mean, at, stride = 2 * count, VECTORS * count, -(-(shape[LONGEST] + 1) // lanes) * lanes
    fill(stride * stride, 0.0, vectors, at)
    tall = outputs > columns
    for i in range(outputs):
        for k in range(columns):
            entry = start + i * columns + k
            slope = gradient[entry]
            vectors[mean + entry] += (1.0 - momentum) * (slope - vectors[mean + entry])
            ahead = slope + momentum * (vectors[mean + entry] - slope) if numbers[NESTEROV] else vectors[mean + entry]
            vectors[at + (k * stride + i if tall else i * stride + k)] = ahead
    short, long = (columns, outputs) if tall else (outputs, columns)
    _orthogonal(short, long, stride, lanes, vectors, at, numbers[TINIEST])
    step = 0.2 * rate * math.sqrt(long)
    for i in range(outputs):
        for k in range(columns):
            entry = start + i * columns + k
            point[entry] = (
                vectors[3 * count + entry] - step * vectors[at + (k * stride + i if tall else i * stride + k)]
            )


@entry(*PROPOSE)
def propose_muon(numbers: ndarray, vectors: ndarray, point: ndarray, gradient: ndarray, shape: ndarray) -> int:
    """Move the outer layers by Adam, the inner ones by -0.2 rate sqrt(the longer side) times an orthogonal factor."""
    count = len(point)
    if is_sweep(numbers):
        clear_tiny(3 * count, numbers[FLOOR], vectors, 0)
    write_multiple(count, 1.0, point, 0, vectors, 3 * count)
    rate = rate_of(numbers)
    factor, epsilon = corrected(numbers)
    adam_step(count, factor, epsilon, 1.0 - numbers[FIRST], 1.0 - numbers[SECOND], 1.0, point, 0, gradient, 0, vectors,
              0, count)  # fmt: skip
    start = 0
    for layer in range(shape[LAYERS]):
        columns, outputs = shape[WIDTHS + layer] + 1, shape[WIDTHS + layer + 1]
        if 0 < layer < shape[LAYERS] - 1:
            _move(numbers, vectors, point, gradient, shape, start, outputs, columns, rate)
        start += outputs * columns
    numbers[STEPS] += 1.0
    return 0
