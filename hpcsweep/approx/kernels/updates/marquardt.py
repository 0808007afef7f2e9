"""Levenberg-Marquardt with geodesic acceleration, as `hpcsweep.approx.training.optimizers.levenberg_marquardt`.

The normal equations (J'J + lambda t 1) d = J'r, t the mean diagonal of J'J, are solved in this form or in the dual one,
d = J'(J J' + lambda t 1)^-1 r, whichever matrix is smaller. Residuals and Jacobians are those of sums of squares: times
the roots of the weights. `room` holds what is computed anew in each step, see `residuals.places`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from numpy import ndarray

from hpcsweep.approx.kernels.compiling import INTEGER, INTEGERS, NUMBERS, VECTOR, entry, inlined, part
from hpcsweep.approx.kernels.iteration import LOSS, OWN, STEPS
from hpcsweep.approx.kernels.matrices import add_multiple, add_outer, copy, dot, fill, product, write_multiple
from hpcsweep.approx.kernels.problem import LANES, ZERO
from hpcsweep.approx.kernels.residuals import (
    ACCELERATION,
    AHEAD,
    BEST,
    COLUMNS,
    DUAL,
    FACTOR,
    GRAM,
    INVERSE,
    JACOBIAN,
    PARAMETERS,
    RESIDUAL,
    RIGHT,
    SIZE,
    VELOCITY,
    residuals_type,
)
from hpcsweep.approx.kernels.updates.cholesky import factorise, solve

DAMPING, STALLED, UNIT, SQUARE = range(OWN, OWN + 4)  # UNIT: eps; SQUARE: mean square of the values
END: Final = OWN + 4
INITIAL: Final = 1e-2  # damping
FACTORS, AFTER_FAILURE = (0.3, 3.0), 12.0  # of the damping: tried at once; where both were too small
LOWEST, HIGHEST = 1e-18, 1e10
PATIENCE = 20  # steps without progress: by then even the lowest damping has grown beyond the highest
AHEAD_SHARE = 0.1  # where the second derivative along a step is taken, in steps (h of Transtrum and Sethna)
LARGEST_RATIO = 0.75  # of twice the acceleration to the velocity (their alpha)


@inlined
def multiply_transposed(room: ndarray, at: ndarray) -> None:
    """Write the lower triangle of J'J from J, some samples at a time, whose rows then stay in the cache."""
    size, row = at[SIZE], at[COLUMNS]
    fill(size * size, 0.0, room, at[GRAM])
    for start in range(0, row, 256):
        for first in range(0, at[PARAMETERS], 16):
            rows = min(16, at[PARAMETERS] - first)
            add_outer(rows, first + rows, min(256, row - start), 1.0, room, at[JACOBIAN] + first * row + start, row,
                      room, at[JACOBIAN] + start, row, room, at[GRAM] + first * size, size)  # fmt: skip


@inlined
def factor(damping: float, room: ndarray, at: ndarray, lanes: int) -> bool:
    """Factorise the damped matrix; return whether that was possible."""
    size, trace = at[SIZE], 0.0
    for i in range(size):
        trace += room[at[GRAM] + i * size + i]
    shift = damping * trace / at[PARAMETERS]
    copy(size * size, room, at[GRAM], room, at[FACTOR])
    real = at[COLUMNS] if at[DUAL] else at[PARAMETERS]
    for i in range(size):
        diagonal = at[FACTOR] + i * size + i
        room[diagonal] = room[diagonal] + shift if i < real else 1.0
    return math.isfinite(trace) and factorise(size, lanes, room, at[FACTOR], room, at[INVERSE])


@part
def solve_for(residuals: int, out: int, room: ndarray, at: ndarray, lanes: int) -> None:
    """Write d for residuals that lie in the room."""
    right, size, row = at[RIGHT], at[SIZE], at[COLUMNS]
    if at[DUAL]:
        copy(row, room, residuals, room, right)
        solve(size, lanes, room, at[FACTOR], room, at[INVERSE], room, right)
        residuals = right
    fill(at[ACCELERATION] - at[VELOCITY], 0.0, room, out)
    add_outer(at[PARAMETERS], 1, row, 1.0, room, at[JACOBIAN], row, room, residuals, 0, room, out, 1)
    if not at[DUAL]:
        solve(size, lanes, room, at[FACTOR], room, at[INVERSE], room, out)


