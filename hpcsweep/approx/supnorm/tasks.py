"""The tasks of a measurement: plain values that run anywhere and give plain values back."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from hpcsweep.approx.supnorm import consistency
from hpcsweep.approx.supnorm.approximations import Approximation, ErrorFunction
from hpcsweep.approx.supnorm.certificate import certify
from hpcsweep.approx.supnorm.certificate.enclosure import NoEnclosure
from hpcsweep.approx.supnorm.certificate.enclosure.difference import Difference
from hpcsweep.approx.supnorm.certificate.lower import LowerEnd, lower_end
from hpcsweep.approx.supnorm.certificate.methods import Methods
from hpcsweep.approx.supnorm.measurement import Measurement
from hpcsweep.approx.supnorm.screening import screen
from hpcsweep.approx.supnorm.screening.screen import Function
from hpcsweep.approx.supnorm.search import refine, starts
from hpcsweep.bracket import Bracket
from hpcsweep.config import Config

CONTRADICTION = "No certificate: the proof contradicts an evaluation: the function is not what its code says on boxes."
_LONGEST = 200  # characters of what a user's code says
_OTHERS = 512  # places all over the domain, and on its boundary, where evaluations say nothing

Screens = list[list[screen.Screen]]  # [network][point set]


class Unenclosed(NoEnclosure):
    """A user's code that runs on points cannot run on boxes."""

    def __init__(self, said: str) -> None:
        Exception.__init__(self, said)
        self.operation = said


class MeasurementTask(ABC):
    """A piece of a survey in plain values: it runs anywhere and gives plain values back."""

    @abstractmethod
    def run(self, folder: Path, device: str) -> Any:
        """Do it; plugin files are relative to `folder`."""

    @property
    @abstractmethod
    def plugins(self) -> tuple[Config, ...]:
        """The configurations of the plugins that it executes."""


@final
@dataclass(frozen=True)
class Screening(MeasurementTask):
    """Some of the tiles of a measurement: those of all its point sets, one after the other, are numbered through."""

    approximations: tuple[Approximation, ...]
    measurement: Measurement
    tiles: range

    def run(self, folder: Path, device: str) -> Screens:
        """Screen them; points and target values are shared by networks of one group."""
        screens: Screens = [[] for _ in self.approximations]
        for members in self._groups():
            error_functions = [self.approximations[member].error_function(folder, device) for member in members]
            networks = [functions.approximant for functions in error_functions]
            first = 0
            sets = self.measurement.sets(error_functions[0].domain, error_functions[0].rows)
            for point_set, count in zip(sets, self.measurement.tiles, strict=True):
                own = range(max(self.tiles.start - first, 0), min(self.tiles.stop - first, count))
                first += count
                of_members = screen.screen(
                    point_set,
                    own,
                    self.measurement.tile,
                    error_functions[0].target,
                    networks,
                    device,
                    worst=self.measurement.starts,
                    forms=error_functions[0].forms if device == "cpu" else None,
                )
                for member, of_member in zip(members, of_members, strict=True):
                    screens[member].append(of_member)
        return screens

    @property
    def plugins(self) -> tuple[Config, ...]:
        """Those of all its approximations."""
        return tuple(config for approximation in self.approximations for config in approximation.plugins)

    def _groups(self) -> list[list[int]]:
        groups: dict[Any, list[int]] = {}
        for number, approximation in enumerate(self.approximations):
            groups.setdefault(approximation.group, []).append(number)
        return list(groups.values())


