"""What all methods share: how they meet an objective, and the loop that brings the two together.

A method is two compiled functions over a state that it does not hide, two arrays beside the point:

    propose(numbers, vectors, point, gradient, shape)      writes the next point to evaluate; returns 1 if there is none
    take(numbers, vectors, point, gradient, loss, shape)   takes in loss and gradient there; returns 1 at a new iterate

`numbers` are scalars (float64, whatever the precision of the network), `vectors` whatever is as long as the parameters.
Together with point and gradient they are all there is: saved and restored at any time, they go on to the same bits. The
objective is a function pointer, so that a method meets any of them; and both may be called one by one, from Python.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from numpy import ndarray

from hpcsweep.approx.kernels.compiling import (
    INTEGER,
    INTEGERS,
    NOTHING,
    NUMBER,
    NUMBERS,
    VECTOR,
    entry,
    function_type,
    part,
)
from hpcsweep.approx.kernels.matrices import copy
from hpcsweep.approx.kernels.objective import objective_type

# The first of the numbers of every method; the others begin with OWN.
STEPS: Final = 0  # iterates since the start
LOSS: Final = 1  # at the iterate
TAKEN: Final = 2  # 1 once the point has been evaluated, until the next is proposed
EVALUATIONS: Final = 3
NOTED: Final = 4  # losses that have been noted
SCORE: Final = 5  # the least of them
WALKS: Final = 6  # 1 where the iterate is the first of the vectors, and points are trials
OWN: Final = 7

PROPOSE = INTEGER, NUMBERS, VECTOR, VECTOR, VECTOR, INTEGERS
TAKE = INTEGER, NUMBERS, VECTOR, VECTOR, VECTOR, NUMBER, INTEGERS

# Why `advance` returns.
PAUSED: Final = 0  # it has made the evaluations that it was allowed
DUE: Final = 1  # at the step that it was asked for
WITHIN: Final = 2  # the loss is within the tolerance
DIVERGED: Final = 3  # the loss is not finite
SETTLED: Final = 4  # there is no next point


@part
def note(numbers: ndarray, vectors: ndarray, point: ndarray, best: ndarray, losses: ndarray, marks: ndarray) -> None:
    """Note the loss at the iterate where it is to be noted, and the iterate if it is the best so far."""
    noted = int(numbers[NOTED])
    if noted < len(marks) and numbers[STEPS] >= marks[noted]:
        losses[noted] = numbers[LOSS]
        numbers[NOTED] = noted + 1.0
        if numbers[LOSS] < numbers[SCORE]:
            numbers[SCORE] = numbers[LOSS]
            copy(len(point), vectors if numbers[WALKS] > 0.0 else point, 0, best, 0)


@entry(NOTHING, NUMBERS, VECTOR, VECTOR, VECTOR, NUMBERS, INTEGERS)
def write_note(
    numbers: ndarray, vectors: ndarray, point: ndarray, best: ndarray, losses: ndarray, marks: ndarray
) -> None:
    """Do as `note` does."""
    note(numbers, vectors, point, best, losses, marks)


@entry(
    INTEGER,
    *(objective_type, function_type(*PROPOSE), function_type(*TAKE)),
    *(NUMBERS, VECTOR, VECTOR, VECTOR, VECTOR, NUMBERS, INTEGERS, VECTOR, VECTOR),
    *(INTEGERS, INTEGER, INTEGER, NUMBER, INTEGER),
)
def advance(
    objective: Callable[..., float],
    propose: Callable[..., int],
    take: Callable[..., int],
    numbers: ndarray,
    vectors: ndarray,
    point: ndarray,
    gradient: ndarray,
    best: ndarray,
    losses: ndarray,
    shape: ndarray,
    source: ndarray,
    work: ndarray,
    marks: ndarray,
    done: int,
    due: int,
    tolerance: float,
    evaluations: int,
) -> int:
    """Go on until something is to be looked at; return what.

    Parameters
    ----------
    objective, propose, take, numbers, vectors, point, gradient, shape, source, work : see above
    best, losses : receive the iterate of the least loss that is noted, and what is noted
    marks : steps at which to note the loss, increasing
    done : steps before these, in earlier parts of a chain; streams of minibatches go on
    due : the number of steps after which to return, before the iterate there is left
    tolerance : the loss at which to return
    evaluations : to make at most
    """
    for _ in range(evaluations):
        if numbers[TAKEN] > 0.0:
            if propose(numbers, vectors, point, gradient, shape):
                return SETTLED
            numbers[TAKEN] = 0.0
        loss = objective(point, gradient, shape, source, work, done + int(numbers[STEPS]))
        arrived = take(numbers, vectors, point, gradient, loss, shape)
        numbers[TAKEN] = 1.0
        numbers[EVALUATIONS] += 1.0
        if arrived:
            if not math.isfinite(numbers[LOSS]):
                return DIVERGED
            note(numbers, vectors, point, best, losses, marks)
            if numbers[STEPS] >= due:
                return DUE
            if numbers[LOSS] <= tolerance:
                return WITHIN
    return PAUSED
