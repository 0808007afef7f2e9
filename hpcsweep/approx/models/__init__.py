"""Families of approximants: from a choice in a study to initial parameters and to values at points.

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

from hpcsweep.approx.models import choices, classical
from hpcsweep.approx.models.choices import DEFAULTS, stages_of
from hpcsweep.approx.models.layers import ACTIVATE, ACTIVATIONS, INITIALISATIONS, count
from hpcsweep.approx.models.mlp import MLP
from hpcsweep.approx.models.model import Domain, Model
from hpcsweep.approx.models.own import Own, network_of, resolve_own
from hpcsweep.approx.models.residual import Residual
from hpcsweep.approx.models.sums import Sum

__all__ = [
    "ACTIVATE",
    "ACTIVATIONS",
    "DEFAULTS",
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
    "stages_of",
]

FAMILIES: Mapping[str, Callable[[Mapping[str, Any], int, Domain], Model]] = {
    "mlp": MLP,
    "residual": Residual,
    "simplex": classical.Simplex,
    "legendre": classical.Legendre,
    "spline": classical.Spline,
}


def is_own(choice: Mapping[str, Any]) -> bool:
    """Return whether a choice names a class of a user."""
    return ":" in str(choice.get("name", ""))


def resolve(choice: Mapping[str, Any], folder: str | Path = ".") -> dict[str, Any]:
    """Complete and validate a model choice; equal models give equal results. See `choices.resolve`.

    `folder`: what the paths of users' classes are relative to. PluginError for what cannot be.
    """
    if classical.is_direct(choice):
        return classical.resolve(choice, DEFAULTS)
    classical.refuse(choice, str(choice.get("name", DEFAULTS["name"])))
    network = {field: value for field, value in choice.items() if field not in classical.FIELDS}
    return resolve_own(network, folder) if is_own(choice) else choices.resolve(network)


def sized(choice: Mapping[str, Any], dimension: int, samples: int) -> dict[str, Any]:
    """Return a resolved choice for so many samples: models that interpolate them are as large as that asks for.

    PluginError where such a model cannot be.
    """
    return classical.sized(choice, dimension, samples) if classical.is_direct(choice) else dict(choice)


def make(choice: Mapping[str, Any], dimension: int, domain: Domain, folder: str | Path = ".") -> Model:
    """Return the model of a choice for functions on `domain`, ((low, high), ...) with one pair per axis."""
    full = resolve(choice, folder)
    single = {field: value for field, value in full.items() if field != "stages"}
    if is_own(full):
        network: Model = Own(single, domain, network_of(single, dimension, folder))
    else:
        network = FAMILIES[full["name"]](single, dimension, domain)
    return Sum(full, network) if stages_of(full) > 1 else network


def count_parameters(choice: Mapping[str, Any], dimension: int, folder: str | Path = ".") -> int:
    """Return the number of trainable parameters for `dimension` inputs; of s stages: s networks, s - 1 amplitudes.

    PluginError for a model that interpolates samples and is not `sized` yet.
    """
    if classical.is_direct(choice):
        return classical.count(choice, dimension)
    stages = stages_of(choice)
    if is_own(choice):
        one = network_of(choice, dimension, folder).parameters
    elif choice.get("name") == "residual":
        one = count(Residual.widths_of(choice["hidden"], dimension))
    else:
        one = count((dimension, *choice["hidden"], 1))
    return stages * one + stages - 1


def equivalent_widths(choice: Mapping[str, Any], dimension: int, parameters: int) -> list[int]:
    """Return the hidden widths of the perceptron that costs about as much at a point as one network of a choice.

    `parameters`: of the whole model. Any other may do anything: it counts as two equal hidden layers of as many
    parameters, w^2 + (d + 3) w + 1.
    """
    if classical.is_direct(choice):
        return classical.equivalent_widths(choice, dimension)
    if choice.get("name") in choices.NAMES:
        hidden = list(choice["hidden"])
        return [hidden[0], *hidden] if choice["name"] == "residual" else hidden
    one = (parameters + 1) // stages_of(choice) - 1
    half = (dimension + 3) / 2
    return [max(1, round(math.sqrt(half**2 + max(one - 1, 0)) - half))] * 2
