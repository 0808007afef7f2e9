"""Families of approximants: from their configurations to initial parameters and to values at points.

A model is written for ONE network; `hpcsweep.approx.training` stacks many of them. The parameters of a network are one
flat vector: for each layer the block (outputs, inputs + 1) in row-major order, biases in its last column; the blocks
follow each other. A `Sum` of networks is the vectors of its networks one after the other, then the amplitudes of all
but the first. This is also how trained weights are stored on disk.

Those of `classical` are not trained but fitted directly: their vectors are what their classes say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hpcsweep.approx.models import checks, classical
from hpcsweep.approx.models.layers import ACTIVATE, ACTIVATIONS, INITIALISATIONS, count
from hpcsweep.approx.models.mlp import MLP
from hpcsweep.approx.models.model import Domain, Model
from hpcsweep.approx.models.own import Own, network_of, resolve_own
from hpcsweep.approx.models.residual import Residual
from hpcsweep.approx.models.sums import Sum
from hpcsweep.config import ModelConfig

__all__ = [
    "ACTIVATE",
    "ACTIVATIONS",
    "FAMILIES",
    "INITIALISATIONS",
    "MLP",
    "Domain",
    "Model",
    "Residual",
    "Sum",
    "classical",
    "count_parameters",
    "equivalent_widths",
    "is_own",
    "make",
    "resolve",
    "sized",
]

FAMILIES: Mapping[str, Callable[[ModelConfig, int, Domain], Model]] = {
    "mlp": MLP,
    "residual": Residual,
    "simplex": classical.Simplex,
    "legendre": classical.Legendre,
    "spline": classical.Spline,
}


def is_own(model: Mapping[str, Any]) -> bool:
    """Return whether the `name` of a model is that of a class of a user."""
    return ":" in str(model.get("name", ""))


def resolve(given: Mapping[str, Any], folder: str | Path = ".") -> ModelConfig:
    """Return the configuration of a model, complete and validated; equal models have equal ones. See `checks.resolve`.

    `folder`: what the paths of users' classes are relative to. PluginError for what cannot be.
    """
    if classical.is_direct(given):
        return classical.resolve(given)
    classical.refuse(given, str(given.get("name", ModelConfig.name)))
    network = {field: value for field, value in given.items() if field not in classical.FIELDS}
    return resolve_own(network, folder) if is_own(given) else checks.resolve(network)


def sized(config: ModelConfig, dimension: int, samples: int) -> ModelConfig:
    """Return a model for so many samples: those that interpolate them are as large as that asks for.

    PluginError where such a model cannot be.
    """
    return classical.sized(config, dimension, samples) if classical.is_direct(config) else config


def make(given: Mapping[str, Any], dimension: int, domain: Domain, folder: str | Path = ".") -> Model:
    """Return a model of functions on `domain`, ((low, high), ...) with one pair per axis.

    It is `given` by its configuration, or by the fields of one.
    """
    config = resolve(given, folder)
    if is_own(config):
        network: Model = Own(config.network, domain, network_of(config, dimension, folder))
    else:
        network = FAMILIES[config.name](config.network, dimension, domain)
    return Sum(config, network) if config.stages > 1 else network


def count_parameters(config: ModelConfig, dimension: int, folder: str | Path = ".") -> int:
    """Return the number of trainable parameters for `dimension` inputs; of s stages: s networks, s - 1 amplitudes.

    PluginError for a model that interpolates samples and is not `sized` yet.
    """
    if classical.is_direct(config):
        return classical.count(config, dimension)
    if is_own(config):
        each = network_of(config, dimension, folder).parameters
    elif config.name == "residual":
        each = count(Residual.widths_of(config.hidden, dimension))
    else:
        each = count((dimension, *config.hidden, 1))
    return config.stages * each + config.stages - 1


def equivalent_widths(config: ModelConfig, dimension: int, parameters: int) -> list[int]:
    """Return the hidden widths of the perceptron that costs about as much at a point as one network of a model.

    `parameters`: of the whole model. Any other may do anything: it counts as two equal hidden layers of as many
    parameters, w^2 + (d + 3) w + 1.
    """
    if classical.is_direct(config):
        return classical.equivalent_widths(config, dimension)
    if config.name in checks.NAMES:
        hidden = list(config.hidden)
        return [hidden[0], *hidden] if config.name == "residual" else hidden
    each = (parameters + 1) // config.stages - 1
    half = (dimension + 3) / 2
    return [max(1, round(math.sqrt(half**2 + max(each - 1, 0)) - half))] * 2