@final
@dataclass(frozen=True)
class Search(MeasurementTask):
    """From the worst points of the screens of one network to local maxima of its error, and what is proved there."""

    approximation: Approximation
    measurement: Measurement
    screens: Sequence[screen.Screen]

    def run(self, folder: Path, device: str) -> tuple[refine.Refined | None, LowerEnd | None]:
        """Search, see `refine.refine`; then enclose the error at the best places, on the CPU.

        No climbs where none are asked for; no proof where the error is not finite somewhere.
        """
        refined = None
        if self.measurement.starts or self.measurement.kinks:
            refined = self._refined(self.approximation.error_function(folder, device), device)
            if not math.isfinite(refined.value):
                return refined, None
        functions = self.approximation.error_function(folder, "cpu")
        screened = [seen.bracket for seen in self.screens]
        worst = reduce(screen.higher, [*screened, refined.bracket] if refined else screened)
        places = self.approximation.places + [bracket.where for bracket in (worst, *screened) if bracket.where]
        places += refined.best if refined else ()
        best = torch.tensor(list(dict.fromkeys(places)), dtype=torch.float64)
        return refined, lower_end(enclosed(functions), best, partial(self._others, functions), functions.domain)

    def _others(self, functions: ErrorFunction) -> torch.Tensor:
        """Return places all over the domain, (points, dimension)."""
        seed, domain = self.measurement.seed, functions.domain
        return torch.cat([starts.spread(domain, _OTHERS, seed), starts.boundary(domain, _OTHERS, seed)])

    def _refined(self, functions: ErrorFunction, device: str) -> refine.Refined:
        sets = self.measurement.sets(functions.domain)
        return refine.refine(
            functions,
            screen.candidates(self.screens, sets, self.measurement.starts, device),
            functions.domain,
            terms=functions.terms,
            samples=functions.samples,
            starts=self.measurement.starts,
            kinks=self.measurement.kinks,
            seed=self.measurement.seed,
        )

    @property
    def plugins(self) -> tuple[Config, ...]:
        """Those of its approximation."""
        return self.approximation.plugins


@final
@dataclass(frozen=True)
class Proof(MeasurementTask):
    """So many more boxes of a proof; of one that begins where there is no pool yet."""

    approximation: Approximation
    measurement: Measurement
    bracket: Bracket
    pool: certify.Pool | None
    boxes: int

    def run(self, folder: Path, device: str) -> certify.Pool | str:
        """Go on proving, on the CPU; a word about why there can be no proof: no rule, or code that is not what runs."""
        functions, pool = self.approximation.error_function(folder, "cpu"), self.pool
        difference = enclosed(functions)
        assert self.measurement.gap is not None
        try:
            if pool is None:
                methods = Methods(difference)
                if self._doubtful(methods, functions):
                    return CONTRADICTION
                pool = certify.start(self.measurement.dimension, self.bracket.lower, self.bracket.where)
                permitted, tentative = self.measurement.boxes, self.measurement.tentative
                return certify.begin(methods, pool, self.measurement.gap, self.boxes, permitted, tentative)
            return certify.advance(difference, pool, self.measurement.gap, self.boxes)
        except NoEnclosure as missing:
            return f"No certificate: {missing}"

    @property
    def plugins(self) -> tuple[Config, ...]:
        """Those of its approximation."""
        return self.approximation.plugins

    def _doubtful(self, methods: Methods, functions: ErrorFunction) -> bool:
        """Return whether what is proved at some points, and at that of the lower bound, misses what is seen there.

        Not asked of what is ours: its enclosures are tested, and compared with what was seen when all is done.
        """
        if functions.forms is not None:
            return False
        if any(method.contradicted(consistency.sample(functions.domain)) for method in methods.first):
            return True
        where = torch.tensor([self.bracket.where], dtype=torch.float64)
        return bool(self.bracket.where) and methods.lines.contradicted(where, self.bracket.lower)


def enclosed(functions: ErrorFunction) -> Difference:
    """Return target - approximant on boxes; what a user's code raises there, it raises as `Unenclosed`."""
    target, approximant = (partial(on_boxes, function) for function in (functions.target, functions.approximant))
    return Difference(target, approximant, functions.domain, functions.terms, forms=functions.forms)


def on_boxes(function: Function, points: Any) -> Any:
    """Return what a function gives on boxes; what a user's code raises there, as `Unenclosed`."""
    try:
        return function(points)
    except (NoEnclosure, MemoryError):
        raise
    except Exception as error:  # a user's code may raise anything where it is given no tensor
        if isinstance(points, torch.Tensor):
            raise
        said = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
        raise Unenclosed(f"on boxes it raises {said[:_LONGEST]}") from error


def shares(tiles: int, pieces: int) -> list[range]:
    """Cut range(tiles) into about so many pieces."""
    edges = np.linspace(0, tiles, min(tiles, max(1, pieces)) + 1).astype(int).tolist()
    return [range(start, stop) for start, stop in itertools.pairwise(edges)]
