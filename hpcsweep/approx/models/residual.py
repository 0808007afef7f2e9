"""Residual networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

import torch
from torch import Tensor

from hpcsweep.approx.models.layered import Layered
from hpcsweep.approx.models.layers import ACTIVATE


@final
class Residual(Layered):
    """h <- h + a(W h + b), once for each hidden width, which are all equal; a linear layer before, another behind.

    He, Zhang, Ren and Sun, "Deep residual learning for image recognition" (arXiv 1512.03385), equation 1, with a
    residual function of one layer. Inside it the activation stands behind the weights; there is none behind the sum,
    as in their "Identity mappings in deep residual networks" (arXiv 1603.05027): what is added up is never bent again.
    With as many activations, a network has one matrix more than an `MLP` of the same hidden widths.

    Attributes
    ----------
    widths : (dimension, width, ..., width, 1): the first block lifts the inputs, the last one reads off the value
    """

    frequency_block: ClassVar = 1  # the one before it also goes around the activation, unbounded

    @staticmethod
    def widths_of(hidden: Sequence[int], dimension: int) -> tuple[int, ...]:
        """Return (dimension, width, ..., width, 1): one width more than there are activations."""
        return (dimension, hidden[0], *hidden, 1)

    def evaluate(self, parameters: Tensor, inputs: Tensor) -> Tensor:
        """Return the values (points,) for standardised inputs (points, dimension)."""
        first, *hidden, last = self.layers(parameters)
        activate = ACTIVATE[self.activation]
        signal = torch.addmm(first[:, -1:], first[:, :-1], inputs.T)  # (width, points)
        for block in hidden:
            signal = signal + activate(torch.addmm(block[:, -1:], block[:, :-1], signal))
        return torch.addmm(last[:, -1:], last[:, :-1], signal)[0]
