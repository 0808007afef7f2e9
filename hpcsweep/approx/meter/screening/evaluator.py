"""Frozen networks, evaluated on many points as fast as matrix products go.

The activations of a piece of a tile live in two buffers that are made once and fit into a core's cache. The bias of a
layer is one more column of its matrix and meets a row of ones in the buffer, which saves a pass over the activations
before each product; so the product adds it last, as `torch.addmm` adds it to a finished product. Values equal those of
`Model.apply` on the same piece to the bit where the inputs of each layer fit into one panel of the matrix product
(`_PANEL`), and beyond that the bias is given to `torch.addmm` in both. On processors where MKL adds the
bias of `torch.addmm` otherwise, as on those of AMD, they agree to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, final

import torch
from torch import Tensor

from hpcsweep.approx.meter import dense
from hpcsweep.approx.meter.dense import Dense
from hpcsweep.approx.models import ACTIVATE, Model

_PANEL = 256  # inputs of a layer that a matrix product sums in one go, whatever the processor


def piece(width: int, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> int:
    """Return how many points of a tile go through a network of this width at a time.

    On a processor core: two activations in half of an L2 cache of 2 MiB, that is the largest power of two of at most
    2**20 / (2 * width * bytes of a number), within [256, 4096]. Another number costs up to seven times as much. On a
    GPU: two activations of at most 2 GiB.
    """
    on_core = torch.device(device).type == "cpu"
    room = max(1, (2**20 if on_core else 2**31) // (2 * width * dtype.itemsize))
    return min(4096 if on_core else 2**24, max(256, 1 << (room.bit_length() - 1)))


@final
class Evaluator:
    """A sum of frozen networks as a function of points: (points, dimension) -> (points,), both float64.

    Parameters
    ----------
    terms: the networks.
    dtype: in which they compute. The points of a piece are rounded to it, and the values of each term are made float64
        before they are added: in float32, the errors are those of the network as it would be deployed.
    """

    def __init__(self, terms: Sequence[Dense], dtype: torch.dtype = torch.float64) -> None:
        device = terms[0].weights[0].device
        self._piece = piece(max(term.width for term in terms), dtype, device)
        buffers = _Buffers(self._piece, dtype, device)
        self._terms = [(_Layers(term, buffers), term.amplitude) for term in terms]

    def __call__(self, points: Tensor) -> Tensor:
        """Return the values at points of any number; quickest if they lie in memory axis by axis."""
        with torch.no_grad():
            values = torch.empty(len(points), dtype=torch.float64, device=points.device)
            parts = points.T.split(self._piece, dim=1)  # (dimension, points) each
            for part, found in zip(parts, values.split(self._piece), strict=True):
                found.copy_(self._total(part))
            return values

    def _total(self, part: Tensor) -> Tensor:
        (layers, amplitude), *others = self._terms
        total = layers(part) * amplitude if amplitude != 1.0 else layers(part)
        for layers, amplitude in others:
            total = total + amplitude * layers(part)
        return total


@final
class _Buffers:
    """Two activations in turn, shared by all layers of all terms: (outputs, points), and below them a row of ones."""

    def __init__(self, points: int, dtype: torch.dtype, device: torch.device) -> None:
        self._new = partial(torch.ones, dtype=dtype, device=device)
        self.points = points
        self._held: dict[tuple[int, int], Tensor] = {}

    def take(self, layer: int, outputs: int) -> Tensor:
        """Return the buffer of a layer, (outputs + 1, points): of every second one of as many outputs the same."""
        key = layer % 2, outputs
        if key not in self._held:
            self._held[key] = self._new((outputs + 1, self.points))
        return self._held[key]


class _Views(NamedTuple):
    """Where the signals of so many points lie in the buffers."""

    inputs: Tensor  # (dimension, points)
    hidden: list[tuple[Tensor, Tensor | None, Tensor, Tensor]]  # weight, bias, what enters the layer, what leaves it
    last: Tensor  # (inputs of the last layer, points)


@final
class _Layers:
    """The layers of one network, ready to run in buffers."""

    def __init__(self, term: Dense, buffers: _Buffers) -> None:
        self._activate = ACTIVATE[term.activation]
        self._inputs = buffers.take(1, term.dimension)
        dtype, on_core = self._inputs.dtype, self._inputs.device.type == "cpu"
        self._shift, self._factor = (
            None if constant is None else constant.to(dtype)[:, None] for constant in (term.shift, term.factor)
        )
        pairs = [
            (weight.to(dtype), bias.to(dtype)[:, None]) for weight, bias in zip(term.weights, term.biases, strict=True)
        ]
        *hidden, self._last = pairs
        self._hidden: list[tuple[Tensor, Tensor | None, Tensor]] = [
            (torch.cat((weight, bias), dim=1), None, buffers.take(layer, len(weight)))
            if on_core and weight.shape[1] <= _PANEL
            else (weight, bias, buffers.take(layer, len(weight)))
            for layer, (weight, bias) in enumerate(hidden)
        ]
        # Made once for whole pieces: to make them costs a tenth of the products of a network of width 64.
        self._points, self._whole = buffers.points, self._views(buffers.points)

    def _views(self, points: int) -> _Views:
        signal = self._inputs[:, :points]  # with the row of ones, as every signal
        inputs, hidden = signal[:-1], []
        for weight, bias, buffer in self._hidden:
            hidden.append((weight, bias, signal if bias is None else signal[:-1], buffer[:-1, :points]))
            signal = buffer[:, :points]
        return _Views(inputs, hidden, signal[:-1])

    def __call__(self, part: Tensor) -> Tensor:
        """Return the values (points,) at points (dimension, points) of any type, no more than a piece."""
        points = part.shape[1]
        inputs, hidden, last = self._whole if points == self._points else self._views(points)
        inputs.copy_(part)
        if self._shift is not None and self._factor is not None:
            inputs.sub_(self._shift).mul_(self._factor)
        for weight, bias, signal, entering in hidden:
            if bias is None:
                torch.mm(weight, signal, out=entering)
            else:
                torch.addmm(bias, weight, signal, out=entering)
            leaving = self._activate(entering)
            if leaving is not entering:
                entering.copy_(leaving)
        weight, bias = self._last
        return torch.addmm(bias, weight, last)[0]


def frozen(model: Model, parameters: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the network `parameters` (parameters,) float64 of a model as the quickest function of points there is."""
    terms = dense.of(model, parameters)
    return Evaluator(terms) if terms else partial(model.apply, parameters)
