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

from typing import final

import torch
from torch import Tensor

from hpcsweep.approx.models.activations import ACTIVATIONS
from hpcsweep.approx.training.operations.losses import Loss, MeanSquare
from hpcsweep.approx.training.operations.parameter_layout import Layout
from hpcsweep.approx.training.operations.passes import Passes

__all__ = ["Engine", "Layout", "full_loss"]


@final
class Engine(Passes):
    """The workspace in which the networks of a pack are evaluated and differentiated on `samples` points each.

    Computes in the dtype and on the device of `weights`, which is not copied: engines may share it.

    Attributes
    ----------
    those of `Passes`, and
    features : (slots, width + 1, samples) view: inputs of the last layer after `forward`, ones last
    """

    def __init__(
        self, layout: Layout, activation: str, samples: int, weights: Tensor, loss: Loss | None = None
    ) -> None:
        self.layout, self.samples, self.weights = layout, samples, weights
        self.minimised = loss or MeanSquare()
        self.gradient = torch.zeros_like(weights)
        self._function = ACTIVATIONS[activation]
        slots, widths = layout.slots, layout.widths
        self._blocks, self._slopes = layout.blocks(weights), layout.blocks(self.gradient)
        self._transposed = [block[:, :, :-1].mT for block in self._blocks]
        # What enters each layer, with a row of ones below; the views without the ones: the points, then what
        # activations give; what enters the activations, and last the output: later the gradients by these.
        self._augmented = [weights.new_ones((slots, width + 1, samples)) for width in widths[:-1]]
        self._outputs = [signal[:, :-1] for signal in self._augmented]
        self._inputs = [weights.new_empty((slots, width, samples)) for width in widths[1:]]
        self.points, self.features = self._outputs[0], self._augmented[-1]
        self.values = weights.new_zeros((slots, 1, samples))

    def forward(self) -> Tensor:
        """Return the residuals, network minus value, as a view (slots, 1, samples) of the workspace."""
        last = len(self._blocks) - 1
        for layer, (block, signal) in enumerate(zip(self._blocks, self._augmented, strict=True)):
            torch.bmm(block, signal, out=self._inputs[layer])
            if layer < last:
                self._function.value(self._inputs[layer], self._outputs[layer + 1])
        return self._inputs[last].sub_(self.values)

    def descend(self, out: Tensor) -> None:
        """Write the loss of each slot into `out` (slots,), and its gradient into `gradient`."""
        delta = self.forward()
        self.judge(delta, out)
        self.minimised.pull(delta)
        for layer in range(len(self._blocks) - 1, 0, -1):
            torch.bmm(delta, self._augmented[layer].mT, out=self._slopes[layer])
            below, signal = self._inputs[layer - 1], self._outputs[layer]
            self._function.prepare(below, signal)
            torch.bmm(self._transposed[layer], delta, out=below)
            self._function.pull(below, signal)
            delta = below
        torch.bmm(delta, self._augmented[0].mT, out=self._slopes[0])

    def jacobian(self, out: Tensor, gram: Tensor | None = None) -> Tensor:
        """Write the derivatives of the residuals into `out`, transposed; return the residuals (slots, 1, samples).

        `out` is (slots, parameters, samples), contiguous, the parameters in the order of `Layout.rows`: samples last,
        as everywhere here, so that all products run along them. The residuals are a view of the workspace.

        `gram` (slots, samples, samples), if given, receives J J^T for a fraction of the work of that product: a layer
        with inputs a and sensitivities s adds (a_i . a_j) (s_i . s_j) for samples i and j.
        """
        residuals, stop, last = self.forward(), out.shape[1], len(self._blocks) - 1
        for layer in range(last, -1, -1):
            block, signal = self._blocks[layer], self._augmented[layer]
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
        above, below, signal = self._transposed[layer + 1], self._inputs[layer], self._outputs[layer + 1]
        self._function.prepare(below, signal)
        if layer + 1 == len(self._blocks) - 1:
            below.copy_(above.expand_as(below))
        else:
            torch.bmm(above, self._inputs[layer + 1], out=below)
        self._function.pull(below, signal)
        return below


def full_loss(engine: Passes, points: Tensor, values: Tensor) -> Tensor:
    """Return the loss (slots,) on points (slots, all, dimension) with values (slots, all).

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
    engine.minimised.value(residuals, total)
    return total
