"""How a network is measured: at which points, by what search, and what is to be proved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch

from hpcsweep.approx.supnorm import points
from hpcsweep.approx.supnorm.screening import screen

HELD_OUT = "held-out rows"  # the kind of points at which data are known
NARROW = 32  # widest hidden layer with which a proof beyond 4-D is worth a try, unless it is asked for
TENTATIVE = {7: 0.1, 8: 0.1}  # gaps by dimension of proofs that go on only if the first boxes promise that they close
_NONE = torch.empty(0)  # rows
_UNIFORM_SEED = 1  # added to the seed, for the independent points beside


@dataclass(frozen=True)
class Measurement:
    """What is done to measure one network in so many dimensions.

    Parameters
    ----------
    kinds, count, tile, seed: `count` points of each kind, screened in tiles of `tile` points. Means are taken over the
        first kind.
    uniform: independent uniform points beside, 0: none.
    starts, kinks: of the search: local ascents, and points projected onto zero sets of neurons; 0: none.
    gap: what is to be proved, upper <= (1 + gap) * lower; None: no proof.
    boxes: of the proof, at most; but at least those that it begins with, 64 in up to three dimensions.
    central: the share of each side of the domain that is measured apart as well, by the same points of each kind mapped
        into the box of the same centre; None: not.
    tentative: whether the proof ends early where the first boxes do not promise that it closes.
    """

    kinds: tuple[str, ...]
    count: int
    tile: int
    seed: int
    dimension: int
    uniform: int = 0
    starts: int = 0
    kinks: int = 0
    gap: float | None = None
    boxes: int = 2**18
    central: float | None = None
    tentative: bool = False

    @property
    def of_rows(self) -> bool:
        """Whether errors are known at the held-out rows of data only: nothing is searched or proved between them."""
        return self.kinds == (HELD_OUT,)

    def sets(self, domain: points.Domain, rows: torch.Tensor = _NONE) -> list[points.PointSet]:
        """Return the point sets: of each kind on the domain, then in its central part, the independent points last.

        The same ones if asked again. Of data the `rows` (points, dimension). Raises `StudyError` for what cannot be.
        """
        if self.of_rows:
            return [points.Rows(self.dimension, self.count, domain, rows)]
        return _sets(self, tuple(domain))

    @cached_property
    def counts(self) -> list[int]:
        """How many points each set really has: a grid has a whole number along every axis."""
        return [point_set.count for point_set in self.sets(((0.0, 1.0),) * self.dimension)]

    @property
    def tiles(self) -> list[int]:
        """How many tiles each point set has."""
        return [-(-count // self.tile) for count in self.counts]

    @property
    def total(self) -> int:
        """How many tiles there are in all."""
        return sum(self.tiles)


@lru_cache(16)
def _sets(plan: Measurement, domain: points.Domain) -> list[points.PointSet]:
    boxes = [domain] if plan.central is None else [domain, inner(domain, plan.central)]
    sets = [points.make(kind, plan.dimension, plan.count, plan.seed, box) for box in boxes for kind in plan.kinds]
    if plan.uniform:
        sets.append(points.make("uniform", plan.dimension, plan.uniform, plan.seed + _UNIFORM_SEED, domain))
    return sets


def inner(domain: points.Domain, share: float) -> points.Domain:
    """Return the central box that has this share of each side of a domain."""
    reach = [(low / 2 + high / 2, (high / 2 - low / 2) * share) for low, high in domain]
    sides = zip(domain, reach, strict=True)
    return tuple((max(low, middle - half), min(high, middle + half)) for (low, high), (middle, half) in sides)


def planned(resolved: Mapping[str, Any], dimension: int, width: int) -> Measurement:
    """Return the measurement of networks of this width by the resolved choices of `[sup_norm]`.

    `auto` among them: where these ask for no proof, one may be tried; it is no part of keys.
    """
    chosen = dict(resolved)
    tile, always = chosen.pop("tile") or screen.default_tile(width), chosen.pop("always")
    if chosen.pop("auto", False) and chosen["gap"] is None:
        chosen |= {"gap": TENTATIVE.get(dimension), "tentative": dimension in TENTATIVE}
    if not always and dimension > 4 and width > NARROW:
        chosen["gap"] = None
    return Measurement(dimension=dimension, tile=tile, **chosen)
