"""Targets with a structure that deep networks may find, and targets of the same kind without it.

Lin, Tegmark and Rolnick, "Why does deep and cheap learning work so well?" (J. Stat. Phys. 168, 2017) and Mhaskar, Liao
and Poggio (AAAI 2017): functions composed of functions of few variables, and functions that vary along few directions,
need far fewer weights than others of the same smoothness. `RandomWaves` is one, the other or neither.
"""

from __future__ import annotations

import math
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.targets.base import Target, rounded_up
from hpcsweep.approx.targets.teachers import FrozenNetwork, NetworkTarget
from hpcsweep.errors import PluginError


@final
class SineProduct(Target):
    """prod_i sin(pi frequency x_i) on [0, 1]^d: zero on the boundary where the frequency is whole.

    With frequency 1 in 2-D the exact solution of the usual test of Poisson's equation (Markidis 2021).
    """

    parameters: ClassVar = {"frequency": 1.0}
    side: ClassVar = (0.0, 1.0)
    smoothness = math.inf

    def prepare(self) -> None:
        """Bound the gradient by pi |frequency|.

        With t_i = sin^2 of the i-th factor its square is (pi frequency)^2 times sum_j (1 - t_j) prod_{i != j} t_i, the
        probability that exactly one of independent events of probability 1 - t_i happens.
        """
        self.rate = math.pi * self.chosen["frequency"]
        self.lipschitz = rounded_up(abs(self.rate))

    def __call__(self, points: Tensor) -> Tensor:
        """(points, dimension) -> (points,)."""
        value = torch.sin(self.rate * points[:, 0])
        for axis in range(1, self.dimension):
            value = value * torch.sin(self.rate * points[:, axis])
        return value


@final
class ProductTree(Target):
    """A binary tree of h(a, b) = sin(frequency (a b + (a + b) / 2)) with the variables as its leaves, on [-1, 1]^d.

    The halves of a list of variables, the larger first, make the arguments of h. Every node has two variables, so that
    a network of that shape needs as many weights as for d - 1 functions of two variables (Mhaskar, Liao, Poggio 2017).
    """

    parameters: ClassVar = {"frequency": 2.0}
    limits: ClassVar = {"frequency": (0.0, 1e6)}
    smoothness = math.inf

    def prepare(self) -> None:
        """Bound the partial derivative by a leaf: each node on its way is in [-1, 1] and adds 3/2 frequency."""
        step = 1.5 * self.chosen["frequency"]
        self.lipschitz = rounded_up(math.hypot(*(step**depth for depth in _depths(self.dimension))))

    def __call__(self, points: Tensor) -> Tensor:
        """(points, dimension) -> (points,)."""
        return self._node(points, 0, self.dimension)

    def _node(self, points: Tensor, first: int, last: int) -> Tensor:
        if last - first == 1:
            return points[:, first]
        middle = first + (last - first + 1) // 2
        one, other = self._node(points, first, middle), self._node(points, middle, last)
        return torch.sin(self.chosen["frequency"] * (one * other + 0.5 * (one + other)))


def _depths(leaves: int) -> list[int]:
    """Return on how many nodes each leaf of a tree depends."""
    if leaves == 1:
        return [0]
    upper = (leaves + 1) // 2
    return [depth + 1 for part in (upper, leaves - upper) for depth in _depths(part)]


@final
class RandomWaves(NetworkTarget):
    """sum_t sin(w_t . x + b_t) / sqrt(waves) on [-1, 1]^d, with |w_t| = frequency in random directions.

    The same spectrum with three structures. By default the directions are any: a generic function of d variables.
    `variables` = m: wave t depends on m of the variables only, groups of neighbours in turn, so that the function is a
    sum of functions of m variables. `plane` = m: all directions lie in one rotated plane of m dimensions, so that the
    function depends on m coordinates, none of which is a variable. 0 is d for both.
    """

    parameters: ClassVar = {"variables": 0, "plane": 0, "frequency": 4.0, "waves": 64, "seed": 0}
    limits: ClassVar = {
        "variables": (0, 2**16),
        "plane": (0, 2**16),
        "frequency": (0.0, 1e6),
        "waves": (1, 2**16),
        "seed": (0, 2**63 - 1),
    }
    smoothness = math.inf

    def prepare(self) -> None:
        """Draw the waves. The gradient is at most sum_t |w_t| / sqrt(waves) = frequency sqrt(waves)."""
        chosen, waves = self.chosen, self.chosen["waves"]
        for name in ("variables", "plane"):
            if chosen[name] > self.dimension:
                raise PluginError(f"target RandomWaves: {name} = {chosen[name]} exceeds {self.dimension} variables.")
        if chosen["variables"] and chosen["plane"]:
            raise PluginError("target RandomWaves: set variables or plane, not both.")
        generator = np.random.Generator(np.random.Philox(key=chosen["seed"]))
        directions = self._directions(generator)
        rates = chosen["frequency"] * directions / np.linalg.norm(directions, axis=1, keepdims=True)
        shifts = generator.uniform(0.0, 2 * math.pi, waves)
        heights = np.full((1, waves), 1 / math.sqrt(waves))
        layers = [(rates, shifts), (heights, np.zeros(1))]
        tensors = [(torch.from_numpy(weight), torch.from_numpy(bias)) for weight, bias in layers]
        self.network = FrozenNetwork(tensors, torch.sin)
        self.lipschitz = rounded_up(chosen["frequency"] * math.sqrt(waves))

    def _directions(self, generator: np.random.Generator) -> np.ndarray:
        """Return directions (waves, dimension) of any length."""
        waves, dimension, plane = self.chosen["waves"], self.dimension, self.chosen["plane"] or self.dimension
        drawn = generator.standard_normal((waves, plane))
        if self.chosen["plane"]:
            axes, _ = np.linalg.qr(generator.standard_normal((dimension, plane)))  # (dimension, plane), orthonormal
            return drawn @ axes.T
        size = self.chosen["variables"] or dimension
        groups = np.minimum(np.arange(0, dimension, size), dimension - size)  # the last one may overlap
        starts, axes = groups[np.arange(waves) % len(groups)][:, None], np.arange(dimension)
        seen = (axes >= starts) & (axes < starts + size)  # (waves, dimension)
        return np.where(seen, drawn, 0.0)
