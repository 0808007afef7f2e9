"""Errors of known size, and the differences that branch and bound is tested on."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.supnorm.approximations import ErrorFunction, InMemory
from hpcsweep.approx.supnorm.certificate.certify import Pool, advance, start
from hpcsweep.approx.supnorm.certificate.enclosure.difference import Difference, UpperBound
from hpcsweep.approx.supnorm.dense import Dense
from hpcsweep.approx.supnorm.measured import Measured, finalize
from hpcsweep.approx.supnorm.measurement import Measurement
from hpcsweep.approx.supnorm.survey import Survey
from tests.approx.supnorm.certificate.exact import random_network

PLENTY = 200_000


class Lipschitz:
    """An error with values and gradients that are known: the bound is value + constant * radius."""

    def __init__(self, error: Callable[[Tensor], Tensor], constant: float) -> None:
        self.error, self.constant, self.calls = error, constant, 0

    def upper_bounds(
        self, centers: Tensor, radii: Tensor, above: slice, below: slice, level: float = math.inf
    ) -> tuple[UpperBound, UpperBound]:
        self.calls += 1
        size = self.constant * radii.sum(1) + 1e-12
        zero = torch.zeros_like(centers)
        return tuple(
            UpperBound((sign * self.error(centers) + size)[side], zero[side], torch.full_like(size, 1e-12)[side])
            for sign, side in ((1, above), (-1, below))
        )

    def signed(self, centers: Tensor) -> Tensor:
        return self.error(centers)

    def errors(self, centers: Tensor) -> Tensor:
        return self.error(centers).abs()

    def places(self, centers: Tensor) -> Tensor:
        return centers

    def lower_end(self, point: Tensor, seen: float) -> float:
        return seen

    def fully(self) -> None:
        return None


def wave(u: Tensor) -> Tensor:
    return torch.sin(3 * u).sum(1) + 0.3 * u[:, 0] - 0.2


def proved(difference: Difference, dimension: int, gap: float = 0.01, boxes: int = PLENTY, lower: float = 0.0) -> Pool:
    return advance(difference, start(dimension, lower, ()), gap, boxes)


def line(dimension: int) -> tuple[tuple[float, float], ...]:
    return ((-1.0, 1.0),) * dimension


def of(network: Dense, target: Callable[[Tensor], Tensor], domain: tuple[tuple[float, float], ...]) -> Difference:
    return Difference(target, network, domain, [network])


def measured(target: Callable[[Tensor], Tensor], measurement: Measurement) -> Measured:
    """Measure a target against zero on [-1, 1]^dimension."""
    functions = ErrorFunction(target, lambda points: 0 * points[:, 0], line(measurement.dimension))
    survey = Survey([InMemory(functions)], measurement)
    assert survey.run()
    return finalize(survey.approximations[0], measurement, survey.states[0])


def doubles(numbers: list) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def constant(value: float, dimension: int) -> Dense:
    weight = torch.zeros(1, dimension, dtype=torch.float64)
    return Dense((weight,), (doubles([value]),), "tanh")


def smooth(x: Tensor) -> Tensor:
    return torch.cos(x.sum(1) * 2.0) * torch.exp(x.square().sum(1) * -0.25)


def rough(x: Tensor) -> Tensor:
    """Return a function with many maxima of nearly the same height, which takes many boxes."""
    return torch.sin(9 * x).prod(1) + 0.01 * x[:, 0]


def difficult() -> Difference:
    return of(random_network(np.random.default_rng(2), 2, [12, 12], "sin", scale=0.3), rough, line(2))
