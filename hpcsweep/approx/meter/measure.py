"""Trained networks -> what the points of a study say of their errors, whole or in parts.

The tiles of all point sets of a measurement, one set after the other, are numbered through; any range of them can be
screened anywhere, and `combine` puts parts together, in any order, to the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hpcsweep.approx import models, plugins
from hpcsweep.approx.meter import points, screen, slice
from hpcsweep.approx.targets import Target
from hpcsweep.bracket import Bracket, cover

Part = list[list[screen.Screen]]  # [network][point set]


@dataclass(frozen=True)
class Network:
    """A trained network and what it approximates, in plain values; parameters float64, (parameters,)."""

    target: Mapping[str, Any]
    dimension: int
    model: Mapping[str, Any]
    parameters: np.ndarray

    def functions(self, folder: Path, device: str = "cpu") -> tuple[Target, Callable[[torch.Tensor], torch.Tensor]]:
        """Return the target, and the network as a function of points on `device`."""
        target = plugins.target(self.target, self.dimension, folder)
        model = models.make(self.model, self.dimension, target.domain)
        parameters = torch.from_numpy(np.array(self.parameters, dtype=np.float64)).to(device)
        return target, partial(model.apply, parameters)


@dataclass(frozen=True)
class Measurement:
    """Which points: `count` of each kind, screened in tiles of `tile` points."""

    kinds: tuple[str, ...]
    count: int
    tile: int
    seed: int
    dimension: int

    def sets(self, domain: points.Domain) -> list[points.PointSet]:
        """Return the point sets on a domain. Raises `StudyError` for what a kind cannot do."""
        return [points.make(kind, self.dimension, self.count, self.seed, domain) for kind in self.kinds]

    @cached_property
    def counts(self) -> list[int]:
        """How many points each set really has: a grid has a whole number along every axis."""
        return [some.count for some in self.sets(((0.0, 1.0),) * self.dimension)]

    @property
    def tiles(self) -> list[int]:
        """How many tiles each point set has."""
        return [-(-count // self.tile) for count in self.counts]

    @property
    def total(self) -> int:
        """How many tiles there are in all."""
        return sum(self.tiles)


def screen_networks(
    networks: Sequence[Network],
    measurement: Measurement,
    tiles: range | None = None,
    folder: Path = Path("."),
    device: str = "cpu",
) -> Part:
    """Screen some of the tiles (all by default); points and target values are shared by networks of one target."""
    tiles = range(measurement.total) if tiles is None else tiles
    made = [network.functions(folder, device) for network in networks]
    part: Part = [[screen.empty() for _ in measurement.kinds] for _ in networks]
    for members in _by_target(networks):
        target = made[members[0]][0]
        functions = [made[member][1] for member in members]
        first = 0
        for number, (some, count) in enumerate(zip(measurement.sets(target.domain), measurement.tiles, strict=True)):
            own = range(max(tiles.start - first, 0), min(tiles.stop - first, count))
            first += count
            for member, one in zip(
                members, screen.screen(some, own, measurement.tile, target, functions, device), strict=True
            ):
                part[member][number] = one
    return part


def _by_target(networks: Sequence[Network]) -> list[list[int]]:
    """Group the numbers of networks by what they approximate."""
    groups: dict[str, list[int]] = {}
    for number, network in enumerate(networks):
        groups.setdefault(repr(sorted(network.target.items())), []).append(number)
    return list(groups.values())


def combine(parts: Sequence[Part]) -> Part:
    """Put disjoint parts of a measurement together; the order does not matter to a bit."""
    return [
        [reduce(screen.merge, sets) for sets in zip(*of_one_network, strict=True)]
        for of_one_network in zip(*parts, strict=True)
    ]


@dataclass(frozen=True)
class Measured:
    """What was found: the bracket over all points, means over the first point set, and counts."""

    bracket: Bracket
    l1: float
    l2: float
    points: int
    nonfinite: int


def conclude(of_one_network: Sequence[screen.Screen]) -> Measured:
    """Return what the screens of one network, one for each point set, say together."""
    bracket = reduce(cover, (one.bracket for one in of_one_network))
    return Measured(
        bracket=bracket,
        l1=of_one_network[0].l1,
        l2=of_one_network[0].l2,
        points=sum(one.count for one in of_one_network),
        nonfinite=sum(one.nans + one.infinities for one in of_one_network),
    )


def slice_of(network: Network, where: Sequence[float], count: int, folder: Path = Path(".")) -> np.ndarray | None:
    """Return positions, target and network along axis 0 through `where`, (3, count); None if that is no point."""
    if not where or not all(map(math.isfinite, where)):
        return None
    target, function = network.functions(folder)
    return np.stack(slice.slice_through(target, function, where, target.domain, count))
