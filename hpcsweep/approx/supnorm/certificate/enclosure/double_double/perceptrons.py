"""Perceptrons of tanh neurons at points, compiled; what they give is enclosed as `sigmoids.tanh` and `products` do."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from hpcsweep.approx.kernels.bounds.double_double import PARTS, TERMS, tanh_network
from hpcsweep.approx.supnorm.certificate.enclosure.double_double import constants
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.number import DoubleDouble
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import TINY, gamma
from hpcsweep.approx.supnorm.dense import Dense


@cache
def _tables() -> np.ndarray:
    """Return the constants that the kernel takes."""
    powers = torch.stack(constants.powers(PARTS), 1).flatten().tolist()
    series = [part for n in range(TERMS) for part in constants.parts(constants.inverse_factorial(n))]
    return np.array([*constants.octave(PARTS, 41), *powers, *series])


def perceptron(term: Dense, points: DoubleDouble) -> DoubleDouble:
    """Return the outputs (points, outputs), without the amplitude, for standardised points (points, dimension)."""
    inputs = np.stack([part.T.numpy() for part in (points.leading, points.trailing, points.radius)])
    widths = np.array([term.dimension, *(len(weight) for weight in term.weights)])
    out = np.empty((3, term.outputs, len(points)))
    weights, biases = (torch.cat([part.flatten() for part in parts]).numpy() for parts in (term.weights, term.biases))
    slack = 1 + gamma(2 * int(widths.max()) + 32)
    compiled = tanh_network[np.float64]
    compiled(widths, slack, TINY, _tables(), weights, biases, inputs.reshape(-1), out.reshape(-1))
    return DoubleDouble(*(torch.from_numpy(part.T.copy()) for part in out))
