"""What models made of layers have in common: activations, initial weights, and where the layers' blocks lie."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.models import activations
from hpcsweep.config import ModelConfig

Drawer = Callable[[np.random.Generator, int, int, float], np.ndarray]

ACTIVATE: Mapping[str, Callable[[Tensor], Tensor]] = {  # may overwrite their argument
    name: one.apply for name, one in activations.ACTIVATIONS.items()
}
BOUNDED: tuple[str, ...] = tuple(name for name, one in activations.ACTIVATIONS.items() if one.is_bounded)


def _without_biases(weights: np.ndarray) -> np.ndarray:
    return np.pad(weights, ((0, 0), (0, 1)))


_DRAW: Mapping[str, Drawer] = {  # from generator, outputs, inputs and scale; see `draw`
    "torch": lambda random, outputs, inputs, _: random.uniform(-1, 1, (outputs, inputs + 1)) / math.sqrt(inputs),
    "he": lambda random, outputs, inputs, _: _without_biases(
        random.standard_normal((outputs, inputs)) * math.sqrt(2 / inputs)
    ),
    "glorot": lambda random, outputs, inputs, _: _without_biases(
        random.uniform(-1, 1, (outputs, inputs)) * math.sqrt(6 / (inputs + outputs))
    ),
    "normal": lambda random, outputs, inputs, scale: random.standard_normal((outputs, inputs + 1)) * scale,
}

ACTIVATIONS: tuple[str, ...] = tuple(ACTIVATE)
INITIALISATIONS: tuple[str, ...] = tuple(_DRAW)


def count(widths: Sequence[int]) -> int:
    """Return the number of parameters of layers (inputs, hidden widths ..., outputs)."""
    return sum(outputs * (inputs + 1) for inputs, outputs in pairwise(widths))


def draw(widths: Sequence[int], config: ModelConfig, seeds: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Draw initial parameters (cells, parameters), in float64 from numpy's Philox(key=seed), then cast to `dtype`.

    `torch` is the default of torch.nn.Linear: weights and biases ~ U(-b, b), b = 1 / sqrt(inputs). `he` (He et al.
    2015): weights ~ N(0, 2 / inputs). `glorot` (Glorot and Bengio 2010): weights ~ U(-b, b),
    b = sqrt(6 / (inputs + outputs)). Both with zero biases. `normal`: weights and biases ~ N(0, scale^2).
    """
    rows = [_row(widths, config.initialisation, config.scale, seed) for seed in seeds]
    return torch.from_numpy(np.stack(rows) if rows else np.empty((0, count(widths)))).to(dtype)


def _row(widths: Sequence[int], initialisation: str, scale: object, seed: int) -> np.ndarray:
    generator = np.random.Generator(np.random.Philox(key=seed))
    drawer = _DRAW[initialisation]
    blocks = [drawer(generator, outputs, inputs, scale) for inputs, outputs in pairwise(widths)]  # type: ignore[arg-type]
    return np.concatenate([block.ravel() for block in blocks])


def blocks_of(widths: Sequence[int], parameters: Tensor) -> list[Tensor]:
    """Return the blocks (outputs, inputs + 1) of one network's flat vector (parameters,) as views."""
    shapes = [(outputs, inputs + 1) for inputs, outputs in pairwise(widths)]
    # By one split: the derivative of a slice would be a vector of all parameters, for each layer.
    parts = parameters.split([outputs * columns for outputs, columns in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
