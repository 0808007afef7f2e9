"""Networks of stored parameters on balls, from the layout that docs/store.md describes."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hpcsweep.approx import models, plugins
from hpcsweep.approx.supnorm.verification.balls import Balls, NoBalls, array_of
from hpcsweep.config import ModelConfig, TargetConfig
from hpcsweep.errors import PluginError

Function = Callable[[Any], Any]  # on balls: of points (points, dimension) -> (points,)
Domain = tuple[tuple[float, float], ...]


def error_function(
    target: TargetConfig, dimension: int, model: ModelConfig, vector: np.ndarray, folder: Path
) -> tuple[Function, Domain]:
    """Return target - network on balls, and the domain; plugins are relative to `folder`.

    What it meets without ball arithmetic, it raises as `NoBalls`. A target that cannot be made is a PluginError.
    """
    function = plugins.unchecked(target, dimension, folder)
    network = _network(model, dimension, function.domain, vector, folder)

    def error(points: Any) -> Any:
        try:
            values = Balls(array_of(function(points.clone())) - network(points).array)
        except (NoBalls, PluginError):
            raise
        except Exception as error:  # of code that is written for tensors
            raise NoBalls(" ".join(f"{type(error).__name__}: {error}".split())) from error
        if values.shape != points.shape[:1]:
            raise NoBalls(f"values of shape {tuple(values.shape)}")
        return values

    return error, function.domain


def _network(config: ModelConfig, dimension: int, domain: Domain, vector: np.ndarray, folder: Path) -> Function:
    """Return a network: layers by their own formulas; any other model by its own code."""
    if config.name not in ("mlp", "residual"):
        model, parameters = models.make(config, dimension, domain, folder), torch.from_numpy(vector)
        return lambda points: model.apply(parameters, points)
    lifted = config.hidden[:1] if config.name == "residual" else ()
    widths = (dimension, *lifted, *config.hidden, 1)
    size = sum(outputs * (inputs + 1) for inputs, outputs in pairwise(widths))
    rows = [_layers(row, widths) for row in vector[: config.stages * size].reshape(config.stages, size)]
    amplitudes = [1.0, *vector[config.stages * size :].tolist()]
    low, high = np.array(domain).T

    def network(points: Any) -> Any:
        inputs = (points - (low + high) / 2) * (math.sqrt(12) / (high - low)) if config.standardise else points
        terms = [_output(row, inputs, config) * factor for row, factor in zip(rows, amplitudes, strict=True) if factor]
        return functools.reduce(operator.add, terms)

    return network


def _layers(vector: np.ndarray, widths: tuple[int, ...]) -> list[tuple[Balls, Balls]]:
    """Return weights (inputs, outputs) and biases (outputs,) of a vector of blocks (outputs, inputs + 1)."""
    layers, start = [], 0
    for inputs, outputs in pairwise(widths):
        block = vector[start : (start := start + outputs * (inputs + 1))].reshape(outputs, inputs + 1)
        layers.append((Balls(array_of(block[:, :-1].T)), Balls(array_of(block[:, -1]))))
    return layers


def _output(layers: list[tuple[Any, Any]], signal: Any, config: ModelConfig) -> Any:
    """Return the values (points,) of layers at inputs (points, dimension)."""
    residual = config.name == "residual"
    for number, (weights, biases) in enumerate(layers):
        entering = signal @ weights + biases
        if number + 1 == len(layers) or (residual and not number):
            signal = entering
        else:
            bent = _activated(entering, config.activation, residual)
            signal = signal + bent if residual else bent
    return signal[:, 0]


def _activated(entering: Any, activation: str, residual: bool) -> Any:
    if residual and activation == "gelu":  # residual networks are proved by their code, whose sqrt(2) is a float64
        return entering * (1 + (entering / math.sqrt(2)).erf()) / 2
    return getattr(entering, activation)()
