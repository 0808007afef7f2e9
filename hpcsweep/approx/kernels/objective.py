"""What methods ask of a problem: the loss and its gradient; residuals and their derivatives for least squares."""

from __future__ import annotations

import math
from typing import Any

from numpy import ndarray

from hpcsweep.approx.kernels import layers, network
from hpcsweep.approx.kernels.builder import Code
from hpcsweep.approx.kernels.compiling import INTEGER, INTEGERS, NUMBER, VECTOR, entry, function_type, kernel, part
from hpcsweep.approx.kernels.matrices import fill
from hpcsweep.approx.kernels.network import Rooms
from hpcsweep.approx.kernels.problem import BLOCK, KEY, LANES, POWER, SAMPLES, TABLE, WIDTHS, ZERO
from hpcsweep.approx.kernels.vectors import Array, Index, Integers, Number

_FIRST, _SECOND, _STRIDE = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0x9E3779B97F4A7C15  # of splitmix64

# From (point, gradient, shape, source, work, steps done before) to the loss; an empty gradient is not asked for.
OBJECTIVE = NUMBER, VECTOR, VECTOR, INTEGERS, VECTOR, VECTOR, INTEGER
objective_type = function_type(*OBJECTIVE)


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def _drawn(code: Code, key: Index, counter: Index, below: Index) -> Index:
    """Return number `counter` of a stream as an integer in [0, below): see `hpcsweep.approx.training.streams`."""
    write = code.builder

    def shifted(bits: Any, by: int) -> Any:
        return write.lshr(bits, code.integer(by))

    bits = (key + counter * _signed(_STRIDE)).value
    for by, factor in ((30, _FIRST), (27, _SECOND)):
        bits = write.mul(write.xor(bits, shifted(bits, by)), code.integer(_signed(factor)))
    bits = write.xor(bits, shifted(bits, 31))
    return Index(code, shifted(write.mul(shifted(bits, 33), below.value), 31))


@kernel
def load(code: Code, shape: Integers, source: Array, work: Array, start: Index, columns: Index, done: Index) -> None:
    """Put the samples of a block into the work; copies of its first fill the last vector.

    Nothing, where all samples are one block and there already: the number before the zero says so.
    """
    once = work + (shape[ZERO] - 1)
    with code.when(once.number() < 0.5):
        room, count, table = Rooms(code, shape), shape[SAMPLES], shape[TABLE]
        inputs, is_full = shape[WIDTHS], table.is_(0)
        rest = inputs + (inputs + 1).where(room.is_equation, 0)
        numbers = rest + 1
        whole = (count - start).least(columns).rounded_down(code.lanes).where(is_full, 0)

        def row(k: Index) -> Index:
            further = room.further(1) + (k - inputs) * room.block
            return (room.signals(0) + k * room.stride).where(k < inputs, further.where(k < rest, room.further()))

        with code.loop(numbers) as k, code.loop(whole, code.lanes) as s:
            work_row = work + row(k)
            work_row.put((source + (k * count + start)).vector(s), s)
        with code.loop(columns, start=whole) as s:
            sample = (start + s).where(start + s < count, start)
            drawn = _drawn(code, shape[KEY], done * count + sample + 1, table) * numbers
            with code.loop(numbers) as k:
                entry_at = (sample + k * count).where(is_full, drawn + k)
                (work + row(k)).put((source + entry_at).number(), s)
        with code.when(room.is_equation):
            _write_unit_slopes(code, shape, room, work, columns)
        with code.when(is_full), code.when(count < shape[BLOCK] + 1):
            once.put(code.number(1.0))


def _write_unit_slopes(code: Code, shape: Integers, room: Rooms, work: Array, columns: Index) -> None:
    """Write the channels of the inputs, whose slopes by themselves are 1; and those of the rows of ones."""
    with code.loop(room.layers) as layer:
        width = shape[layer + WIDTHS]
        with code.loop(width + 1, start=width.where(code.index(0) < layer, 0)) as k:
            row = work + (room.signals(layer) + k * room.stride)
            with code.loop(room.channels * columns, code.lanes, columns) as s:
                row.put(code.vector(0.0), s)
            one = (columns * (k + 1)).where(k < width, 0)
            with code.loop(columns, code.lanes) as s:
                row.put(code.vector(1.0), one + s)


@kernel
def residuals_of_block(
    code: Code, point: Array, shape: Integers, source: Array, work: Array, start: Index, columns: Index, done: Index
) -> None:
    """Write the residuals of a block in place of its outputs, zero beyond the samples."""
    room = Rooms(code, shape)
    load.write(code, shape, source, work, start, columns, done)
    network.forward.write(code, point, shape, work, columns)
    layers.subtract.write(code, columns, work, room.deltas(), room.further())
    with code.loop(columns, start=shape[SAMPLES] - start) as s:
        (work + room.deltas()).put(code.number(0.0), s)


def blocks_of(code: Code, shape: Integers) -> Any:
    """Write what follows for each block: where it starts, and its samples in whole vectors."""
    count, block = shape[SAMPLES], shape[BLOCK]
    with code.loop(count, block) as start:
        yield start, (count - start).rounded_up(shape[LANES]).least(block)


