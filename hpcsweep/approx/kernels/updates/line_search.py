"""Methods with a line search: iterates, and trials between them.

The search follows Hager and Zhang, "A new conjugate gradient method with guaranteed descent and an efficient line
search", SIAM J. Optim. 16 (2005): the strong Wolfe conditions or, where losses differ by no more than their rounding
errors, the approximate ones (their equation 4.1), which ask about slopes only. Points are bracketed by the signs of
slopes and located by cubic interpolation (Nocedal and Wright, "Numerical optimization", 2nd edition, equations 3.59 and
3.60).
"""

from __future__ import annotations

import math
from typing import Final

from numpy import ndarray

from hpcsweep.approx.kernels.builder import Code
from hpcsweep.approx.kernels.compiling import inlined, kernel
from hpcsweep.approx.kernels.iteration import LOSS, OWN, STEPS
from hpcsweep.approx.kernels.matrices import copy, dot, norm1, write_multiple
from hpcsweep.approx.kernels.vectors import Array, Index, Number, fma

DECREASE: Final = 1e-4  # the constants of the two Wolfe conditions
CURVATURE: Final = 0.9
TRIALS: Final = 20  # in one search
PATIENCE: Final = 3  # searches in a row that may fail before a method starts afresh; as many more, and it is settled
FLAT: Final = 1e-14  # curvature s'y of a step s, in units of |s| |y|, that is lost in rounding errors

# Numbers: of the iterates; then step, loss and slope of the low and of the high end of the search.
FRESH, READY, BLANK, DROP, FAILURES, UNIT, SLOPE, STEP, COUNT, CONFIRMING = range(OWN, OWN + 10)
LOW: Final = OWN + 10
HIGH: Final = OWN + 13
END: Final = OWN + 16

# Vectors, each as long as the point: iterate, gradient there, direction; step and change of the gradient.
VECTORS: Final = 5
NOTHING, FIRST, ACCEPTED, FAILED = range(4)


@inlined
def observe(numbers: ndarray, vectors: ndarray, point: ndarray, gradient: ndarray, loss: float) -> int:
    """Take in a trial: NOTHING follows yet, it is the FIRST point or ACCEPTED as an iterate, or the search FAILED.

    At a new iterate the step from the last one and the change of the gradient are left in their vectors.
    """
    count = len(point)
    if numbers[FRESH] > 0.0:
        numbers[FRESH] = 0.0
        numbers[LOSS] = loss
        copy(count, point, 0, vectors, 0)
        copy(count, gradient, 0, vectors, count)
        steepest(numbers, vectors, count)
        return FIRST
    verdict = _advance(numbers, loss, dot(count, vectors, 2 * count, gradient, 0))
    if verdict == ACCEPTED:
        _arrive(count, point, gradient, vectors)
        numbers[DROP] = numbers[LOSS] - loss
        numbers[LOSS] = loss
        numbers[FAILURES] = 0.0
        numbers[STEPS] += 1.0
        numbers[READY] = 1.0
    elif verdict == FAILED:
        numbers[FAILURES] += 1.0
        numbers[READY] = 1.0
    return verdict


@kernel
def _arrive(code: Code, count: Index, point: Array, gradient: Array, vectors: Array) -> None:
    """Write the step from the last iterate and the change of the gradient, then the new ones over the old ones."""
    with code.loop(count, code.lanes) as i:
        for place, arrived in enumerate((point, gradient)):
            old, new = vectors + (count * place + i), arrived.vector(i)
            old.put(new - old.vector(), count * 3)
            old.put(new)


@inlined
def steepest(numbers: ndarray, vectors: ndarray, count: int) -> None:
    """Let the direction be minus the gradient."""
    write_multiple(count, -1.0, vectors, count, vectors, 2 * count)
    numbers[READY] = 1.0


