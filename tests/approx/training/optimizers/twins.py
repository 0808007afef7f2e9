"""Naive twins of the methods with a line search: one network, plain floats, as in the papers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

EPSILON = 2.0**-52
Function = Callable[[float], tuple[float, float]]  # from a step to loss and slope


def clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def cubic(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    """The minimiser of the cubic through two points, as in Nocedal and Wright, equation 3.59."""
    (a, f, p), (b, g, q) = one, other
    try:
        mean = p + q - 3 * (f - g) / (a - b)
        root = math.copysign(math.sqrt(mean * mean - p * q), b - a)
        guess = b - (b - a) * ((q + root - mean) / (q - p + 2 * root))
    except (ValueError, ZeroDivisionError, OverflowError):
        return (a + b) / 2
    return guess if math.isfinite(guess) else (a + b) / 2


def search(function: Function, loss: float, slope: float, step: float) -> tuple[float | None, int]:
    """The line search, for one function and in plain floats: the step (None: failed), and how many evaluations."""
    low, high = (0.0, loss, slope), None
    noise = 1e-10 * loss + 20 * EPSILON * math.sqrt(loss)
    for evaluation in range(1, 21):
        found, rise = function(step)
        finite = math.isfinite(found) and math.isfinite(rise)
        decreased, level = found <= loss + 1e-4 * step * slope, found <= loss + noise
        if finite and abs(rise) <= -0.9 * slope and (decreased or (level and rise <= (2e-4 - 1) * slope)):
            return step, evaluation
        last = low
        if finite and (decreased or level) and rise < 0:
            low = (step, found, rise)
        else:
            high = (step, found, rise) if finite else (step, math.inf, math.inf)
        if high is None:
            step = clip(cubic(low, last), 2 * low[0], 10 * low[0])
            continue
        width = high[0] - low[0]
        if width <= 50 * EPSILON * high[0]:
            break
        guess = cubic(low, high) if math.isfinite(high[1]) else low[0] + (0.5 if low[0] > 0 else 0.1) * width
        step = clip(guess, low[0] + 0.1 * width, low[0] + 0.9 * width)
    return (low[0], evaluation + 1) if low[0] > 0 and low[1] < loss else (None, evaluation)


def along(loss: Callable, weights: np.ndarray, direction: np.ndarray) -> Function:
    def function(step: float) -> tuple[float, float]:
        value, gradient = loss(weights + step * direction)
        return value, gradient @ direction

    return function


def unscaled(b: float, h: float, parameters: int) -> tuple[float, float]:
    return 1.0, 1.0


def scaled(b: float, h: float, parameters: int) -> tuple[float, float]:
    return min(1.0, 1 / b), 1.0


def broyden(b: float, h: float, parameters: int) -> tuple[float, float]:
    """Urban, Stefanou and Pons, equations for tau and phi."""
    a = max(h * b - 1, 1e-300)
    rho = min(1.0, h * (1 - math.sqrt(a / (1 + a))))
    theta = max((rho - 1) / a, min(1 / rho, (1 - b) / b))
    sigma = 1 + a * theta
    root = abs(sigma) ** (1 / (1 - parameters))
    tau = min(1.0, 1 / b) * min(root, 1 / theta) if theta > 0 else min(min(1.0, 1 / b) * root, sigma)
    return tau, (1 - theta) / sigma


def dense_twin(loss: Callable, weights: np.ndarray, iterates: int, family: Callable) -> list[float]:
    """A quasi-Newton method with a dense matrix in ten lines: the losses of its iterates."""
    (f, g), matrix, losses, drop = loss(weights), np.eye(len(weights)), [], 0.0
    for iterate in range(iterates):
        losses.append(f)
        d = -matrix @ g
        first = min(1.0, 1 / np.abs(g).sum()) if iterate == 0 else clip(-2.02 * drop / (d @ g), 0.05, 1)
        step, _ = search(along(loss, weights, d), f, d @ g, first)
        s = weights + step * d - weights
        new, slope = loss(weights + s)
        y, drop = slope - g, f - new
        if iterate == 0:
            matrix = matrix * (s @ y) / (y @ y)
        image = matrix @ y
        bs = np.linalg.solve(matrix, s) if iterate == 0 else -step * g
        tau, phi = family(s @ bs / (s @ y), y @ image / (s @ y), len(s))
        v = s / (s @ y) - image / (y @ image)
        matrix = (matrix - np.outer(image, image) / (y @ image) + phi * (y @ image) * np.outer(v, v)) / tau
        matrix += np.outer(s, s) / (s @ y)
        weights, f, g = weights + s, new, slope
    return losses


def limited_twin(loss: Callable, weights: np.ndarray, iterates: int, memory: int) -> list[float]:
    """L-BFGS by the two loops of Nocedal and Wright, algorithm 7.4: the losses of its iterates."""
    (f, g), pairs, losses, drop = loss(weights), [], [], 0.0
    for iterate in range(iterates):
        losses.append(f)
        d, used = -g, []
        for s, y in reversed(pairs):
            used.append(s @ d / (s @ y))
            d = d - used[-1] * y
        d = d * (pairs[-1][0] @ pairs[-1][1] / (pairs[-1][1] @ pairs[-1][1]) if pairs else 1.0)
        for (s, y), a in zip(pairs, reversed(used), strict=True):
            d = d + s * (a - y @ d / (s @ y))
        first = min(1.0, 1 / np.abs(g).sum()) if iterate == 0 else clip(-2.02 * drop / (d @ g), 0.05, 1)
        step, _ = search(along(loss, weights, d), f, d @ g, first)
        new, slope = loss(weights + step * d)
        pairs = [*pairs, (weights + step * d - weights, slope - g)][-memory:]
        weights, drop, f, g = weights + step * d, f - new, new, slope
    return losses
