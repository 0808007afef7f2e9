"""Remainders of functions of Taylor models, entry by entry: what `taylor.compositions` says in numbers."""

from __future__ import annotations

import numpy as np

from hpcsweep.approx.kernels.compiling import INTEGER, NOTHING, NUMBER, VECTOR, entry


@entry(NOTHING, INTEGER, INTEGER, VECTOR)
def tanh_coefficients(count: int, columns: int, out: np.ndarray) -> None:
    """Write Taylor coefficients of tanh (count, columns) from the values in the first row.

    (m + 1) y_(m+1) = [m = 0] - sum_i y_i y_(m-i), each sum with m + 4 roundings at most.
    """
    for s in range(columns if count > 1 else 0):
        out[columns + s] = 1.0 - out[s] * out[s]
    for m in range(1, count - 1):
        after = (m + 1) * columns
        for s in range(columns):
            total = out[s] * out[m * columns + s]
            for i in range(1, (m + 1) // 2):
                total += out[i * columns + s] * out[(m - i) * columns + s]
            total *= 2.0
            if m % 2 == 0:
                middle = out[m // 2 * columns + s]
                total += middle * middle
            out[after + s] = total / -(m + 1.0)


@entry(NOTHING, INTEGER, INTEGER, *[NUMBER] * 6, *[VECTOR] * 10)
def bound(
    order: int,
    columns: int,
    relative: float,
    linear: float,
    four: float,
    own: float,
    tiny: float,
    poor: float,
    coefficients: np.ndarray,
    absolute: np.ndarray,
    scale: np.ndarray,
    highest: np.ndarray,
    second: np.ndarray,
    first: np.ndarray,
    reach: np.ndarray,
    radius: np.ndarray,
    lost: np.ndarray,
    out: np.ndarray,
) -> None:
    """Write the remainders of g(u + p + e), |p| <= reach and |e| <= radius; negative where that of a line may be less.

    Parameters
    ----------
    relative, linear: errors of the coefficients g_m, and of the terms that are made of them but for m = 0, relative to
        these
    four, own: gamma of the roundings of a coefficient's bound, and of all that is summed up here
    poor: the share of the reach of a function from which on a remainder is large
    coefficients: (order + 2, columns); their errors are `absolute` (order + 2,) times `scale` (columns,) besides
    highest, second, first: (columns,), bounds of |g^(n)| / n! for n = order + 2, 2, 1 within reach + radius
    lost: (columns,), what the composition with p has lost
    """
    for s in range(columns):
        h, noise, sizes = reach[s], 0.0, 0.0
        for m in range(order, -1, -1):
            size = abs(coefficients[m * columns + s])
            error = relative + linear if m > 0 else relative
            noise = noise * h + size * error + tiny + absolute[m] * scale[s]
            sizes += size
        noise += sizes * tiny
        size = abs(coefficients[(order + 1) * columns + s])
        tail = size * (1.0 + relative + four) + tiny + absolute[order + 1] * scale[s] + highest[s] * h
        for _ in range(order + 1):
            tail *= h
        size = abs(coefficients[columns + s])
        slope = size * (1.0 + relative + four) + tiny + absolute[1] * scale[s] + 2.0 * second[s] * (h + radius[s])
        if not slope <= first[s]:
            slope = first[s]
        cut = lost[s] + tail
        whole = (slope * radius[s] + noise + cut) * (1.0 + own) + tiny
        good = cut < noise + poor * slope * h and whole < np.inf
        out[s] = whole if good else -whole
