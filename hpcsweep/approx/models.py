"""Families of approximants: from a choice in a study to initial parameters and to values at points.

A model is written for ONE network; `hpcsweep.approx.training` stacks many of them. The parameters of a network are one
flat vector: for each layer the block (outputs, inputs + 1) in row-major order, biases in its last column; the blocks
follow each other. A `Sum` of networks is the vectors of its networks one after the other, then the amplitudes of all
but the first. This is also how trained weights are stored on disk.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpcsweep.errors import PluginError, unknown

Domain = Sequence[tuple[float, float]]
Drawer = Callable[[np.random.Generator, int, int, float], np.ndarray]


def _gelu(inputs: Tensor) -> Tensor:
    return inputs * (1 + torch.erf(inputs / math.sqrt(2))) / 2


def _silu(inputs: Tensor) -> Tensor:
    # Not torch's silu: its vector body and its scalar tail differ by one ulp, so that bits would depend on position.
    return inputs * (1 + torch.tanh(inputs / 2)) / 2


_ACTIVATE: Mapping[str, Callable[[Tensor], Tensor]] = {  # may overwrite their argument
    "relu": torch.relu_,
    "tanh": torch.tanh_,
    "sin": torch.sin_,
    "gelu": _gelu,
    "silu": _silu,
}


def _torch_default(generator: np.random.Generator, outputs: int, inputs: int, scale: float) -> np.ndarray:
    return generator.uniform(-1, 1, (outputs, inputs + 1)) / math.sqrt(inputs)


def _he(generator: np.random.Generator, outputs: int, inputs: int, scale: float) -> np.ndarray:
    weights = generator.standard_normal((outputs, inputs)) * math.sqrt(2 / inputs)
    return np.pad(weights, ((0, 0), (0, 1)))  # biases are zero


def _glorot(generator: np.random.Generator, outputs: int, inputs: int, scale: float) -> np.ndarray:
    weights = generator.uniform(-1, 1, (outputs, inputs)) * math.sqrt(6 / (inputs + outputs))
    return np.pad(weights, ((0, 0), (0, 1)))


def _normal(generator: np.random.Generator, outputs: int, inputs: int, scale: float) -> np.ndarray:
    return generator.standard_normal((outputs, inputs + 1)) * scale


_DRAW: Mapping[str, Drawer] = {"torch": _torch_default, "he": _he, "glorot": _glorot, "normal": _normal}

ACTIVATIONS: tuple[str, ...] = tuple(_ACTIVATE)
INITIALISATIONS: tuple[str, ...] = tuple(_DRAW)

DEFAULTS: Mapping[str, object] = {
    "name": "mlp",
    "hidden": None,
    "activation": "tanh",
    "initialisation": "torch",
    "scale": None,
    "standardise": False,
    "stages": 1,
}


class Model(ABC):
    """A family of approximants of functions on a box, at a fixed size: `init` makes networks, `apply` evaluates one.

    Attributes
    ----------
    choice : the resolved choice of the study
    dimension : number of inputs
    parameters : number of trainable parameters of one network
    """

    choice: dict[str, Any]
    dimension: int
    parameters: int

    @abstractmethod
    def init(self, seeds: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return initial parameters (cells, parameters) on the CPU; row i depends on seeds[i] only."""

    @abstractmethod
    def apply(self, parameters: Tensor, points: Tensor) -> Tensor:
        """Return the values (points,) of one network (parameters,) at points (points, dimension)."""


