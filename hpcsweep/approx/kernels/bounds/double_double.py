"""Perceptrons of tanh neurons in double-double arithmetic: numbers x = x_h + x_l of two float64, with error bounds.

The algorithms and their bounds are those of `certificate.enclosure.double_double`, in loops; u = 2^-53. A product of a
float64 number and a pair errs by 9 u^2 of it, a sum of pairs by 4 u^2 of the sizes of both. No sum is fused with a
product: numba allows that only with `fastmath`.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from hpcsweep.approx.kernels.compiling import INTEGERS, NOTHING, NUMBER, VECTOR, entry, inlined

_SPLITTER: Final = 2.0**27 + 1.0
_SQUARE: Final = 2.0**-106
PARTS: Final = 64  # of an octave
_LOW_TERMS: Final = 7  # terms of the exponential series that are pairs
TERMS: Final = 12
_SATURATED: Final = 40.0  # 1 - tanh(40) < 4e-35
_TANH_ERROR: Final = 128 * _SQUARE


@inlined
def _add(a_high: float, a_low: float, b_high: float, b_low: float) -> tuple[float, float]:
    """Return the sum of two pairs."""
    total = a_high + b_high
    part = total - a_high
    error = (a_high - (total - part)) + (b_high - part) + (a_low + b_low)
    high = total + error
    part = high - total
    return high, (total - (high - part)) + (error - part)


@inlined
def _multiply(a_high: float, a_low: float, b_high: float, b_low: float) -> tuple[float, float]:
    """Return the product of two pairs, by Dekker's."""
    product = a_high * b_high
    large = a_high * _SPLITTER
    first = large - (large - a_high)
    second = a_high - first
    large = b_high * _SPLITTER
    third = large - (large - b_high)
    fourth = b_high - third
    error = ((first * third - product) + first * fourth + second * third) + second * fourth
    error += a_high * b_low + a_low * b_high
    high = product + error
    return high, error - (high - product)


@inlined
def _linear(inputs: int, outputs: int, count: int, slack: float, tiny: float, weight: np.ndarray, bias: np.ndarray,
            start: int, own: int, values: np.ndarray, out: np.ndarray) -> None:  # fmt: skip
    """Write W x + b of pairs with their errors, (3, inputs, count) to (3, outputs, count)."""
    size, room = inputs * count, outputs * count
    for j in range(outputs):
        at = j * count
        for s in range(count):
            out[at + s], out[room + at + s], out[2 * room + at + s] = bias[own + j], 0.0, 0.0
        for k in range(inputs):
            w, row = weight[start + j * inputs + k], k * count
            for s in range(count):
                high, low = _multiply(w, 0.0, values[row + s], values[size + row + s])
                before, below = out[at + s], out[room + at + s]
                rounded = (13.0 * abs(high) + 4.0 * abs(before)) * _SQUARE
                out[2 * room + at + s] += abs(w) * values[2 * size + row + s] + rounded + tiny
                total, rest = _add(before, below, high, low)
                out[at + s], out[room + at + s] = total, rest
        for s in range(count):
            out[2 * room + at + s] = out[2 * room + at + s] * slack + 0.0 * out[room + at + s]  # NaN of an overflow


