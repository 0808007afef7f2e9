"""Networks in 50-digit arithmetic and random ones in float64: the truth for tests of enclosures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import mpmath
import numpy as np
import torch
from mpmath import mpf

from hpcsweep.approx.supnorm.dense import Dense

mpmath.mp.dps = 50

ACTIVATIONS = {
    "relu": lambda x: max(x, mpf(0)),
    "tanh": mpmath.tanh,
    "sin": mpmath.sin,
    "gelu": lambda x: x * (1 + mpmath.erf(x / mpmath.sqrt(2))) / 2,
    "silu": lambda x: x * (1 + mpmath.tanh(x / 2)) / 2,
}


def random_network(
    generator: np.random.Generator,
    dimension: int,
    hidden: Sequence[int],
    activation: str,
    scale: float = 1.0,
    amplitude: float = 1.0,
    standardised: bool = False,
) -> Dense:
    """Return a network with normal weights that keep the size of signals, times `scale`."""
    widths = [dimension, *hidden, 1]
    weights = [generator.normal(size=(o, i)) * scale / np.sqrt(i) for i, o in pairwise(widths)]
    biases = [generator.normal(size=o) * scale / 2 for o in widths[1:]]
    constants = torch.from_numpy(generator.normal(size=(2, dimension))) if standardised else (None, None)
    to_torch = [tuple(map(torch.from_numpy, some)) for some in (weights, biases)]
    return Dense(*to_torch, activation, constants[0], constants[1], amplitude)


def exactly(network: Dense, point: Sequence[mpf]) -> mpf:
    """Return the value of a network at a point."""
    signal = list(point)
    if network.shift is not None and network.factor is not None:
        constants = zip(signal, network.shift.tolist(), network.factor.tolist(), strict=True)
        signal = [(x - mpf(shift)) * mpf(factor) for x, shift, factor in constants]
    for layer, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        signal = [
            mpmath.fdot([*zip(map(mpf, row), signal, strict=True), (mpf(offset), mpf(1))])
            for row, offset in zip(weight.tolist(), bias.tolist(), strict=True)
        ]
        if layer + 1 < len(network.weights):
            signal = [ACTIVATIONS[network.activation](x) for x in signal]
    return mpf(network.amplitude) * signal[0]


def place(unit: Sequence[mpf], domain: Sequence[tuple[float, float]]) -> list[mpf]:
    """Return the point of the domain that a unit point in [-1, 1]^d stands for."""
    return [((1 - u) * mpf(low) + (1 + u) * mpf(high)) / 2 for u, (low, high) in zip(unit, domain, strict=True)]
