"""What a family of approximants is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from hpcsweep.config import ModelConfig

Domain = Sequence[tuple[float, float]]

FIELDS = ("hidden", "activation", "initialisation", "scale")  # of [model], that a class of a user may read


class Model(ABC):
    """A family of approximants of functions on a box, at a fixed size: `init` makes networks, `apply` evaluates one.

    A class of a user is made as ``Class(choice, dimension)`` and sets `dimension` and `parameters`; it sees the points
    of the domain or, where the study says `standardise`, their standardised image.

    Attributes
    ----------
    fields : which of `FIELDS` the networks depend on; others are no part of the configuration of a user's class
    config : as the study says; of a class of a user what encloses it
    dimension : number of inputs
    parameters : number of trainable parameters of one network
    widths : (inputs, ..., 1) where the flat vector is that of layers, one block (outputs, inputs + 1) after the other,
        each with as many inputs as the one before it has outputs; () where it has no such structure
    """

    fields: ClassVar[tuple[str, ...]] = ("hidden",)
    config: ModelConfig = ModelConfig("")
    dimension: int
    parameters: int
    widths: tuple[int, ...] = ()

    @abstractmethod
    def init(self, seeds: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return initial parameters (cells, parameters) on the CPU; row i depends on seeds[i] only."""

    @abstractmethod
    def apply(self, parameters: Tensor, points: Tensor) -> Tensor:
        """Return the values (points,) of one network (parameters,) at points (points, dimension).

        In torch's operations, differentiable by the parameters; a value depends on its own point only.
        """

    def standardised(self, points: Tensor) -> Tensor:
        """Return what `evaluate` is to be given for points (..., dimension): here the points themselves."""
        return points

    def evaluate(self, parameters: Tensor, inputs: Tensor) -> Tensor:
        """Return `apply` for points that are `standardised` already: (points,) of inputs (points, dimension).

        The same function for all models of one configuration and dimension, whatever their domains.
        """
        return self.apply(parameters, inputs)

    def frequency_layer(self, parameters: Tensor) -> Tensor | None:
        """Return the view of a flat vector whose multiples have higher frequencies, not larger values; None if none."""
        return None


class Standardising(Model):
    """A model that sees the points, or their standardised image, where the configuration says `standardise`.

    Attributes
    ----------
    shift, factor : the input map x -> (x - shift) * factor, (dimension,) float64 each, or None if not standardised:
        the inputs then have mean 0 and variance 1 under the uniform distribution on the domain
    """

    shift: Tensor | None = None
    factor: Tensor | None = None

    def __init__(self, config: ModelConfig, domain: Domain) -> None:
        self.config = config
        if config.standardise:
            low, high = torch.tensor(domain, dtype=torch.float64).T
            self.shift, self.factor = (low + high) / 2, math.sqrt(12) / (high - low)

    def standardised(self, points: Tensor) -> Tensor:
        """Return what the network sees of points (..., dimension): the points, or their standardised image."""
        if self.shift is None or self.factor is None:
            return points
        return (points - self.shift.to(points)) * self.factor.to(points)

    def apply(self, parameters: Tensor, points: Tensor) -> Tensor:
        """Return the values (points,) of the network `parameters` (parameters,) at `points` (points, dimension).

        Computes in the dtype and on the device of `parameters`; the points must agree. Nothing is recorded unless an
        argument requires gradients. The bits depend on the number of points of a call and, on some processors, on the
        place of a point among them, not on its companions.
        """
        return self.evaluate(parameters, self.standardised(points))
