"""Many networks of one shape as one program: stacked forward and backward passes in closed form.

Everything that the passes write exists beforehand, and all matrix products are batched over slots. One network occupies
one slot. The parameters of all slots lie in one flat buffer, layer by layer, each layer a contiguous block
(slots, outputs, inputs + 1): batched products fall back to a slow loop on non-contiguous blocks, and an optimizer
updates everything by a handful of operations on the flat buffer. Biases are the last column; activations carry a row
of ones to meet them, samples last: (slots, width + 1, samples).

On a CPU with one thread the bits of a slot depend neither on the number of slots (from two on: a product of one slot
rounds differently) nor on its position nor on the other slots, finite or not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import torch
from torch import Tensor

from hpcsweep.approx.training.activations import ACTIVATIONS
from hpcsweep.approx.training.losses import Loss, MeanSquare
from hpcsweep.approx.training.passes import Passes
from hpcsweep.approx.training.signals import Signals, strips


@dataclass(frozen=True)
class Layout:
    """How the parameters of `slots` networks with layers `widths` (inputs, hidden ..., 1) lie in a flat buffer."""

    widths: tuple[int, ...]
    slots: int

    @property
    def parameters(self) -> int:
        """Number of parameters of one network."""
        return sum(outputs * (inputs + 1) for inputs, outputs in pairwise(self.widths))

    def blocks(self, buffer: Tensor) -> list[Tensor]:
        """Return the views (slots, outputs, inputs + 1) of a flat buffer (slots * parameters,), one per layer."""
        shapes = [(self.slots, outputs, inputs + 1) for inputs, outputs in pairwise(self.widths)]
        sizes = [slots * outputs * columns for slots, outputs, columns in shapes]
        return [part.view(shape) for part, shape in zip(buffer.split(sizes), shapes, strict=True)]

    def rows(self, buffer: Tensor) -> Tensor:
        """Return a copy (slots, parameters) of a flat buffer: one network per row, in the order of the store."""
        return torch.cat([block.flatten(1) for block in self.blocks(buffer)], dim=1)

    def fill(self, buffer: Tensor, rows: Tensor) -> None:
        """Write `rows` (slots, parameters), or (slots, 1) for one number per network, into a flat buffer."""
        blocks = self.blocks(buffer)
        if rows.shape[1] == 1:
            for block in blocks:
                block.copy_(rows.view(-1, 1, 1).expand_as(block))
            return
        parts = rows.split([block[0].numel() for block in blocks], dim=1)
        for block, part in zip(blocks, parts, strict=True):
            block.copy_(part.reshape(block.shape))


@final
class Engine(Passes):
    """The workspace in which the networks of a pack are evaluated and differentiated on `samples` points each.

    Computes in the dtype and on the device of `weights`, which is not copied: engines may share it.

    Attributes
    ----------
    layout : where parameters lie
    weights, gradient : flat buffers (slots * parameters,): the parameters, and the gradient of the loss after `descend`
    points : (slots, dimension, samples) view, to be filled in place: the inputs of the first layer
    values : (slots, 1, samples), to be filled in place: what the networks should say there
    importance : None, or (slots, 1, samples), to be filled in place: factors of the samples in the loss
    features : (slots, width + 1, samples) view: inputs of the last layer after `forward`, ones last
    """

    def __init__(
        self, layout: Layout, activation: str, samples: int, weights: Tensor, loss: Loss | None = None
    ) -> None:
        self.layout, self.samples, self.weights = layout, samples, weights
        self.minimised = loss or MeanSquare()
        self.importance: Tensor | None = None
        self.gradient = torch.zeros_like(weights)
        self._function = ACTIVATIONS[activation]
        slots, widths = layout.slots, layout.widths
        self._blocks, self._slopes = layout.blocks(weights), layout.blocks(self.gradient)
        self._transposed = [block[:, :, :-1].transpose(1, 2) for block in self._blocks]
        self._signals = Signals.of(widths, slots, samples, weights)
        self._parts = strips(widths, samples) if self.minimised.separable and weights.device.type == "cpu" else []
        self._strips = self._signals.cut(self._parts)
        self._squares = weights.new_empty((slots, 1, samples))
        self.points, self.features = self._signals.outputs[0], self._signals.augmented[-1]
        self.values = torch.zeros_like(self._squares)

    def silence(self, slot: int) -> None:
        """Make the network of a slot zero, and what it should say as well: its gradient is then zero."""
        for tensor in (*self._blocks, self.points, self.values):
            tensor[slot].zero_()

    def forward(self) -> Tensor:
        """Return the residuals, network minus value, as a view (slots, 1, samples) of the workspace."""
        return self._ascend(self._signals).sub_(self.values)

    def _ascend(self, signals: Signals) -> Tensor:
        """Return the outputs (slots, 1, samples) for the points in some signals, whose last inputs they are."""
        last, inputs, outputs = len(self._blocks) - 1, signals.inputs, signals.outputs
        for layer, (block, signal) in enumerate(zip(self._blocks, signals.augmented, strict=True)):
            torch.bmm(block, signal, out=inputs[layer])
            if layer < last:
                self._function.value(inputs[layer], outputs[layer + 1])
        return inputs[last]

    def descend(self, out: Tensor) -> None:
        """Write the loss of each slot into `out` (slots,), and its gradient into `gradient`."""
        if self._strips:
            self._descend_by_strips(out)
            return
        delta = self.forward()
        self.judge(delta, out)
        self.minimised.pull(delta, self.importance, self._squares)
        self._pull(self._signals, delta, torch.bmm)

    def _descend_by_strips(self, out: Tensor) -> None:
        add = torch.bmm
        for part, signals in zip(self._parts, self._strips, strict=True):
            delta = self._residuals(part, signals)
            importance = None if self.importance is None else self.importance[:, :, part]
            self.minimised.pull(delta, importance, self._squares[:, :, part], self.samples)
            self._pull(signals, delta, add)
            add = _add_product
        self.judge(self._signals.inputs[-1], out)

    def _residuals(self, part: slice, signals: Signals) -> Tensor:
        """Return the residuals of a strip of the samples, and put a copy among those of all."""
        delta = self._ascend(signals).sub_(self.values[:, :, part])
        self._signals.inputs[-1][:, :, part] = delta
        return delta

    def _pull(self, signals: Signals, delta: Tensor, add: Callable[..., object]) -> None:
        """Hand the derivatives `delta` by the outputs down through the layers; `add` puts them into the gradient."""
        for layer in range(len(self._blocks) - 1, 0, -1):
            add(delta, signals.transposed[layer], out=self._slopes[layer])
            below, signal = signals.inputs[layer - 1], signals.outputs[layer]
            self._function.prepare(below, signal)
            torch.bmm(self._transposed[layer], delta, out=below)
            self._function.pull(below, signal)
            delta = below
        add(delta, signals.transposed[0], out=self._slopes[0])

    def jacobian(self, out: Tensor, gram: Tensor | None = None) -> Tensor:
        """Write the derivatives of the residuals into `out`, transposed; return the residuals (slots, 1, samples).

        `out` is (slots, parameters, samples), contiguous, the parameters in the order of `Layout.rows`: samples last,
        as everywhere here, so that all products run along them. The residuals are a view of the workspace.

        `gram` (slots, samples, samples), if given, receives J J^T for a fraction of the work of that product: a layer
        with inputs a and sensitivities s adds (a_i . a_j) (s_i . s_j) for samples i and j.
        """
        residuals, stop, last = self.forward(), out.shape[1], len(self._blocks) - 1
        for layer in range(last, -1, -1):
            block, signal = self._blocks[layer], self._signals.augmented[layer]
            start = stop - block[0].numel()
            part = out[:, start:stop].view(*block.shape, self.samples)
            if layer == last:  # linear in its weights, one output
                part.copy_(signal.unsqueeze(1))
                if gram is not None:
                    torch.bmm(signal.mT, signal, out=gram)
            else:
                sensitivity = self._sensitivity(layer)
                torch.mul(sensitivity.unsqueeze(2), signal.unsqueeze(1), out=part)
                if gram is not None:
                    gram.addcmul_(torch.bmm(signal.mT, signal), torch.bmm(sensitivity.mT, sensitivity))
            stop = start
        return residuals

    def _sensitivity(self, layer: int) -> Tensor:
        """Return the derivative (slots, width, samples) of the network by what enters activation `layer`.

        Layers are asked for from the last to the first: each takes the place of its own pre-activations.
        """
        signals, above = self._signals, self._transposed[layer + 1]
        below, signal = signals.inputs[layer], signals.outputs[layer + 1]
        self._function.prepare(below, signal)
        if layer + 1 == len(self._blocks) - 1:
            below.copy_(above.expand_as(below))
        else:
            torch.bmm(above, signals.inputs[layer + 1], out=below)
        self._function.pull(below, signal)
        return below


def _add_product(left: Tensor, right: Tensor, out: Tensor) -> None:
    out.baddbmm_(left, right)


def full_loss(engine: Passes, points: Tensor, values: Tensor, importance: Tensor | None = None) -> Tensor:
    """Return the loss (slots,) on points (slots, all, dimension) with values and importance (slots, all).

    Walks through the samples in blocks of the engine's size; the last block is filled up with its first sample, and
    those residuals are left out. Overwrites the engine's points, values and residuals.
    """
    count, size = points.shape[1], engine.samples
    total = values.new_zeros(len(values))
    residuals = values.new_empty((len(values), 1, count))
    for start in range(0, count, size):
        index = torch.arange(start, start + size, device=values.device)
        index[index >= count] = start
        engine.feed(points[:, index], values[:, index])
        residuals[:, :, start : start + size] = engine.forward()[:, :, : count - start]
    weighted = None if importance is None else importance.unsqueeze(1)
    engine.minimised.value(residuals, weighted, torch.empty_like(residuals), total)
    return total