@kernel
def pull_block(code: Code, point: Array, gradient: Array, shape: Integers, work: Array, columns: Index) -> None:
    """Add what a block gives to the gradient, from the derivatives of the loss by its residuals."""
    spread(code, shape, work, columns)
    network.add_gradient.write(code, point, gradient, shape, work, columns)


def spread(code: Code, shape: Integers, work: Array, columns: Index) -> None:
    """Hand derivatives by the residuals of an equation to the channels."""
    room = Rooms(code, shape)
    with code.when(room.is_equation):
        layers.spread_channels.write(code, columns, room.channels - 2, room.block, work, room.deltas(), room.further(1))


@kernel
def mean_square(
    code: Code, point: Array, gradient: Array, length: Index, shape: Integers, source: Array, work: Array, done: Index
) -> Number:
    """Return the mean square of the residuals, and add its gradient unless that has the `length` 0."""
    room = Rooms(code, shape)
    total, count = code.variable(code.double.number(0.0)), shape[SAMPLES]
    for start, columns in blocks_of(code, shape):
        residuals_of_block.write(code, point, shape, source, work, start, columns, done)
        where = columns, work, room.deltas()
        total.set(total.get() + layers.squares.write(code, *where))
        with code.when(code.index(0) < length):
            layers.scale.write(code, columns, 2.0 / count.of(code.double), *where[1:])
            pull_block.write(code, point, gradient, shape, work, columns)
    return total.get() / count.of(code.double)


@kernel
def keep_residuals(code: Code, point: Array, shape: Integers, source: Array, work: Array, done: Index) -> Index:
    """Write the residuals of all samples; return where they are."""
    room = Rooms(code, shape)
    for start, columns in blocks_of(code, shape):
        residuals_of_block.write(code, point, shape, source, work, start, columns, done)
        with code.loop(columns, code.lanes) as s:
            (work + (room.residuals + start)).put((work + room.deltas()).vector(s), s)
    return room.residuals


@kernel
def pull_kept(
    code: Code, point: Array, gradient: Array, shape: Integers, source: Array, work: Array, done: Index
) -> None:
    """Add to the gradient, from the derivatives of the loss by the residuals in their place."""
    room = Rooms(code, shape)
    for start, columns in blocks_of(code, shape):
        with code.when(shape[BLOCK] < shape[SAMPLES]):  # else the signals are still there
            load.write(code, shape, source, work, start, columns, done)
            network.forward.write(code, point, shape, work, columns)
        with code.loop(columns, code.lanes) as s:
            (work + room.deltas()).put((work + (room.residuals + start)).vector(s), s)
        pull_block.write(code, point, gradient, shape, work, columns)


@entry(*OBJECTIVE)
def objective(point: ndarray, gradient: ndarray, shape: ndarray, source: ndarray, work: ndarray, done: int) -> float:
    """Return mean(|residual|^p)^(2/p), the square of the L_p norm of the residuals, and write its gradient.

    The mean square for p = 2. All other powers are taken of residuals divided by the largest, so that nothing over- or
    underflows which would not do so in the mean square. With m the largest, q = residual / m, S = mean(q^p) it is
    m^2 S^(2/p), its derivative 2 m S^(2/p - 1) q^(p-1) / n.
    """
    fill(len(gradient), 0.0, gradient, 0)
    if shape[POWER] == 2:
        return mean_square(point, gradient, len(gradient), shape, source, work, done)
    kept = keep_residuals(point, shape, source, work, done)
    loss = _mean_power(shape, work, kept)
    if len(gradient):
        pull_kept(point, gradient, shape, source, work, done)
    return loss


@part
def _mean_power(shape: ndarray, work: ndarray, kept: int) -> float:
    """Return the loss of the residuals, and put its derivatives in their place."""
    count, most, total = shape[SAMPLES], 0.0, 0.0
    for s in range(count):
        if not abs(work[kept + s]) <= most:
            most = abs(work[kept + s])  # NaN as well, and for good
    if most == 0.0:
        return 0.0
    for s in range(count):
        total += _whole_power(work[kept + s] / most, shape[POWER])
    total /= count
    root = _root(total, shape[POWER] // 2)
    factor = 2.0 * most * root / total / count
    for s in range(count):
        work[kept + s] = factor * _whole_power(work[kept + s] / most, shape[POWER] - 1)
    return most * most * root


@part
def _whole_power(base: float, power: int) -> float:
    result = 1.0
    while power:
        if power & 1:
            result *= base
        base *= base
        power >>= 1
    return result


@part
def _root(number: float, degree: int) -> float:
    """Return the root of a degree by Newton's method from above, where it descends until it is there."""
    if degree == 1 or not (number > 0.0 and number < math.inf):
        return number
    root = max(number, 1.0)
    for _ in range(2000):
        lower = root - (root - number / _whole_power(root, degree - 1)) / degree
        if not lower < root:
            break
        root = lower
    return root
