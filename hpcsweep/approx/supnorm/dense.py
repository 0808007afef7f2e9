"""Frozen networks known by their layers: what a proof, and a search for kinks, must see inside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hpcsweep.approx.models import ACTIVATE, MLP, Model, Sum


@dataclass(frozen=True, eq=False)
class Dense:
    """amplitude * (W_L a(W_(L-1) ... a(W_1 z + b_1) ...) + b_L), z = (x - shift) * factor.

    Parameters
    ----------
    weights: one matrix (outputs, inputs) float64 for each layer; the last has one row where it is proved or searched.
    biases: (outputs,) float64 likewise.
    activation: the name of a, as models have them.
    shift, factor: (dimension,) float64 each, of the inputs; None where the inputs are taken as they are.
    amplitude: the factor of a stage of a sum; exactly this float64.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    activation: str
    shift: Tensor | None = None
    factor: Tensor | None = None
    amplitude: float = 1.0

    @property
    def dimension(self) -> int:
        """The number of inputs."""
        return self.weights[0].shape[1]

    @property
    def outputs(self) -> int:
        """The number of outputs."""
        return len(self.weights[-1])

    def of_output(self, number: int) -> Dense:
        """Return the network of one output."""
        row = slice(number, number + 1)
        last = self.weights[-1][row], self.biases[-1][row]
        return replace(self, weights=(*self.weights[:-1], last[0]), biases=(*self.biases[:-1], last[1]))

    @property
    def width(self) -> int:
        """The widest hidden layer; 1 where there is none."""
        return max((len(weight) for weight in self.weights[:-1]), default=1)

    def standardised(self, points: Tensor) -> Tensor:
        """Return what the first layer sees of points (points, dimension)."""
        if self.shift is None or self.factor is None:
            return points
        return (points - self.shift) * self.factor

    def preactivations(self, points: Tensor) -> Iterator[Tensor]:
        """Yield what enters the activations of each hidden layer, then the output: (points, outputs) each."""
        signal = self.standardised(points)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            entering = torch.addmm(bias, signal, weight.T)
            yield entering
            if layer + 1 < len(self.weights):
                signal = ACTIVATE[self.activation](entering.clone())

    def __call__(self, points: Tensor) -> Tensor:
        """Return the values (points,), or (points, outputs) of several, at points (points, dimension)."""
        *_, output = self.preactivations(points)
        return self.amplitude * (output[:, 0] if self.outputs == 1 else output)


def of(model: Model, parameters: Tensor) -> tuple[Dense, ...]:
    """Return the networks whose sum `model` is with these parameters (parameters,); () for a model without layers."""
    if isinstance(model, MLP):
        blocks = model.layers(parameters.to(torch.float64))
        weights = tuple(block[:, :-1].contiguous() for block in blocks)
        biases = tuple(block[:, -1].contiguous() for block in blocks)
        return (Dense(weights, biases, model.activation, _like(model.shift, weights), _like(model.factor, weights)),)
    if isinstance(model, Sum) and isinstance(model.network, MLP):
        amplitudes = [1.0, *model.amplitudes(parameters).tolist()]
        stages = zip(amplitudes, model.networks(parameters), strict=True)
        # A stage that was not trained, or rejected, has amplitude 0.
        return tuple(replace(of(model.network, row)[0], amplitude=a) for a, row in stages if a)
    return ()


def _like(constants: Tensor | None, weights: tuple[Tensor, ...]) -> Tensor | None:
    return None if constants is None else constants.to(weights[0])