@inlined
def begin(numbers: ndarray, vectors: ndarray, count: int, slope: float) -> None:
    """Begin a search along the direction.

    The first trial assumes that the loss decreases as it did last time, but is at most 1 (Nocedal and Wright, equation
    3.60) and at least 0.05; without a scale it moves the weights by 1 in all, or by the gradient. After a failure it is
    1, 2 ... powers of four shorter, or the next search would be the same.
    """
    step = -2.02 * numbers[DROP] / slope
    step = min(max(step, 0.05), 1.0) if step > 0.0 else 1.0
    if numbers[BLANK] > 0.0:
        step = min(1.0, 1.0 / norm1(count, vectors, count))
    for _ in range(int(numbers[FAILURES])):
        step *= 0.25
    numbers[READY], numbers[SLOPE], numbers[STEP], numbers[COUNT], numbers[CONFIRMING] = 0.0, slope, step, 0.0, 0.0
    numbers[LOW], numbers[LOW + 1], numbers[LOW + 2] = 0.0, numbers[LOSS], slope
    numbers[HIGH], numbers[HIGH + 1], numbers[HIGH + 2] = math.inf, math.inf, math.inf


@kernel
def write_trial(code: Code, count: Index, step: Number, vectors: Array, point: Array) -> None:
    """Write the point at a step along the direction."""
    with code.loop(count, code.lanes) as i:
        point.put(fma(step.spread(), (vectors + count * 2).vector(i), vectors.vector(i)), i)


@inlined
def _advance(numbers: ndarray, loss: float, slope: float) -> int:
    """Take in loss and slope at the trial; set the next one unless the search is over."""
    start, unit, step = numbers[LOSS], numbers[UNIT], numbers[STEP]
    # A residual r carries a rounding error of some eps, so r^2 one of some 2 r eps.
    noise = 1e-10 * start + 20.0 * unit * math.sqrt(start)
    finite = math.isfinite(loss) and math.isfinite(slope)
    lower, level = loss <= start + DECREASE * step * numbers[SLOPE], loss <= start + noise
    if numbers[CONFIRMING] > 0.0 or (finite and _is_wolfe(numbers[SLOPE], slope, lower, level)):
        return ACCEPTED
    last = numbers[LOW], numbers[LOW + 1], numbers[LOW + 2]
    end = LOW if finite and (lower or level) and slope < 0.0 else HIGH
    numbers[end], numbers[end + 1] = step, loss if finite else math.inf
    numbers[end + 2] = slope if finite else math.inf
    numbers[COUNT] += 1.0
    low, high = numbers[LOW], numbers[HIGH]
    bracketed = math.isfinite(high)
    width = high - low if bracketed else 0.0
    other = (high, numbers[HIGH + 1], numbers[HIGH + 2]) if bracketed else last
    if math.isfinite(other[1]):
        guess = cubic((low, numbers[LOW + 1], numbers[LOW + 2]), other)
    else:
        guess = low + (0.5 if low > 0.0 else 0.1) * width  # beside something that is not finite
    least, most = (low + 0.1 * width, low + 0.9 * width) if bracketed else (2.0 * low, 10.0 * low)
    numbers[STEP] = min(max(guess, least), most)
    if (bracketed and width <= 50.0 * unit * high) or numbers[COUNT] >= TRIALS:
        if not (low > 0.0 and numbers[LOW + 1] < start):
            return FAILED
        numbers[CONFIRMING], numbers[STEP] = 1.0, low  # the best that was found, to be taken as it is
    return NOTHING


@inlined
def _is_wolfe(start: float, slope: float, lower: bool, level: bool) -> bool:
    flat = abs(slope) <= -CURVATURE * start
    return flat and (lower or (level and slope <= (2.0 * DECREASE - 1.0) * start))


@inlined
def cubic(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    """Return the minimiser of the cubic through two points, each (step, loss, slope); their middle if there is none."""
    a, f, p = one
    b, g, q = other
    mean = p + q - 3.0 * (f - g) / (a - b)
    root = math.sqrt(mean * mean - p * q) * (1.0 if b > a else -1.0)
    guess = b - (b - a) * ((q + root - mean) / (q - p + 2.0 * root))
    return guess if math.isfinite(guess) else (a + b) / 2.0
