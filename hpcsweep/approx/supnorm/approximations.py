"""What is measured: a target, what approximates it, and what is known of both; described in plain values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx import models, plugins
from hpcsweep.approx.supnorm import dense
from hpcsweep.approx.supnorm.certificate.enclosure.remembered import Forms
from hpcsweep.approx.supnorm.points.pointset import Domain
from hpcsweep.approx.supnorm.screening.evaluator import frozen
from hpcsweep.approx.supnorm.screening.screen import Function
from hpcsweep.approx.supnorm.search.ascent import with_slopes
from hpcsweep.approx.targets import Target, data
from hpcsweep.config import DATA, Config, ModelConfig, TargetConfig

_FEW = 100_000  # parameters of networks that are kept


@dataclass(frozen=True, eq=False)
class ErrorFunction:
    """target - approximant as a function on a device: (points, dimension) float64 -> (points,) float64.

    Parameters
    ----------
    domain: ((low, high), ...), one pair per axis.
    terms: the networks whose sum the approximant is, () if its layers are not known.
    samples: (samples, dimension), where the approximant was trained; None if that is not known.
    forms: of the target on this domain, if it is pure and others share it.
    rows: (points, dimension), the places of data that were held out; none of a function, which is known everywhere.
    """

    target: Function
    approximant: Function
    domain: Domain
    terms: tuple[dense.Dense, ...] = ()
    samples: Tensor | None = None
    forms: Forms | None = None
    rows: Tensor = field(default_factory=lambda: torch.empty(0))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user should know of both, in sentences."""
        both = (getattr(function, "remarks", ()) for function in (self.target, self.approximant))
        return tuple(dict.fromkeys(remark for remarks in both for remark in remarks))

    @property
    def width(self) -> int:
        """The widest hidden layer, by which tiles are sized and proofs are tried; 64 where layers are not known."""
        return max((term.width for term in self.terms), default=64)

    def __call__(self, points: Tensor) -> Tensor:
        """Return target - approximant (points,) at points (points, dimension)."""
        return self.target(points) - self.approximant(points)

    def with_slopes(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return it with its gradients (points, dimension), each function differentiated in its own way."""
        (target, rise), (value, slopes) = with_slopes(self.target, points), with_slopes(self.approximant, points)
        return target - value, rise - slopes


class Approximation(ABC):
    """Something to be measured, in plain values that travel between processes."""

    @property
    @abstractmethod
    def group(self) -> Hashable:
        """What is equal for approximations of one target on one domain, which share points and target values."""

    @abstractmethod
    def error_function(self, folder: Path, device: str) -> ErrorFunction:
        """Make the functions; plugin files are relative to `folder`. Raises `UserError` for what cannot be had."""

    @property
    def plugins(self) -> tuple[Config, ...]:
        """The configurations of the plugins among its functions, as `plugins.verify` takes them."""
        return ()

    @property
    def places(self) -> list[tuple[float, ...]]:
        """Places where the error is enclosed besides those that a search finds."""
        return []

    @property
    def solves(self) -> bool:
        """Whether it is to solve Poisson's equation, whose exact solution the target is."""
        return False


@final
@dataclass(frozen=True, eq=False)
class Network(Approximation):
    """A trained network of a study.

    Parameters
    ----------
    target, dimension, model: as those of its cell.
    parameters: (parameters,) float64.
    samples, data_seed, sampling: how many samples it was trained on, the seed of their places, and whether they are
        "uniform" or a "grid"; 0 samples if not known. Points on the boundary, of an equation, are not counted.
    seen: the place of the largest error of an earlier measurement, which is looked at again; NaN or () of none.
    equation: what it was trained to satisfy, see `config.methods.Objective`.
    """

    target: TargetConfig
    dimension: int
    model: ModelConfig
    parameters: np.ndarray
    samples: int = 0
    data_seed: int = 0
    sampling: str = "uniform"
    seen: tuple[float, ...] = ()
    equation: str = "none"

    @property
    def width(self) -> int:
        """The widest hidden layer of the perceptron that costs as much, as when the study was planned."""
        return max(models.equivalent_widths(self.model, self.dimension, len(self.parameters)), default=1)

    @property
    def group(self) -> Hashable:
        """The target: it has one domain in one dimension."""
        return self.target.canonical()

    @property
    def plugins(self) -> tuple[Config, ...]:
        """Target and model, whatever they are."""
        return self.target, self.model

    @property
    def places(self) -> list[tuple[float, ...]]:
        """That of an earlier measurement, if it is known."""
        return [self.seen] if self.seen and np.isfinite(self.seen).all() else []

    @property
    def solves(self) -> bool:
        """Whether it was trained to."""
        return self.equation == "poisson"

    def error_function(self, folder: Path, device: str) -> ErrorFunction:
        """Make target and network; what was made of the last ones is kept, if both are ours and the target no data."""
        if ":" in self.target.name + self.model.name or self.target.name == DATA:
            return self.made(plugins.unchecked(self.target, self.dimension, folder), None, folder, device)
        make = _error_function if len(self.parameters) <= _FEW else _error_function.__wrapped__
        return make(self, folder, device)

    def made(self, target: Target, forms: Forms | None, folder: Path, device: str) -> ErrorFunction:
        """Return the error function with this target, and what is remembered of it."""
        model = models.make(self.model, self.dimension, target.domain, folder)
        parameters = torch.from_numpy(np.array(self.parameters, dtype=np.float64)).to(device)
        places = None
        if self.samples:
            places = torch.from_numpy(data.places(target, self.data_seed, self.samples, self.sampling)).to(device)
        rows = torch.empty(0)
        if isinstance(target, data.Data):
            rows = torch.from_numpy(target.rows.places[target.held_out]).to(device)
        approximant, terms = frozen(model, parameters), dense.of(model, parameters)
        return ErrorFunction(target, approximant, target.domain, terms, places, forms, rows)


@lru_cache(32)
def _error_function(network: Network, folder: Path, device: str) -> ErrorFunction:
    return network.made(*_ours(network.target, network.dimension), folder, device)


@lru_cache(8)
def _ours(target: TargetConfig, dimension: int) -> tuple[Target, Forms]:
    """Return a function that is ours, and what is remembered of it."""
    return plugins.unchecked(target, dimension), Forms()


@final
@dataclass(frozen=True, eq=False)
class InMemory(Approximation):
    """Functions of this process, as they are."""

    functions: ErrorFunction

    @property
    def group(self) -> Hashable:
        """One of its own."""
        return id(self.functions)

    def error_function(self, folder: Path, device: str) -> ErrorFunction:
        """Return the functions."""
        return self.functions