class MLP(Model):
    """Multilayer perceptron with one output, linear in its last layer; no hidden layer makes an affine function.

    Attributes
    ----------
    widths : (dimension, hidden widths ..., 1)
    activation : name of the activation of all hidden layers
    shift, factor : the input map x -> (x - shift) * factor, (dimension,) float64 each, or None if not standardised:
        the inputs then have mean 0 and variance 1 under the uniform distribution on the domain
    """

    def __init__(self, choice: Mapping[str, Any], dimension: int, domain: Domain) -> None:
        if len(domain) != dimension:
            raise ValueError(f"the domain has {len(domain)} axes, the model {dimension} inputs")
        self.choice = resolve(choice)
        self.dimension = dimension
        self.parameters = count_parameters(self.choice, dimension)
        self.widths = (dimension, *self.choice["hidden"], 1)
        self.activation: str = self.choice["activation"]
        self.shift: Tensor | None = None
        self.factor: Tensor | None = None
        if self.choice["standardise"]:
            low, high = torch.tensor(domain, dtype=torch.float64).T
            self.shift, self.factor = (low + high) / 2, math.sqrt(12) / (high - low)

    def init(self, seeds: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Draw initial parameters (cells, parameters), in float64 from numpy's Philox(key=seed), then cast to `dtype`.

        `torch` is the default of torch.nn.Linear: weights and biases ~ U(-b, b), b = 1 / sqrt(inputs). `he` (He et al.
        2015): weights ~ N(0, 2 / inputs). `glorot` (Glorot and Bengio 2010): weights ~ U(-b, b),
        b = sqrt(6 / (inputs + outputs)). Both with zero biases. `normal`: weights and biases ~ N(0, scale^2).
        """
        rows = np.stack([self._draw(seed) for seed in seeds]) if len(seeds) else np.empty((0, self.parameters))
        return torch.from_numpy(rows).to(dtype)

    def _draw(self, seed: int) -> np.ndarray:
        generator = np.random.Generator(np.random.Philox(key=seed))
        draw, scale = _DRAW[self.choice["initialisation"]], self.choice["scale"]
        blocks = [draw(generator, outputs, inputs, scale) for inputs, outputs in pairwise(self.widths)]
        return np.concatenate([block.ravel() for block in blocks])

    def standardised(self, points: Tensor) -> Tensor:
        """Return what the first layer sees of points (..., dimension): the points, or their standardised image."""
        if self.shift is None or self.factor is None:
            return points
        return (points - self.shift.to(points)) * self.factor.to(points)

    def layers(self, parameters: Tensor) -> list[Tensor]:
        """Return the blocks (outputs, inputs + 1) of one network's flat vector (parameters,) as views."""
        blocks, start = [], 0
        for inputs, outputs in pairwise(self.widths):
            stop = start + outputs * (inputs + 1)
            blocks.append(parameters[start:stop].view(outputs, inputs + 1))
            start = stop
        return blocks

    def apply(self, parameters: Tensor, points: Tensor) -> Tensor:
        """Return the values (points,) of the network `parameters` (parameters,) at `points` (points, dimension).

        Computes in the dtype and on the device of `parameters`; the points must agree. Nothing is recorded unless an
        argument requires gradients. The bits depend on the number of points of a call, not on their companions.
        """
        activate = _ACTIVATE[self.activation]
        *hidden, last = self.layers(parameters)
        signal = self.standardised(points).T  # (inputs, points): about 1.4 times faster than (points, inputs)
        for block in hidden:
            signal = activate(torch.addmm(block[:, -1:], block[:, :-1], signal))
        return torch.addmm(last[:, -1:], last[:, :-1], signal)[0]


class Sum(Model):
    """Networks of one shape added up: f1(x) + a2 f2(x) + ... + as fs(x), one for each of `stages`.

    The second corrects the first, and so on (`hpcsweep.approx.training.stages`); a stage that was not trained, or
    rejected, has amplitude 0 and parameters 0, so that the sum has the bits of the others.

    Attributes
    ----------
    network : the common shape of the networks
    stages : how many there are, s
    parameters : s * network.parameters + s - 1: the vectors of the networks, then the amplitudes a2 ... as
    """

    def __init__(self, choice: Mapping[str, Any], dimension: int, domain: Domain) -> None:
        self.choice = resolve(choice)
        self.dimension = dimension
        self.stages = stages_of(self.choice)
        self.network = MLP({**self.choice, "stages": 1}, dimension, domain)
        self.parameters = count_parameters(self.choice, dimension)

    def init(self, seeds: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return the initial parameters (cells, parameters): the first network as it is alone, no other stage yet."""
        first = self.network.init(seeds, dtype)  # (cells, network.parameters)
        return torch.cat([first, first.new_zeros(len(first), self.parameters - first.shape[1])], dim=1)

    def networks(self, parameters: Tensor) -> Tensor:
        """Return the vectors of the networks (stages, network.parameters) in a flat vector (parameters,), as a view."""
        return parameters[: self.stages * self.network.parameters].view(self.stages, -1)

    def amplitudes(self, parameters: Tensor) -> Tensor:
        """Return the amplitudes (stages - 1,) of all networks but the first, as a view of a flat vector."""
        return parameters[self.stages * self.network.parameters :]

    def apply(self, parameters: Tensor, points: Tensor) -> Tensor:
        """Return the values (points,) of one sum (parameters,) at points (points, dimension), the first stage first."""
        first, *others = self.networks(parameters).unbind()
        total = self.network.apply(first, points)
        for amplitude, network in zip(self.amplitudes(parameters).unbind(), others, strict=True):
            total = total + amplitude * self.network.apply(network, points)
        return total


FAMILIES: Mapping[str, Callable[[Mapping[str, Any], int, Domain], Model]] = {"mlp": MLP}


def resolve(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Complete and validate a model choice; equal models give equal results.

    `hidden` is required: the list of hidden widths (width and depth of a study are resolved by the study). `scale`, the
    standard deviation of the initialisation "normal", is required there and refused elsewhere. `stages` is left out
    where it is 1: a plain network is the same choice, with the same random streams, as if there were no stages.

    Raises
    ------
    PluginError : for an unknown field or name, or a value that cannot be
    """
    for field in choice:
        if field not in DEFAULTS:
            raise PluginError(unknown("model", field, DEFAULTS))
    full = {**DEFAULTS, **choice}
    for field, allowed in (("name", tuple(FAMILIES)), ("activation", ACTIVATIONS), ("initialisation", INITIALISATIONS)):
        if full[field] not in allowed:
            raise PluginError(unknown(f"model.{field}", full[field], allowed))
    if not isinstance(full["standardise"], bool):
        raise PluginError(f"model.standardise must be true or false, not {full['standardise']!r}.")
    stages = full.pop("stages")
    if type(stages) is not int or stages < 1:
        raise PluginError(f"model.stages must be the number of networks that are added up, 1 or more, not {stages!r}.")
    full |= {"hidden": _hidden(full["hidden"]), "scale": _scale(full["scale"], str(full["initialisation"]))}
    return {**full, "stages": stages} if stages > 1 else full


def stages_of(choice: Mapping[str, Any]) -> int:
    """Return how many networks a resolved choice adds up: 1 for a plain network."""
    return int(choice.get("stages", 1))


def _hidden(widths: object) -> list[int]:
    if not isinstance(widths, list | tuple) or not all(type(width) is int and width > 0 for width in widths):
        raise PluginError(f"model.hidden must be a list of positive widths such as [16, 16], not {widths!r}.")
    return list(widths)


def _scale(scale: object, initialisation: str) -> float | None:
    if initialisation != "normal":
        if scale is not None:
            raise PluginError(f'model.scale belongs to initialisation "normal", not to "{initialisation}".')
        return None
    if not isinstance(scale, int | float) or isinstance(scale, bool) or not 0 < scale < math.inf:
        raise PluginError(f'initialisation "normal" needs model.scale, a positive number, not {scale!r}.')
    return float(scale)


def count_parameters(choice: Mapping[str, Any], dimension: int) -> int:
    """Return the number of trainable parameters for `dimension` inputs; of s stages: s networks, s - 1 amplitudes."""
    widths, stages = (dimension, *choice["hidden"], 1), stages_of(choice)
    return stages * sum(outputs * (inputs + 1) for inputs, outputs in pairwise(widths)) + stages - 1


def make(choice: Mapping[str, Any], dimension: int, domain: Domain) -> Model:
    """Return the model of a choice for functions on `domain`, ((low, high), ...) with one pair per axis."""
    full = resolve(choice)
    return (Sum if stages_of(full) > 1 else FAMILIES[full["name"]])(full, dimension, domain)
