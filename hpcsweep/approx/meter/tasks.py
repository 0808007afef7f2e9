"""How a network is measured, and the tasks of it: plain values that run anywhere and give plain values back."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np

from hpcsweep.approx.meter import points
from hpcsweep.approx.meter.proof import certify
from hpcsweep.approx.meter.proof.enclosure import NoEnclosure
from hpcsweep.approx.meter.proof.enclosure.difference import Difference
from hpcsweep.approx.meter.screening import screen
from hpcsweep.approx.meter.search import refine
from hpcsweep.approx.meter.subjects import Subject
from hpcsweep.bracket import Bracket

NARROW = 32  # widest hidden layer with which a proof beyond 4-D is worth a try, unless it is asked for
_UNIFORM_SEED = 1  # added to the seed, for the independent points beside

Screens = list[list[screen.Screen]]  # [network][point set]


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
    boxes: of the proof, at most.
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

    def sets(self, domain: points.Domain) -> list[points.PointSet]:
        """Return the point sets on a domain, the independent points last. Raises `StudyError` for what cannot be."""
        made = [points.make(kind, self.dimension, self.count, self.seed, domain) for kind in self.kinds]
        if self.uniform:
            made.append(points.make("uniform", self.dimension, self.uniform, self.seed + _UNIFORM_SEED, domain))
        return made

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


def planned(resolved: Mapping[str, Any], dimension: int, width: int) -> Measurement:
    """Return the measurement of networks of this width by the resolved choices of `[sup_norm]`."""
    chosen = dict(resolved)
    tile, always = chosen.pop("tile") or screen.default_tile(width), chosen.pop("always")
    if not always and dimension > 4 and width > NARROW:
        chosen["gap"] = None
    return Measurement(dimension=dimension, tile=tile, **chosen)


class Task(ABC):
    """A piece of a survey in plain values: it runs anywhere and gives plain values back."""

    @abstractmethod
    def run(self, folder: Path, device: str) -> Any:
        """Do it; plugin files are relative to `folder`."""


@final
@dataclass(frozen=True)
class Screening(Task):
    """Some of the tiles of a measurement: those of all its point sets, one after the other, are numbered through."""

    subjects: tuple[Subject, ...]
    measurement: Measurement
    tiles: range

    def run(self, folder: Path, device: str) -> Screens:
        """Screen them; points and target values are shared by networks of one group."""
        screens: Screens = [[] for _ in self.subjects]
        for members in self._groups():
            pairs = [self.subjects[member].pair(folder, device) for member in members]
            networks = [pair.quick or pair.approximant for pair in pairs]
            first = 0
            for some, count in zip(self.measurement.sets(pairs[0].domain), self.measurement.tiles, strict=True):
                own = range(max(self.tiles.start - first, 0), min(self.tiles.stop - first, count))
                first += count
                found = screen.screen(
                    some, own, self.measurement.tile, pairs[0].target, networks, device, worst=self.measurement.starts
                )
                for member, one in zip(members, found, strict=True):
                    screens[member].append(one)
        return screens

    def _groups(self) -> list[list[int]]:
        groups: dict[Any, list[int]] = {}
        for number, subject in enumerate(self.subjects):
            groups.setdefault(subject.group, []).append(number)
        return list(groups.values())


@final
@dataclass(frozen=True)
class Search(Task):
    """From the worst points of the screens of one network to local maxima of its error."""

    subject: Subject
    measurement: Measurement
    screens: Sequence[screen.Screen]

    def run(self, folder: Path, device: str) -> refine.Refined:
        """Search; see `refine.refine`."""
        pair = self.subject.pair(folder, device)
        sets = self.measurement.sets(pair.domain)
        return refine.refine(
            pair.error,
            screen.candidates(self.screens, sets, self.measurement.starts, device),
            pair.domain,
            terms=pair.terms,
            samples=pair.samples,
            starts=self.measurement.starts,
            kinks=self.measurement.kinks,
            seed=self.measurement.seed,
        )


@final
@dataclass(frozen=True)
class Proof(Task):
    """So many more boxes of a proof; of one that begins where there is no pool yet."""

    subject: Subject
    measurement: Measurement
    bracket: Bracket
    pool: certify.Pool | None
    boxes: int

    def run(self, folder: Path, device: str) -> certify.Pool | str:
        """Go on proving; a word about why there can be no proof where an operation has no rule."""
        pair = self.subject.pair(folder, device)
        assert self.measurement.gap is not None
        try:
            difference = Difference(pair.target, pair.approximant, pair.domain, pair.terms)
            pool = self.pool
            if pool is None:
                pool = certify.start(difference, self.measurement.dimension, self.bracket.lower, self.bracket.where)
            return certify.advance(difference, pool, self.measurement.gap, self.boxes)
        except NoEnclosure as missing:
            return f"No certificate: {missing}"


def shares(tiles: int, pieces: int) -> list[range]:
    """Cut range(tiles) into about so many pieces."""
    edges = np.linspace(0, tiles, min(tiles, max(1, pieces)) + 1).astype(int).tolist()
    return [range(start, stop) for start, stop in itertools.pairwise(edges)]
