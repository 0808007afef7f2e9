"""What the networks of a pack can be asked for: all that optimizers, samples and the loop see of them."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from hpcsweep.approx.training.operations.losses import Loss
from hpcsweep.approx.training.operations.parameter_layout import Layout


class Passes(ABC):
    """The workspace in which the networks of a pack are evaluated and differentiated on `samples` points each.

    Computes in the dtype and on the device of `weights`, which is not copied: several may share it. No slot reaches
    another.

    Attributes
    ----------
    layout : where parameters lie
    minimised : the loss
    weights, gradient : flat buffers (slots * parameters,): the parameters, and the gradient of the loss after `descend`
    points : (slots, dimension, samples) view, to be filled in place: the inputs of the networks
    values : (slots, 1, samples), to be filled in place: what the networks should say there
    """

    layout: Layout
    samples: int
    minimised: Loss
    weights: Tensor
    gradient: Tensor
    points: Tensor
    values: Tensor

    @abstractmethod
    def forward(self) -> Tensor:
        """Return the residuals, network minus value, (slots, 1, samples), until the next pass."""

    @abstractmethod
    def descend(self, out: Tensor) -> None:
        """Write the loss of each slot into `out` (slots,), and its gradient into `gradient`."""

    @abstractmethod
    def jacobian(self, out: Tensor, gram: Tensor | None = None) -> Tensor:
        """Write the derivatives of the residuals into `out`, transposed; return the residuals (slots, 1, samples).

        `out` is (slots, parameters, samples), contiguous, the parameters in the order of `Layout.rows`. `gram`
        (slots, samples, samples), if given, receives J J^T.
        """

    def feed(self, points: Tensor, values: Tensor) -> None:
        """Copy in points (slots, samples, dimension) and values (slots, samples)."""
        self.points.copy_(points.transpose(1, 2))
        self.values.copy_(values.unsqueeze(1))

    def loss(self, out: Tensor) -> None:
        """Write the loss of each slot, the mean squared residual unless another was given, into `out` (slots,)."""
        self.judge(self.forward(), out)

    def judge(self, residuals: Tensor, out: Tensor) -> None:
        """Write the loss of each slot for these residuals (slots, 1, samples) into `out` (slots,)."""
        self.minimised.value(residuals, out)
