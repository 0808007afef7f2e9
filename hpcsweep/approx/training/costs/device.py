"""How fast a device is at what training consists of: measured in a fraction of a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from hpcsweep.approx.kernels.objective import objective
from hpcsweep.approx.kernels.problem import Problem, Shape, aligned, padded
from hpcsweep.approx.models import ACTIVATIONS

_WORK, _ROUNDS = 0.0015, 5  # seconds of a measurement, about; how many, of which the fastest counts
_LEAST = 1e-12  # seconds: differences of measured times may come out as less than nothing
_BLOCK = 120  # samples
_FREE = dict.fromkeys(ACTIVATIONS, (0.0, 0.0))


@dataclass(frozen=True)
class Device:
    """Measured rates of one device in one precision; plain numbers.

    Attributes
    ----------
    kind : "cpu" or "cuda"
    precision : "float64" or "float32"
    fma : seconds of a multiply-add in a product of matrices
    launch : seconds of a call of torch that does nothing much
    evaluation : seconds of an evaluation of the loss, beside all that grows with the network and its samples
    parameter : the same for each parameter and block of samples
    activations : per name, seconds for each neuron and sample of the value, and of value and derivative
    """

    kind: str
    precision: str
    fma: float
    launch: float
    evaluation: float = 0.0
    parameter: float = 0.0
    activations: Mapping[str, tuple[float, float]] = field(default_factory=lambda: dict(_FREE))


def probe(dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> Device:
    """Measure a device in about 0.3 seconds; on processors by what networks train with there, compiled if need be."""
    where, precision = torch.device(device), str(dtype).removeprefix("torch.")
    tiny = torch.zeros(4, dtype=dtype, device=where)
    launch = _seconds(lambda: tiny.mul_(1.0))
    if where.type == "cpu":
        return _probed_core(precision, launch)
    left = torch.rand(16, 256, 256, dtype=dtype, device=where)

    def multiply() -> None:
        torch.bmm(left, left)
        torch.cuda.synchronize(where)

    return Device(where.type, precision, _seconds(multiply) / left.numel() / 256, launch)


def _probed_core(precision: str, launch: float) -> Device:
    """Solve for rates: four evaluations have four unknowns; each further activation has one."""
    sizes = [(1, 8), (64, 8), (64, _BLOCK), (8, _BLOCK)]  # width, samples
    parts = [[1.0, _weights(width), samples * _products(width), 2 * width * samples] for width, samples in sizes]
    taken = [_evaluation(precision, width, samples, "tanh") for width, samples in sizes]
    evaluation, parameter, fma, _ = np.maximum(np.linalg.solve(parts, taken), _LEAST).tolist()
    activations = {}
    for name in ACTIVATIONS:
        value = _evaluation(precision, 8, _BLOCK, name, slopes=False) - fma * _BLOCK * _weights(8)
        both = _evaluation(precision, 8, _BLOCK, name) - fma * _BLOCK * _products(8) - parameter * _weights(8)
        each = [max((seconds - evaluation) / (2 * 8 * _BLOCK), _LEAST) for seconds in (value, both)]
        activations[name] = each[0], each[1]
    # Half of the least evaluation is Python's call of it, which training seldom needs.
    return Device("cpu", precision, fma, launch, evaluation / 2, parameter, activations)


def _weights(width: int) -> int:
    """Return the parameters of the networks of a probe, 2-w-w-1: multiply-adds of a sample forwards, too."""
    return 3 * width + width * (width + 1) + width + 1


def _products(width: int) -> int:
    """Return the multiply-adds of a sample, both ways."""
    return 2 * _weights(width) + width * width + width


def _evaluation(precision: str, width: int, samples: int, activation: str, slopes: bool = True) -> float:
    """Return the seconds of a loss, with its gradient or without."""
    dtype, shape = np.dtype(precision), Shape((2, width, width, 1), ACTIVATIONS.index(activation))
    chance, count = np.random.default_rng(0), padded(shape.parameters, np.dtype(precision))
    problem = Problem.of(shape, chance.random((samples, 2)), chance.random(samples).astype(dtype))
    point, gradient = aligned(count, dtype), aligned(count if slopes else 0, dtype)
    point[:] = chance.standard_normal(count) / np.sqrt(width)
    compiled = objective[dtype]
    return _seconds(lambda: compiled(point, gradient, *problem.arrays, 0))


def _seconds(call: Callable[[], object]) -> float:
    """Return the processor time of one call: the fastest of some rounds."""
    call()
    once = max(_elapsed(call, 3) / 3, 1e-8)
    repeats = max(1, min(1000, int(_WORK / once)))
    return min(_elapsed(call, repeats) for _ in range(_ROUNDS)) / repeats


def _elapsed(call: Callable[[], object], repeats: int) -> float:
    begun = time.thread_time()  # what others do here meanwhile does not count
    for _ in range(repeats):
        call()
    return time.thread_time() - begun
