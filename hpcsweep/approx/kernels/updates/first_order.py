"""Gradient descent with momentum, Adam and AdamW: what they are is told in `hpcsweep.approx.training.optimizers`."""

from __future__ import annotations

import math
from typing import Final

from numpy import ndarray

from hpcsweep.approx.kernels import elementary_functions
from hpcsweep.approx.kernels.builder import Code
from hpcsweep.approx.kernels.compiling import entry, kernel, part
from hpcsweep.approx.kernels.iteration import LOSS, OWN, PROPOSE, STEPS, TAKE
from hpcsweep.approx.kernels.vectors import Array, Index, Number, fma, select

RATE, FINAL, SCHEDULE, PLANNED = range(OWN, OWN + 4)  # learning rates; the schedule; steps of that
FIRST, SECOND, EPSILON, DECAY = range(OWN + 4, OWN + 8)  # beta1 or momentum, beta2 or whether Nesterov's, ...
POWER_FIRST, POWER_SECOND, FLOOR = range(OWN + 8, OWN + 11)  # beta1^t, beta2^t; what has decayed to less is cut off
END: Final = OWN + 11
CONSTANT, EXPONENTIAL, COSINE = range(3)  # schedules

SWEEP = 64  # steps between looks for what has decayed: processors are slow on subnormal numbers


@kernel
def exponential(code: Code, exponent: Number) -> Number:
    """Return the exponential function: ours, since that of the C library is another one on another machine."""
    return elementary_functions.exp(exponent)


@kernel
def logarithm(code: Code, number: Number) -> Number:
    """Return the natural logarithm."""
    return elementary_functions.log(number)


@kernel
def cosine(code: Code, angle: Number) -> Number:
    """Return the cosine."""
    return elementary_functions.cos(angle)


@part
def rate_of(numbers: ndarray) -> float:
    """Return the learning rate of the next step, as `hpcsweep.approx.training.batched.schedules.learning_rate` says."""
    initial, final, share = numbers[RATE], numbers[FINAL], numbers[STEPS] / max(numbers[PLANNED], 1.0)
    if numbers[SCHEDULE] == EXPONENTIAL:
        return initial * exponential(share * logarithm(final / initial))
    if numbers[SCHEDULE] == COSINE:
        return final + (initial - final) * (1.0 + cosine(math.pi * share)) / 2.0
    return initial


@kernel
def clear_tiny(code: Code, count: Index, least: Number, vector: Array, at: Index) -> None:
    """Make zeros of what is smaller than `least`."""
    with code.loop(count, code.lanes) as i:
        entries = vector + (at + i)
        numbers = entries.vector()
        entries.put(select(abs(numbers) < least.spread(), 0.0, numbers))


@kernel
def adam_step(
    code: Code,
    count: Index,
    factor: Number,
    epsilon: Number,
    first: Number,
    second: Number,
    kept: Number,
    point: Array,
    point_at: Index,
    gradient: Array,
    gradient_at: Index,
    moments: Array,
    first_at: Index,
    second_at: Index,
) -> None:
    """Update the moments by `first` and `second`, 1 - beta; point = kept * point - factor * m / (sqrt(v) + epsilon)."""
    spread = [number.spread() for number in (factor, epsilon, first, second, kept)]
    factors, epsilons, firsts, seconds, kepts = spread
    with code.loop(count, code.lanes) as i:
        slope, weights, moment = (gradient + gradient_at).vector(i), point + (point_at + i), moments + i
        mean, square = moment.vector(first_at), moment.vector(second_at)
        mean = fma(firsts, slope - mean, mean)
        square = fma(seconds, fma(slope, slope, -square), square)
        moment.put(mean, first_at)
        moment.put(square, second_at)
        weights.put(kepts * weights.vector() - factors * mean / (square.sqrt() + epsilons))


@kernel
def momentum_step(
    code: Code, count: Index, rate: Number, momentum: Number, ahead: Number, point: Array, gradient: Array, sums: Array
) -> None:
    """Update sum = momentum * sum + gradient, and point -= rate * (sum + ahead * (gradient + (momentum - 1) sum))."""
    rates, momenta, aheads = rate.spread(), momentum.spread(), ahead.spread()
    with code.loop(count, code.lanes) as i:
        slope, weights = gradient.vector(i), point + i
        total = fma(momenta, sums.vector(i), slope)
        sums.put(total, i)
        nesterov = fma(momenta, total, slope)
        weights.put(fma(-rates, fma(aheads, nesterov - total, total), weights.vector()))


@part
def corrected(numbers: ndarray) -> tuple[float, float]:
    """Count a step of Adam; return what its quotients are multiplied by, and the epsilon beside sqrt(v).

    (m / a) / (sqrt(v) / b + epsilon) = (b / a) m / (sqrt(v) + b epsilon), with a = 1 - beta1^t, b = sqrt(1 - beta2^t).
    """
    rate = rate_of(numbers)
    numbers[POWER_FIRST] *= numbers[FIRST]
    numbers[POWER_SECOND] *= numbers[SECOND]
    root = math.sqrt(1.0 - numbers[POWER_SECOND])
    return rate * root / (1.0 - numbers[POWER_FIRST]), numbers[EPSILON] * root


@part
def is_sweep(numbers: ndarray) -> bool:
    """Return whether it is time to look for what has decayed."""
    return int(numbers[STEPS]) % SWEEP == 0


@entry(*TAKE)
def take(numbers: ndarray, vectors: ndarray, point: ndarray, gradient: ndarray, loss: float, shape: ndarray) -> int:
    """Every point is an iterate."""
    numbers[LOSS] = loss
    return 1


@entry(*PROPOSE)
def propose_momentum(numbers: ndarray, vectors: ndarray, point: ndarray, gradient: ndarray, shape: ndarray) -> int:
    """Move by SGD."""
    count = len(point)
    if is_sweep(numbers):
        clear_tiny(count, numbers[FLOOR], vectors, 0)
    momentum_step(count, rate_of(numbers), numbers[FIRST], numbers[SECOND], point, gradient, vectors)
    numbers[STEPS] += 1.0
    return 0


@entry(*PROPOSE)
def propose_adam(numbers: ndarray, vectors: ndarray, point: ndarray, gradient: ndarray, shape: ndarray) -> int:
    """Move by Adam or AdamW."""
    count = len(point)
    if is_sweep(numbers):
        clear_tiny(count, numbers[FLOOR], vectors, 0)
        clear_tiny(count, numbers[FLOOR], vectors, count)
    kept = 1.0 - numbers[DECAY] * rate_of(numbers)
    factor, epsilon = corrected(numbers)
    adam_step(
        *(count, factor, epsilon, 1.0 - numbers[FIRST], 1.0 - numbers[SECOND], kept),
        *(point, 0, gradient, 0, vectors, 0, count),
    )
    numbers[STEPS] += 1.0
    return 0
