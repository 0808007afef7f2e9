"""Frozen networks as functions of points: compiled on processors; on devices as fast as matrix products go there.

On a device the activations of a piece of a tile live in two buffers that are made once. Values equal those of
`Model.apply` on the same piece to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, final

import torch
from torch import Tensor

from hpcsweep.approx.models import ACTIVATE, Model
from hpcsweep.approx.models.compiled import compiled
from hpcsweep.approx.supnorm import dense
from hpcsweep.approx.supnorm.dense import Dense


def piece(width: int) -> int:
    """Return how many points go through a network of this width at a time: two activations are at most 2 GiB."""
    room = max(1, 2**31 // (2 * width * torch.float64.itemsize))
    return min(2**24, max(256, 1 << (room.bit_length() - 1)))


@final
class Evaluator:
    """A sum of frozen networks on a device as a function of points: (points, dimension) -> (points,), both float64.

    Parameters
    ----------
    terms: the networks.
    points: of a piece, see `piece`.
    """

    def __init__(self, terms: Sequence[Dense], points: int | None = None) -> None:
        self._dense, self._piece = terms, points or piece(max(term.width for term in terms))
        buffers = _Buffers(self._piece, terms[0].weights[0].device)
        self._terms = [(_Layers(term, buffers), term.amplitude) for term in terms]

    def __call__(self, points: Tensor) -> Tensor:
        """Return the values at points of any number, quickest if they lie in memory axis by axis.

        Where points require gradients these are those of the layers in float64, without buffers.
        """
        if points.requires_grad and torch.is_grad_enabled():
            return total(self._dense, points)
        with torch.no_grad():
            values = torch.empty(len(points), dtype=torch.float64, device=points.device)
            parts = points.T.split(self._piece, dim=1)  # (dimension, points) each
            for part, part_values in zip(parts, values.split(self._piece), strict=True):
                part_values.copy_(self._total(part))
            return values

    def _total(self, part: Tensor) -> Tensor:
        (layers, amplitude), *others = self._terms
        total = layers(part) * amplitude if amplitude != 1.0 else layers(part)
        for layers, amplitude in others:
            total = total + amplitude * layers(part)
        return total


@final
class _Buffers:
    """Two activations in turn, shared by all layers of all terms: (outputs, points)."""

    def __init__(self, points: int, device: torch.device) -> None:
        self._new = partial(torch.empty, dtype=torch.float64, device=device)
        self.points = points
        self._held: dict[tuple[int, int], Tensor] = {}

    def take(self, layer: int, outputs: int) -> Tensor:
        """Return the buffer of a layer, (outputs, points): of every second one of as many outputs the same."""
        key = layer % 2, outputs
        if key not in self._held:
            self._held[key] = self._new((outputs, self.points))
        return self._held[key]


class _Views(NamedTuple):
    """Where the signals of so many points lie in the buffers."""

    inputs: Tensor  # (dimension, points)
    hidden: list[tuple[Tensor, Tensor, Tensor, Tensor]]  # weight, bias, what enters the layer, what leaves it
    last: Tensor  # (inputs of the last layer, points)


@final
class _Layers:
    """The layers of one network, ready to run in buffers."""

    def __init__(self, term: Dense, buffers: _Buffers) -> None:
        self._activate = ACTIVATE[term.activation]
        self._inputs = buffers.take(1, term.dimension)
        self._shift, self._factor = (
            None if constant is None else constant[:, None] for constant in (term.shift, term.factor)
        )
        *hidden, self._last = [(weight, bias[:, None]) for weight, bias in zip(term.weights, term.biases, strict=True)]
        self._hidden = [(weight, bias, buffers.take(layer, len(weight))) for layer, (weight, bias) in enumerate(hidden)]
        # Made once for whole pieces: to make them costs a tenth of the products of a network of width 64.
        self._points, self._whole = buffers.points, self._views(buffers.points)

    def _views(self, points: int) -> _Views:
        inputs = signal = self._inputs[:, :points]
        hidden = []
        for weight, bias, buffer in self._hidden:
            hidden.append((weight, bias, signal, buffer[:, :points]))
            signal = buffer[:, :points]
        return _Views(inputs, hidden, signal)

    def __call__(self, part: Tensor) -> Tensor:
        """Return the values (points,) at points (dimension, points), no more than a piece."""
        points = part.shape[1]
        inputs, hidden, last = self._whole if points == self._points else self._views(points)
        inputs.copy_(part)
        if self._shift is not None and self._factor is not None:
            inputs.sub_(self._shift).mul_(self._factor)
        for weight, bias, signal, entering in hidden:
            torch.addmm(bias, weight, signal, out=entering)
            leaving = self._activate(entering)
            if leaving is not entering:
                entering.copy_(leaving)
        weight, bias = self._last
        return torch.addmm(bias, weight, last)[0]


def total(terms: Sequence[Dense], points: Tensor) -> Tensor:
    """Return the values (points,) of a sum of networks at points (points, dimension), differentiable."""
    first, *others = terms
    return sum((term(points) for term in others), start=first(points))


def frozen(model: Model, parameters: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the network `parameters` (parameters,) float64 of a model as the quickest function of points there is.

    It can be differentiated by the points, and given the boxes of a proof where the model can.
    """
    whole = compiled(model, parameters)
    if whole is not None:
        return whole
    terms = () if parameters.device.type == "cpu" else dense.of(model, parameters)
    return Evaluator(terms) if terms else partial(model.apply, parameters)
