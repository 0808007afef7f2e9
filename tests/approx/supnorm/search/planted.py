"""Networks whose largest values are known: random ones, and spikes and slabs that ReLU represents exactly."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.dense import Dense

DOUBLE = torch.float64


def tensor(values: object) -> Tensor:
    return torch.tensor(values, dtype=DOUBLE)


def random_network(seed: int, *widths: int, activation: str = "tanh") -> Dense:
    """Return a network with inputs, hidden widths and the one output as given, and biases that spread its kinks."""
    generator = torch.Generator().manual_seed(seed)
    weights, biases = [], []
    for inputs, outputs in pairwise(widths):
        weights.append(torch.randn(outputs, inputs, generator=generator, dtype=DOUBLE) * (2 / inputs) ** 0.5)
        biases.append(torch.rand(outputs, generator=generator, dtype=DOUBLE) * 2 - 1)
    return Dense(tuple(weights), tuple(biases), activation)


def spike(centre: Sequence[float], radius: float, height: float) -> Dense:
    """Return height * relu(1 - |x - centre|_1 / radius)."""
    both = torch.cat([torch.eye(len(centre), dtype=DOUBLE), -torch.eye(len(centre), dtype=DOUBLE)])
    return _peak(both, -both @ tensor(centre), radius, height)


def slab(normal: Sequence[float], offset: float, radius: float, height: float) -> Dense:
    """Return height * relu(1 - |normal . x - offset| / radius)."""
    return _peak(tensor([normal, [-part for part in normal]]), tensor([-offset, offset]), radius, height)


def _peak(inner: Tensor, bias: Tensor, radius: float, height: float) -> Dense:
    weights = (inner, torch.full((1, len(inner)), -1 / radius, dtype=DOUBLE), tensor([[height]]))
    return Dense(weights, (bias, tensor([1.0]), tensor([0.0])), "relu")


def beside(one: Dense, other: Dense) -> Dense:
    """Return the sum of two networks of equal depth as one network."""
    weights = [torch.block_diag(a, b) for a, b in zip(one.weights, other.weights, strict=True)]
    weights[0] = torch.cat([one.weights[0], other.weights[0]])
    weights[-1] = torch.cat([one.weights[-1], other.weights[-1]], dim=1)
    biases = [torch.cat(pair) for pair in zip(one.biases, other.biases, strict=True)]
    biases[-1] = one.biases[-1] + other.biases[-1]
    return Dense(tuple(weights), tuple(biases), one.activation)


def uniform(seed: int, count: int, domain: Sequence[tuple[float, float]]) -> Tensor:
    """Return random points (count, dimension) of a box."""
    generator = torch.Generator().manual_seed(seed)
    low, high = tensor(domain).T
    return low + (high - low) * torch.rand(count, len(domain), generator=generator, dtype=DOUBLE)
