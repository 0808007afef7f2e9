"""Teachers: frozen random networks as targets, with the very weights of the published experiments.

The weights come from torch's CPU generator as the authors' programmes drew them, bit for bit, and the
caller's generators are left as they were. Drawing passes through torch's global CPU generator, because the
default initialisation of `torch.nn.Linear` takes no other; a lock keeps two threads from drawing at once.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import ClassVar, final

import torch
from torch import Tensor

from hpcsweep.approx.targets.base import Target

Activation = Callable[[Tensor], Tensor]
Layer = tuple[Tensor, Tensor]  # weight (out, in) and bias (out,)

_drawing = threading.Lock()  # rank 0 computes in one thread and makes pictures in another


@final
class FrozenNetwork:
    """A network that is never trained: layers kept in float64, cast once per dtype and device."""

    def __init__(self, layers: Sequence[Layer], activation: Activation) -> None:
        """Keep the layers; `activation` (elementwise, Lipschitz constant 1) stands between them."""
        self.layers = _cast(layers, torch.float64, torch.device("cpu"))
        self.activation = activation
        self._casts: dict[tuple[torch.dtype, torch.device], list[Layer]] = {}

    def __call__(self, points: Tensor) -> Tensor:
        """(points, dimension) -> (points,)."""
        *hidden, (weight, bias) = self._layers_like(points)
        values = points  # (points, dimension), then (points, width)
        for hidden_weight, hidden_bias in hidden:
            values = self.activation(torch.nn.functional.linear(values, hidden_weight, hidden_bias))
        return torch.nn.functional.linear(values, weight, bias)[:, 0]

    def _layers_like(self, points: Tensor) -> list[Layer]:
        like = (points.dtype, points.device)
        if like not in self._casts:
            self._casts[like] = _cast(self.layers, *like)
        return self._casts[like]

    @property
    def lipschitz(self) -> float:
        """The product of the layers' spectral norms bounds the Lipschitz constant, if the activation's is 1.

        1e-9 is far above the rounding error of a singular value, a small multiple of size * 1e-16.
        """
        norms = [float(torch.linalg.matrix_norm(weight, 2)) for weight, _ in self.layers]
        return (1.0 + 1e-9) * math.prod(norms)


def _cast(layers: Sequence[Layer], dtype: torch.dtype, device: torch.device) -> list[Layer]:
    # tensors made under inference mode could not serve a later call that differentiates
    with torch.inference_mode(False):
        return [(weight.to(device, dtype), bias.to(device, dtype)) for weight, bias in layers]


def _fresh_layers(widths: Sequence[int], seed: int, dtype: torch.dtype, spread: float | None) -> list[Layer]:
    """Draw layers of `widths` (input and output included) as a programme does after torch.manual_seed(seed).

    Without `spread`: PyTorch's default initialisation. With it, all layers are built first, which consumes
    numbers for their default initialisation, and then overwritten in turn, weight before bias, by
    U(-spread, spread).
    """
    with _drawing, torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.no_grad():
        # torch.manual_seed would reseed the caller's GPU generators too, which fork_rng does not restore here
        torch.default_generator.manual_seed(seed)
        linears = [torch.nn.Linear(a, b, device="cpu", dtype=dtype) for a, b in pairwise(widths)]
        if spread is not None:
            for linear in linears:
                linear.weight.uniform_(-spread, spread)
                linear.bias.uniform_(-spread, spread)
    return [(linear.weight.detach(), linear.bias.detach()) for linear in linears]


class NetworkTarget(Target):
    """A target whose `prepare` makes a `network`."""

    network: FrozenNetwork

    def __call__(self, points: Tensor) -> Tensor:
        """(points, dimension) -> (points,)."""
        return self.network(points)


@final
class BernerTeacher(NetworkTarget):
    """A ReLU teacher of Berner, Grohs, Voigtlaender (ICLR 2023), on [-0.5, 0.5]^d.

    Weights and biases ~ U(-0.5, 0.5), drawn in float32, then cast. `index` is the seed (the paper takes 40 of
    them), `hidden` the hidden widths.
    """

    parameters: ClassVar = {"index": 0, "hidden": (32, 32, 32, 32)}
    limits: ClassVar = {"index": (0, 2**63 - 1), "hidden": (1, 2**16)}
    side: ClassVar = (-0.5, 0.5)
    smoothness = 1  # Lipschitz

    def prepare(self) -> None:
        """Draw the weights."""
        widths = [self.dimension, *self.chosen["hidden"], 1]
        layers = _fresh_layers(widths, self.chosen["index"], torch.float32, spread=0.5)
        self.network = FrozenNetwork(layers, torch.relu)
        self.lipschitz = self.network.lipschitz


@final
class MichaudTeacher(NetworkTarget):
    """The tanh teacher d-3-3-1 of Michaud, Liu, Tegmark (Entropy 25:175, 2023), on [-1, 1]^d, there d = 1.

    PyTorch's default initialisation, drawn in float64 directly after seeding, as in the authors' notebook
    (ejmichaud/precision-ml: notebooks/boosting-replication.ipynb, seed 0).
    """

    parameters: ClassVar = {"seed": 0}
    limits: ClassVar = {"seed": (0, 2**63 - 1)}
    smoothness = math.inf

    def prepare(self) -> None:
        """Draw the weights."""
        layers = _fresh_layers([self.dimension, 3, 3, 1], self.chosen["seed"], torch.float64, spread=None)
        self.network = FrozenNetwork(layers, torch.tanh)
        self.lipschitz = self.network.lipschitz
