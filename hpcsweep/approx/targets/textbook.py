"""Textbook targets: a wave, Runge's function, a kink, a parabola, on [-1, 1]^d; Franke's function, on [0, 1]^2."""

from __future__ import annotations

import math
from typing import ClassVar, final

import torch
from torch import Tensor

from hpcsweep.approx.targets.base import Target, rounded_up


@final
class Sine(Target):
    """(1/d) sum_i sin(2 pi frequency x_i): `frequency` full periods per unit length on every axis."""

    parameters: ClassVar = {"frequency": 1.0}
    smoothness = math.inf

    def prepare(self) -> None:
        """Bound the gradient, sharply: (|rate| / d) sqrt(sum_i cos^2) <= |rate| / sqrt(d)."""
        self.rate = 2.0 * math.pi * self.chosen["frequency"]
        self.lipschitz = rounded_up(abs(self.rate) / math.sqrt(self.dimension))

    def __call__(self, points: Tensor) -> Tensor:
        """(points, dimension) -> (points,)."""
        return torch.sin(self.rate * points).sum(dim=1) * (1.0 / self.dimension)


@final
class Runge(Target):
    """1 / (1 + 25 |x|^2), whose interpolants at equidistant points diverge in 1-D (Runge 1901)."""

    smoothness = math.inf
    # with u = 5 |x| the slope is 10 u / (1 + u^2)^2, largest at u = 1/sqrt(3)
    lipschitz = rounded_up(90.0 / (16.0 * math.sqrt(3.0)))

    def __call__(self, points: Tensor) -> Tensor:
        """(points, dimension) -> (points,)."""
        return 1.0 / (1.0 + 25.0 * torch.square(points).sum(dim=1))


@final
class Absolute(Target):
    """(1/d) sum_i |x_i|: the kink; a ReLU network can have it exactly."""

    smoothness = 1  # Lipschitz

    def prepare(self) -> None:
        """The gradient is (±1, ..., ±1) / d."""
        self.lipschitz = rounded_up(1.0 / math.sqrt(self.dimension))

    def __call__(self, points: Tensor) -> Tensor:
        """(points, dimension) -> (points,)."""
        return torch.abs(points).sum(dim=1) * (1.0 / self.dimension)


@final
class Square(Target):
    """x^2 on [-1, 1]: the baseline of simplex interpolation, the 1-D case of Michaud, Liu, Tegmark (2023)."""

    dimensions: ClassVar = (1,)
    smoothness = math.inf
    lipschitz = 2.0  # |2 x| <= 2

    def __call__(self, points: Tensor) -> Tensor:
        """(points, 1) -> (points,)."""
        return torch.square(points[:, 0])


@final
class Franke(Target):
    """Franke's function on [0, 1]^2: two Gaussian peaks, a bell along a ridge, and a dip (Franke 1979).

    3/4 exp(-((9x - 2)^2 + (9y - 2)^2) / 4) + 3/4 exp(-(9x + 1)^2 / 49 - (9y + 1) / 10)
    + 1/2 exp(-((9x - 7)^2 + (9y - 3)^2) / 4) - 1/5 exp(-(9x - 4)^2 - (9y - 7)^2); "A critical comparison of some
    methods for interpolation of scattered data", Naval Postgraduate School, NPS-53-79-003.
    """

    dimensions: ClassVar = (2,)
    side: ClassVar = (0.0, 1.0)
    smoothness = math.inf
    # Of a exp(-r^2 / c) the slope is at most a sqrt(2 / (c e)); u exp(-u^2 / 49) of the bell is likewise; v >= 1 there.
    lipschitz = rounded_up(
        9.0 * (1.65 / math.sqrt(2.0 * math.e) + 0.75 * math.exp(-0.1) * (math.sqrt(2.0 / math.e) / 7.0 + 0.1))
    )

    def __call__(self, points: Tensor) -> Tensor:
        """(points, 2) -> (points,)."""
        x, y = 9.0 * points[:, 0], 9.0 * points[:, 1]
        high = torch.exp((torch.square(x - 2.0) + torch.square(y - 2.0)) * -0.25) * 0.75
        bell = torch.exp(torch.square(x + 1.0) * (-1.0 / 49.0) - (y + 1.0) * 0.1) * 0.75
        low = torch.exp((torch.square(x - 7.0) + torch.square(y - 3.0)) * -0.25) * 0.5
        return high + bell + low - torch.exp(-torch.square(x - 4.0) - torch.square(y - 7.0)) * 0.2