@inlined
def _tried(residuals: Callable[..., float], point: ndarray, shape: ndarray, source: ndarray, work: ndarray,
           room: ndarray, at: ndarray, trial: ndarray) -> float:  # fmt: skip
    """Write the better step for the present factor into the room, with acceleration or without; return its loss."""
    lanes, count, velocity, bent = shape[LANES], len(point), at[VELOCITY], at[ACCELERATION]
    solve_for(at[RESIDUAL], velocity, room, at, lanes)
    write_multiple(count, -1.0, room, velocity, room, velocity)
    copy(count, point, 0, trial, 0)
    add_multiple(count, AHEAD_SHARE, room, velocity, trial, 0)
    residuals(trial, room, at[AHEAD], shape, source, work)
    # The second derivative of the residuals along the velocity by one finite difference: equation 13 of the paper.
    product(1, at[PARAMETERS], at[COLUMNS], room, velocity, 0, 1, work, shape[ZERO], 0, room, at[JACOBIAN],
            at[COLUMNS], room, at[RIGHT], 0)  # fmt: skip
    for s in range(at[COLUMNS]):
        change = (room[at[AHEAD] + s] - room[at[RESIDUAL] + s]) / AHEAD_SHARE - room[at[RIGHT] + s]
        room[at[AHEAD] + s] = change * (2.0 / AHEAD_SHARE)
    solve_for(at[AHEAD], bent, room, at, lanes)
    copy(count, point, 0, trial, 0)
    add_multiple(count, 1.0, room, velocity, trial, 0)
    loss = residuals(trial, room, at[AHEAD], shape, source, work)
    write_multiple(count, -0.5, room, bent, room, bent)
    short = 4.0 * dot(count, room, bent, room, bent) < LARGEST_RATIO**2 * dot(count, room, velocity, room, velocity)
    if short:
        add_multiple(count, 1.0, room, velocity, room, bent)
        copy(count, point, 0, trial, 0)
        add_multiple(count, 1.0, room, bent, trial, 0)
        curved = residuals(trial, room, at[AHEAD], shape, source, work)
        if curved < loss or not math.isfinite(loss):
            copy(count, room, bent, room, velocity)
            return curved
    return loss


@entry(INTEGER, residuals_type, NUMBERS, VECTOR, VECTOR, INTEGERS, VECTOR, VECTOR, VECTOR, INTEGERS)
def propose_marquardt(residuals: Callable[..., float], numbers: ndarray, point: ndarray, trial: ndarray, shape: ndarray,
                      source: ndarray, work: ndarray, room: ndarray, at: ndarray) -> int:  # fmt: skip
    """Take the best of four trials if it descends, from what `linearise` has left; return 1 if none ever will.

    Two dampings at once, each with and without acceleration. The one that won is the next; after a failure it grows.
    """
    if numbers[STALLED] >= PATIENCE or numbers[DAMPING] >= HIGHEST:
        return 1
    if not at[DUAL]:
        multiply_transposed(room, at)
    best, won, count = math.inf, 0.0, len(point)
    for share in FACTORS:
        damping = min(max(share * numbers[DAMPING], LOWEST), HIGHEST)
        if factor(damping, room, at, shape[LANES]):
            loss = _tried(residuals, point, shape, source, work, room, at, trial)
            if loss < best:
                best, won = loss, damping
                copy(count, room, at[VELOCITY], room, at[BEST])
    loss = numbers[LOSS]
    if best < loss:
        add_multiple(count, 1.0, room, at[BEST], point, 0)
        numbers[DAMPING] = won
    else:
        numbers[DAMPING] = min(AFTER_FAILURE * numbers[DAMPING], HIGHEST)
    # A residual is a difference of numbers of the size of the values: wrong by some eps |value|, however small it is.
    noise = 20.0 * numbers[UNIT] * math.sqrt(loss * numbers[SQUARE])
    numbers[STALLED] = 0.0 if loss - best > noise else numbers[STALLED] + 1.0
    numbers[STEPS] += 1.0
    return 0
