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


def input_map(standardise: bool, domain: Domain) -> tuple[Tensor, Tensor] | None:
    """Return shift and factor, (dimension,) float64 each, of the map x -> (x - shift) * factor of the inputs, or None.

    Standardised inputs have mean 0 and variance 1 under the uniform distribution on the domain.
    """
    if not standardise:
        return None
    low, high = torch.tensor(domain, dtype=torch.float64).T
    return (low + high) / 2, math.sqrt(12) / (high - low)


def mapped(points: Tensor, shift: Tensor | None, factor: Tensor | None) -> Tensor:
    """Return (points - shift) * factor, or the points (..., dimension) themselves where there is no such map."""
    if shift is None or factor is None:
        return points
    return (points - shift.to(points)) * factor.to(points)