@inlined
def _decay(high: float, low: float, tables: np.ndarray) -> tuple[float, float]:
    """Return exp x for -80 <= x <= 0 with an error of 32 u^2 of it: see `double_double.exp_log.exponential`."""
    count = np.floor(high * (PARTS / np.log(2.0)) + 0.5)
    second, third, series = tables[1], tables[2], 3 + 2 * PARTS
    product, error = _multiply(count, 0.0, second, 0.0)
    rest, rest_low = _add(high - count * tables[0], 0.0, low, 0.0)
    moved, moved_low = _add(-product, 0.0, -error - count * third, 0.0)
    rest, rest_low = _add(rest, rest_low, moved, moved_low)
    tail = tables[series + 2 * (TERMS - 1)]
    for n in range(TERMS - 2, _LOW_TERMS - 1, -1):
        tail = tail * rest + tables[series + 2 * n]
    value, value_low = tail, 0.0
    for n in range(_LOW_TERMS - 1, -1, -1):
        value, value_low = _multiply(value, value_low, rest, rest_low)
        value, value_low = _add(tables[series + 2 * n], tables[series + 2 * n + 1], value, value_low)
    whole = int(count)
    index = whole % PARTS
    value, value_low = _multiply(value, value_low, tables[3 + 2 * index], tables[4 + 2 * index])
    scale = 1.0
    for _ in range((index - whole) // PARTS):
        scale *= 0.5
    return value * scale, value_low * scale


@inlined
def _tanh(width: int, count: int, tables: np.ndarray, values: np.ndarray) -> None:
    """Replace pairs with their errors (3, width, count) by their tanh: (1 - q) / (1 + q), q = exp(-2 |x|).

    q errs by 32 u^2, numerator and denominator by 8 u^2 more, so that their quotient errs by 80 u^2; the reciprocal and
    the product by 25 u^2.
    """
    size = width * count
    for s in range(size):
        high, low, error = values[s], values[size + s], values[2 * size + s]
        sign = -1.0 if high < 0.0 else 1.0
        value, value_low, own = 1.0, 0.0, 4e-35
        if abs(high) <= _SATURATED:
            q, q_low = _decay(-2.0 * sign * high, -2.0 * sign * low, tables)
            above, above_low = _add(1.0, 0.0, -q, -q_low)
            below, below_low = _add(1.0, 0.0, q, q_low)
            guess = 1.0 / below
            product, off = _multiply(below, 0.0, guess, 0.0)
            rest = ((1.0 - product) - off) - below_low * guess
            rest = rest * (1.0 + rest) * guess
            inverse = guess + rest
            value, value_low = _multiply(above, above_low, inverse, rest - (inverse - guess))
            own = _TANH_ERROR
        height = abs(value)
        slope = min(1.0, max(0.0, 1.0 - height) * (1.0 + height) + error + 2.0**-49)
        values[s], values[size + s] = sign * value, sign * value_low
        values[2 * size + s] = (error * slope + own) * (1.0 + 2.0**-47) + 0.0 * (high + low)


@entry(NOTHING, INTEGERS, NUMBER, NUMBER, VECTOR, VECTOR, VECTOR, VECTOR, VECTOR)
def tanh_network(
    widths: np.ndarray,
    slack: float,
    tiny: float,
    tables: np.ndarray,
    weights: np.ndarray,
    biases: np.ndarray,
    inputs: np.ndarray,
    out: np.ndarray,
) -> None:
    """Write a perceptron's outputs, pairs with bounds of their errors.

    Parameters
    ----------
    widths: inputs, hidden layers, outputs
    slack: a factor for the roundings of the bounds themselves, of sums as long as the widest layer
    tables: log 2 / 64 in three parts, the first with few bits; pairs 2^(j / 64) for j < 64; pairs 1 / n! for n < 12
    weights, biases: of all layers, one after the other
    inputs, out: (3, widths[0], count) and (3, widths[-1], count): leading, trailing, error
    """
    layers = len(widths) - 1
    count = len(inputs) // (3 * widths[0])
    values, start, own = inputs, 0, 0
    for layer in range(layers):
        above = out if layer == layers - 1 else np.empty(3 * widths[layer + 1] * count)
        _linear(widths[layer], widths[layer + 1], count, slack, tiny, weights, biases, start, own, values, above)
        if layer < layers - 1:
            _tanh(widths[layer + 1], count, tables, above)
        start, own, values = start + widths[layer] * widths[layer + 1], own + widths[layer + 1], above


@entry(NOTHING, *[VECTOR] * 6)
def multiply(
    left: np.ndarray, left_low: np.ndarray, right: np.ndarray, right_low: np.ndarray, out: np.ndarray, low: np.ndarray
) -> None:
    """Write the products of pairs (count,)."""
    for s in range(len(out)):
        high, rest = _multiply(left[s], left_low[s], right[s], right_low[s])
        out[s], low[s] = high, rest


@entry(NOTHING, *[VECTOR] * 6)
def polynomial(
    high: np.ndarray, low: np.ndarray, pairs: np.ndarray, tail: np.ndarray, out: np.ndarray, out_low: np.ndarray
) -> None:
    """Write a polynomial of pairs (count,), see `error_free.polynomial`; `pairs` (coefficients, 2)."""
    for s in range(len(high)):
        value, value_low = tail[len(tail) - 1], 0.0
        for n in range(len(tail) - 2, -1, -1):
            value = value * high[s] + tail[n]
        for n in range(len(pairs) // 2 - 1, -1, -1):
            value, value_low = _multiply(value, value_low, high[s], low[s])
            value, value_low = _add(pairs[2 * n], pairs[2 * n + 1], value, value_low)
        out[s], out_low[s] = value, value_low
