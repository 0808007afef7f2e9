"""Residuals and Jacobians, for methods that minimise sums of squares."""

from __future__ import annotations

import numpy as np

from hpcsweep.approx.kernels import layers, network, objective
from hpcsweep.approx.kernels.builder import Code
from hpcsweep.approx.kernels.compiling import INTEGER, INTEGERS, NUMBER, VECTOR, entry, function_type, kernel
from hpcsweep.approx.kernels.matrices import fill
from hpcsweep.approx.kernels.network import Rooms
from hpcsweep.approx.kernels.objective import blocks_of, spread
from hpcsweep.approx.kernels.problem import SAMPLES
from hpcsweep.approx.kernels.vectors import Array, Index, Integers, Matrix, Number

# From (point, out, where in it, shape, source, work) to the mean square.
RESIDUALS = NUMBER, VECTOR, VECTOR, INTEGER, INTEGERS, VECTOR, VECTOR
residuals_type = function_type(*RESIDUALS)


# Places in the description of a room: lengths, where things begin, and whether the equations are in the dual form.
PARAMETERS, COLUMNS, SIZE, DUAL, JACOBIAN, GRAM, FACTOR, INVERSE = range(8)
RESIDUAL, AHEAD, VELOCITY, ACCELERATION, RIGHT, BEST, TRIAL, ROOM = range(8, 16)


def places(parameters: int, samples: int, lanes: int) -> np.ndarray:
    """Return the description (ROOM + 1,) of the room for a problem; its last entry is how many numbers there are."""
    padded, columns = (-(-count // lanes) * lanes for count in (parameters, samples))
    size = min(padded, columns) if parameters > samples else padded
    lengths = [parameters * columns, size**2, size**2, size * lanes, columns, columns]
    lengths += [padded, padded, max(padded, columns), padded, padded]
    starts = np.cumsum([0, *lengths])
    return np.array([parameters, columns, size, parameters > samples, *starts], dtype=np.int64)


@kernel
def write_residuals(
    code: Code, point: Array, out: Array, at: Index, shape: Integers, source: Array, work: Array
) -> Number:
    """Write the residuals of all samples; return their mean square."""
    room, total = Rooms(code, shape), code.variable(code.double.number(0.0))
    for start, columns in blocks_of(code, shape):
        objective.residuals_of_block.write(code, point, shape, source, work, start, columns, 0)
        total.set(total.get() + layers.squares.write(code, columns, work, room.deltas()))
        with code.loop(columns, code.lanes) as s:
            (out + (at + start)).put((work + room.deltas()).vector(s), s)
    return total.get() / shape[SAMPLES].of(code.double)


@kernel
def write_jacobian(
    code: Code, point: Array, out: Matrix, gram: Matrix, shape: Integers, source: Array, work: Array
) -> None:
    """Write the derivatives of all residuals, a row for each parameter; see `network.write_jacobian` for the gram."""
    room = Rooms(code, shape)
    for start, columns in blocks_of(code, shape):
        objective.residuals_of_block.write(code, point, shape, source, work, start, columns, 0)
        real = shape[SAMPLES] - start
        with code.loop(columns) as s:
            one = (code.index(1).where(s < real, 0)).of(code)
            (work + room.deltas()).put(one, s)
        spread(code, shape, work, columns)
        rows = out.start, start, out.row, gram.start, 0, gram.row
        network.write_jacobian.write(code, point, shape, work, columns, *rows)


@entry(*RESIDUALS)
def residuals(
    point: np.ndarray, out: np.ndarray, at: int, shape: np.ndarray, source: np.ndarray, work: np.ndarray
) -> float:
    """Write the residuals of all samples from a place on; return their mean square."""
    return write_residuals(point, out, at, shape, source, work)


@entry(NUMBER, VECTOR, VECTOR, INTEGERS, INTEGERS, VECTOR, VECTOR)
def linearise(
    point: np.ndarray, room: np.ndarray, at: np.ndarray, shape: np.ndarray, source: np.ndarray, work: np.ndarray
) -> float:
    """Write residuals, Jacobian and of dual equations J J' into a room (see `places`); return the mean square."""
    columns, size, dual, jacobian, gram = at[COLUMNS], at[SIZE], at[DUAL], at[JACOBIAN], at[GRAM]
    if dual:
        fill(size * size, 0.0, room, gram)
    write_jacobian(point, room, jacobian, columns, room, gram, size if dual else 0, shape, source, work)
    return write_residuals(point, room, at[RESIDUAL], shape, source, work)
