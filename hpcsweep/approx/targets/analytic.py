"""The analytic targets of two papers on how accurately networks are trained.

- Berner, Grohs, Voigtlaender, "Learning ReLU networks to high uniform accuracy is intractable" (ICLR 2023).
- Adcock, Dexter, "The gap between theory and practice in function approximation with deep neural networks"
  (SIAM J. Math. Data Sci. 3(2), 2021), all on [-1, 1]^d.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from hpcsweep.approx.targets.base import Target, rounded_up


@final
class BernerSine(Target):
    """log(sin(50 x) + 2) + sin(5 x) on [-0.5, 0.5] (Berner, Grohs, Voigtlaender 2023)."""

    dimensions: ClassVar = (1,)
    side: ClassVar = (-0.5, 0.5)
    smoothness = math.inf
    # |cos t| / (sin t + 2) <= 1/sqrt(3), attained at sin t = -1/2
    lipschitz = rounded_up(50.0 / math.sqrt(3.0) + 5.0)

    def __call__(self, points: Tensor) -> Tensor:
        """(points, 1) -> (points,)."""
        x = points[:, 0]
        return torch.log(torch.sin(50.0 * x) + 2.0) + torch.sin(5.0 * x)


@final
class LogSin(Target):
    """log(sin(10 K x) + 2) + sin(K x): the published runs take K = 1 and K = 10 (Adcock, Dexter 2021)."""

    parameters: ClassVar = {"K": 1.0}
    dimensions: ClassVar = (1,)
    smoothness = math.inf

    def prepare(self) -> None:
        """Bound the derivative: as for `BernerSine`, 10 |K| / sqrt(3) + |K|."""
        self.lipschitz = rounded_up(abs(self.chosen["K"]) * (10.0 / math.sqrt(3.0) + 1.0))

    def __call__(self, points: Tensor) -> Tensor:
        """(points, 1) -> (points,)."""
        x = self.chosen["K"] * points[:, 0]
        return torch.log(torch.sin(10.0 * x) + 2.0) + torch.sin(x)


@final
class ExpCos(Target):
    """exp(-(1 / (8 d)) sum_i cos x_i): smooth in any dimension (Adcock, Dexter 2021)."""

    smoothness = math.inf

    def prepare(self) -> None:
        """Bound the gradient, sharply: at (1, ..., 1), f and each |sin x_i| have their maximum together."""
        maximum = math.exp(-math.cos(1.0) / 8.0)
        self.lipschitz = rounded_up(maximum * math.sin(1.0) / (8.0 * math.sqrt(self.dimension)))

    def __call__(self, points: Tensor) -> Tensor:
        """(points, dimension) -> (points,)."""
        return torch.exp(torch.cos(points).sum(dim=1) * (-1.0 / (8 * self.dimension)))


@final
class ExpCos5(Target):
    """exp(-(2 / d) sum_i cos 5 x_i): smooth, and oscillating (Adcock, Dexter 2021)."""

    smoothness = math.inf

    def prepare(self) -> None:
        """Bound the gradient by its maximum: 10/sqrt(d) exp(-2m) sqrt(1 - m^2), m the mean of the cosines.

        For (sum_i sin^2 5 x_i) / d = 1 - (sum_i cos^2 5 x_i) / d <= 1 - m^2, with equality on the diagonal;
        it is largest where its derivative in m vanishes, 2 m^2 - m - 2 = 0.
        """
        mean = (1.0 - math.sqrt(17.0)) / 4.0
        steepest = math.exp(-2.0 * mean) * math.sqrt(1.0 - mean**2)
        self.lipschitz = rounded_up(10.0 * steepest / math.sqrt(self.dimension))

    def __call__(self, points: Tensor) -> Tensor:
        """(points, dimension) -> (points,)."""
        return torch.exp(torch.cos(5.0 * points).sum(dim=1) * (-2.0 / self.dimension))


@final
class MixedTrigRational(Target):
    """prod_{k > h} cos(16 x_k / 2^k) / prod_{k <= h} (1 - x_k / 4^k), h = ceil(d/2) (Adcock, Dexter 2021)."""

    smoothness = math.inf

    def prepare(self) -> None:
        """Split the axes (k counts from 1) and bound each partial derivative by its own maximum.

        1/(1 - x_k/4^k) <= 1/(1 - 4^-k), whose product bounds |f|; a rational axis adds the factor
        1/(4^k - 1), a cosine axis, with a = 16/2^k, at most a sin(min(a, pi/2)).
        """
        half = (self.dimension + 1) // 2
        self.rational, self.cosine = range(1, half + 1), range(half + 1, self.dimension + 1)
        maximum = math.prod(1.0 / (1.0 - 4.0**-k) for k in self.rational)
        slopes = [4.0**-k / (1.0 - 4.0**-k) for k in self.rational]
        slopes += [16.0 * 2.0**-k * math.sin(min(16.0 * 2.0**-k, math.pi / 2)) for k in self.cosine]
        self.lipschitz = rounded_up(maximum * math.hypot(*slopes))

    def __call__(self, points: Tensor) -> Tensor:
        """(points, dimension) -> (points,)."""
        above = math.prod((torch.cos(16.0 * 2.0**-k * points[:, k - 1]) for k in self.cosine), start=1.0)
        below: Any = math.prod(1.0 - 4.0**-k * points[:, k - 1] for k in self.rational)
        return above / below


@final
class SlowerDecayRational(Target):
    """(prod_{k <= h} (1 + 4^k x_k^2) / prod_{k > h} (100 + 5 x_k))^(1/d), h = ceil(d/2).

    Source: Adcock, Dexter 2021. Written as the exponential of a mean of logarithms, because the product
    overflows in high dimensions; finite up to d = 126 in float32 and d = 1022 in float64.
    """

    smoothness = math.inf

    def prepare(self) -> None:
        """Split the axes (k counts from 1) and bound the gradient, f/d times the slopes of the logarithms.

        These are at most 2^k on the first h axes (2t/(1 + t^2) <= 1 with t = 2^k |x_k|) and 5/95 = 1/19 on
        the others.
        """
        half = (self.dimension + 1) // 2
        self.growing, self.decaying = range(1, half + 1), range(half + 1, self.dimension + 1)
        logarithm = sum(math.log1p(4.0**k) for k in self.growing) - len(self.decaying) * math.log(95.0)
        slope = math.hypot(*(2.0**k for k in self.growing), math.sqrt(len(self.decaying)) / 19.0)
        self.lipschitz = rounded_up(math.exp(logarithm / self.dimension) / self.dimension * slope)

    def __call__(self, points: Tensor) -> Tensor:
        """(points, dimension) -> (points,)."""
        above: Any = sum(torch.log(1.0 + 4.0**k * torch.square(points[:, k - 1])) for k in self.growing)
        below: Any = sum(torch.log(100.0 + 5.0 * points[:, k - 1]) for k in self.decaying)
        return torch.exp((above - below) * (1.0 / self.dimension))


@final
class Halfspace(Target):
    """1 where sum_i x_i >= 0, else 0 (Adcock, Dexter 2021)."""

    smoothness = -1

    def __call__(self, points: Tensor) -> Tensor:
        """(points, dimension) -> (points,)."""
        total = points.sum(dim=1)
        return torch.where(total >= 0.0, torch.ones_like(total), torch.zeros_like(total))


@final
class Indicator(Target):
    """1 where max_i |x_i| <= 1/2, else 0 (Adcock, Dexter 2021)."""

    smoothness = -1

    def __call__(self, points: Tensor) -> Tensor:
        """(points, dimension) -> (points,)."""
        largest = torch.abs(points).amax(dim=1)
        return torch.where(largest <= 0.5, torch.ones_like(largest), torch.zeros_like(largest))


@final
class Peak(Target):
    """1 / (1/0.98 - sin pi x): a peak of height 49 at x = 1/2 (Adcock, Dexter 2021)."""

    dimensions: ClassVar = (1,)
    smoothness = math.inf

    def prepare(self) -> None:
        """Bound the derivative, sharply: pi sqrt(1 - s^2) / (c - s)^2 is largest where s^2 + c s - 2 = 0."""
        self.offset = 1.0 / 0.98
        sine = (math.sqrt(self.offset**2 + 8.0) - self.offset) / 2.0
        self.lipschitz = rounded_up(math.pi * math.sqrt(1.0 - sine**2) / (self.offset - sine) ** 2)

    def __call__(self, points: Tensor) -> Tensor:
        """(points, 1) -> (points,)."""
        return 1.0 / (self.offset - torch.sin(math.pi * points[:, 0]))
