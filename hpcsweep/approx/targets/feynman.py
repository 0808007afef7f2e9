"""The formula targets of Michaud, Liu, Tegmark, "Precision machine learning" (Entropy 25:175, 2023).

Numbers as "II.8.31" are those of the Feynman equations (Udrescu, Tegmark, "AI Feynman", Science Advances 6,
2020): volume, chapter and equation of the Feynman Lectures. Domains and order of the variables are those of
the table of equations in the authors' repository (ejmichaud/precision-ml: equations.csv). The first of the
six equations of their scaling figure, x^2 on [-1, 1], is `hpcsweep.approx.targets.textbook.Square`.
"""

from __future__ import annotations

import math
from typing import ClassVar, final

import torch
from torch import Tensor

from hpcsweep.approx.targets.base import Target, rounded_up


@final
class Product(Target):
    """x y on [1, 5]^2."""

    dimensions: ClassVar = (2,)
    side: ClassVar = (1.0, 5.0)
    smoothness = math.inf
    lipschitz = rounded_up(math.sqrt(50.0))  # the gradient (y, x) is longest at (5, 5)

    def __call__(self, points: Tensor) -> Tensor:
        """(points, 2) -> (points,)."""
        return points[:, 0] * points[:, 1]


@final
class DotProduct(Target):
    """x1 y1 + x2 y2 + x3 y3 on [1, 5]^6, variables (x1, x2, x3, y1, y2, y3) (I.11.19)."""

    dimensions: ClassVar = (6,)
    side: ClassVar = (1.0, 5.0)
    smoothness = math.inf
    lipschitz = rounded_up(math.sqrt(150.0))  # the gradient (y, x) is longest at (5, ..., 5)

    def __call__(self, points: Tensor) -> Tensor:
        """(points, 6) -> (points,)."""
        return points[:, 0] * points[:, 3] + points[:, 1] * points[:, 4] + points[:, 2] * points[:, 5]


@final
class FieldEnergy(Target):
    """epsilon E^2 / 2, the energy density of a field, on [1, 5]^2; variables (epsilon, E) (II.8.31)."""

    dimensions: ClassVar = (2,)
    side: ClassVar = (1.0, 5.0)
    smoothness = math.inf
    lipschitz = rounded_up(math.hypot(12.5, 25.0))  # the gradient (E^2/2, epsilon E) is longest at (5, 5)

    def __call__(self, points: Tensor) -> Tensor:
        """(points, 2) -> (points,)."""
        epsilon, field = points[:, 0], points[:, 1]
        return 0.5 * epsilon * torch.square(field)


@final
class Grating(Target):
    """arcsin(l / (n d)), the angle of diffraction; variables (l, d, n) in [1, 2] x [2, 5] x [1, 5] (I.30.5).

    At the corner l = 2, d = 2, n = 1 the argument is 1 and the slope unbounded: on the closed box the
    function is continuous and no more, and it has no Lipschitz constant.
    """

    dimensions: ClassVar = (3,)
    smoothness = 0

    @property
    def domain(self) -> tuple[tuple[float, float], ...]:
        """The box of (l, d, n)."""
        return ((1.0, 2.0), (2.0, 5.0), (1.0, 5.0))

    def __call__(self, points: Tensor) -> Tensor:
        """(points, 3) -> (points,)."""
        wavelength, spacing, slits = points[:, 0], points[:, 1], points[:, 2]
        return torch.arcsin(wavelength / (slits * spacing))


@final
class Distance(Target):
    """sqrt((x2 - x1)^2 + (y2 - y1)^2) on [1, 5]^4, variables (x1, x2, y1, y2) (I.8.14).

    It has a conical kink wherever the two points of the plane meet.
    """

    dimensions: ClassVar = (4,)
    side: ClassVar = (1.0, 5.0)
    smoothness = 1  # Lipschitz
    lipschitz = rounded_up(math.sqrt(2.0))  # the gradient is (-u, u, -v, v) with u^2 + v^2 = 1

    def __call__(self, points: Tensor) -> Tensor:
        """(points, 4) -> (points,)."""
        x1, x2, y1, y2 = (points[:, k] for k in range(4))
        return torch.sqrt(torch.square(x2 - x1) + torch.square(y2 - y1))


@final
class Isothermal(Target):
    """n k T ln(V2 / V1), isothermal work, on [1, 5]^5; variables (n, k, T, V1, V2) (I.44.4)."""

    dimensions: ClassVar = (5,)
    side: ClassVar = (1.0, 5.0)
    smoothness = math.inf
    # |ln(V2/V1)| <= ln 5 gives 25 ln 5 for each of n, k, T; n k T / V <= 125 for each volume
    lipschitz = rounded_up(math.sqrt(3.0 * (25.0 * math.log(5.0)) ** 2 + 2.0 * 125.0**2))

    def __call__(self, points: Tensor) -> Tensor:
        """(points, 5) -> (points,)."""
        n, k, temperature, before, after = (points[:, axis] for axis in range(5))
        return n * k * temperature * torch.log(after / before)


@final
class Dipole(Target):
    """p / (4 pi epsilon) * 3 z / r^5 * sqrt(x^2 + y^2), a dipole's field, on [1, 3]^6 (II.6.15a).

    Variables (epsilon, p, r, x, y, z); r is a variable of its own.
    """

    dimensions: ClassVar = (6,)
    side: ClassVar = (1.0, 3.0)
    smoothness = math.inf
    # f * (1/epsilon, 1/p, 5/r, x/s^2, y/s^2, 1/z) with s^2 = x^2 + y^2 is longest at (1, 3, 1, 3, 3, 3)
    lipschitz = rounded_up(
        3.0 / (4.0 * math.pi) * 9.0 * math.sqrt(18.0) * math.sqrt(1.0 + 1 / 9 + 25.0 + 1 / 18 + 1 / 9)
    )

    def __call__(self, points: Tensor) -> Tensor:
        """(points, 6) -> (points,)."""
        epsilon, p, r, x, y, z = (points[:, k] for k in range(6))
        # squares have tight enclosures, a general power has none
        field = 3.0 / (4.0 * math.pi) * p * z / (epsilon * (torch.square(torch.square(r)) * r))
        return field * torch.sqrt(torch.square(x) + torch.square(y))
