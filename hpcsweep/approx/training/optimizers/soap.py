"""SOAP (Vyas et al., "SOAP: improving and stabilizing Shampoo using Adam", ICLR 2025): Adam in Shampoo's eigenbasis.

The paper turns its bases by a power step and a QR decomposition, after one eigendecomposition at the start. Covariances
of early gradients have hardly any rank: most of those eigenvectors are rounding noise, another noise on another
machine, and the path of the weights depends on them. We start from the coordinates themselves and add a small multiple
of the identity to the power step: directions in which no gradient has been seen then stay where they are, everything is
a continuous function of the gradients, and no decomposition can fail. The accuracy reached is the same (measured on
sine and Runge, four rates, four seeds).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.kernels import iteration
from hpcsweep.approx.kernels.problem import aligned
from hpcsweep.approx.kernels.updates import first_order, soap
from hpcsweep.approx.training.operations.passes import Passes
from hpcsweep.approx.training.optimizers import cost_units
from hpcsweep.approx.training.optimizers.adam import Adam, Moments, add_product, floor
from hpcsweep.approx.training.optimizers.optimizer import Needs, Number, Optimizer
from hpcsweep.approx.training.optimizers.registry import register
from hpcsweep.approx.training.single.methods import Compiled, Start, first_order_numbers
from hpcsweep.config.limits import PositiveFloat, PositiveInt, Share


@dataclass
class Bases:
    """The state of SOAP.

    Attributes
    ----------
    moments : of Adam in the rotated coordinates; only the first moment turns when the bases do, as in the paper
    rotated : a scratch buffer like the weights
    covariances : layer by layer the means of G G^T (slots, outputs, outputs) and G^T G (slots, inputs + 1, inputs + 1)
    bases : orthogonal matrices of those shapes, coordinates in their columns
    turning : whether the bases turn in the next tick
    """

    moments: Moments
    rotated: Tensor
    covariances: list[Tensor]
    bases: list[Tensor]
    turning: bool = True


@final
@register("soap")
@dataclass(frozen=True)
class SOAP(Optimizer):
    """Algorithm 3 of the paper, without weight decay; a layer is its block (outputs, inputs + 1), biases included.

    `beta2` is also the decay of the covariances. With Adam's 0.9 and 0.999 the errors were ten times larger. The bases
    turn in every step whose count is a multiple of `refresh`.

    Attributes
    ----------
    beta1 : decay of the mean of the gradient
    beta2 : decay of the mean of its square, and of the covariances
    epsilon : added to the root of that mean
    refresh : steps from one turn of the bases to the next
    """

    beta1: Share = 0.95
    beta2: Share = 0.95
    epsilon: PositiveFloat = 1e-8
    refresh: PositiveInt = 10

    needs: ClassVar = Needs(matrices=True)
    kernels: ClassVar = (iteration.advance, soap.propose_soap, first_order.take)

    def cost(self, widths: cost_units.Widths, samples: int, steps: int) -> cost_units.StepCost:
        """Return rotations, covariances, a turn of the bases now and then, and some passes over the parameters."""
        blocks = cost_units.blocks(widths)
        products = 3.0 * sum(rows * columns * (rows + columns) for rows, columns in blocks)
        turned = sum(rows**3 + columns**3 for rows, columns in blocks) / self.refresh
        others = 8 * turned + 400 * cost_units.size(widths)
        held = soap.size(widths, cost_units.LANES)
        return cost_units.StepCost(products=products + 2 * turned, others=others, held=held, calls=150)

    def alone(self, start: Start) -> Compiled:
        """Return moments and covariances of zero, and the coordinates themselves as bases."""
        widths, width = start.network.widths, start.lanes
        numbers = first_order_numbers(start, self.beta1, self.beta2, self.epsilon, own=(self.refresh,))
        vectors = aligned(soap.size(widths, width), start.dtype)
        for at, side, row, _ in soap.starts(widths, width):
            vectors[at : at + side * row].reshape(side, row)[:, :side] = np.eye(side)
        return Compiled(self.kernels[1:], start, numbers, vectors)

    @property
    def _adam(self) -> Adam:
        return Adam(self.beta1, self.beta2, self.epsilon, weight_decay=0.0)

    def init(self, engine: Passes) -> Bases:
        """Return covariances of zero, and the coordinates themselves as bases."""
        like = torch.zeros_like(engine.weights)
        sides = [side for block in engine.layout.blocks(like) for side in block.shape[1:]]
        covariances = [like.new_zeros((engine.layout.slots, side, side)) for side in sides]
        bases = [torch.diag_embed(torch.ones_like(covariance[:, 0])) for covariance in covariances]
        return Bases(self._adam.init(engine), like, covariances, bases)

    def upkeep(self, engine: Passes, state: Bases, count: int) -> bool:
        """Do that of Adam, and say whether the bases turn in this tick: those in which none does can be replayed."""
        state.turning = count % self.refresh == 0
        return self._adam.upkeep(engine, state.moments, count) and not state.turning

    def numbers(self, count: int) -> list[float]:
        """Return those of Adam."""
        return self._adam.numbers(count)

    def tick(self, engine: Passes, state: Bases, numbers: Sequence[Number], rates: Tensor, loss: Tensor) -> None:
        """Rotate the gradient G to L^T G R, divide its moments as Adam does, and rotate the quotient back."""
        engine.descend(loss)
        layout, (epsilon, factor) = engine.layout, numbers
        gradients, rotated = layout.blocks(engine.gradient), layout.blocks(state.rotated)
        for gradient, (left, right) in zip(gradients, pairs(state.covariances), strict=True):
            left.baddbmm_(gradient, gradient.transpose(1, 2), beta=self.beta2, alpha=1 - self.beta2)
            right.baddbmm_(gradient.transpose(1, 2), gradient, beta=self.beta2, alpha=1 - self.beta2)
        if state.turning:
            _turn(state, layout.blocks(state.moments.first))
        for gradient, out, (left, right) in zip(gradients, rotated, pairs(state.bases), strict=True):
            torch.bmm(torch.bmm(left.transpose(1, 2), gradient), right, out=out)
        self._adam.divide(state.rotated, state.moments, epsilon)
        quotients = layout.blocks(state.moments.scratch)
        for quotient, out, (left, right) in zip(quotients, rotated, pairs(state.bases), strict=True):
            torch.bmm(torch.bmm(left, quotient), right.transpose(1, 2), out=out)
        add_product(engine.weights, factor, state.rotated, rates)


def pairs(tensors: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Return the left and the right one of each layer."""
    return zip(tensors[::2], tensors[1::2], strict=True)


def _turn(state: Bases, means: Sequence[Tensor]) -> None:
    """Turn the bases, and with them the first moments `means`, (slots, outputs, inputs + 1) per layer."""
    for mean, covariances, bases in zip(means, pairs(state.covariances), pairs(state.bases), strict=True):
        for side, (covariance, basis) in enumerate(zip(covariances, bases, strict=True)):
            # Else what nothing feeds decays into subnormal numbers, on which processors are slow.
            covariance.masked_fill_(covariance.abs() < floor(covariance), 0)
            new = turned(covariance, basis)
            change = torch.bmm(basis.transpose(1, 2), new)
            mean.copy_(torch.bmm(mean, change) if side else torch.bmm(change.transpose(1, 2), mean))
            basis.copy_(new)


def turned(covariances: Tensor, bases: Tensor) -> Tensor:
    """Return orthogonal Q of (C / trace C + shift / side) basis = Q R, for each of (slots, side, side).

    A covariance that is not finite counts as the identity: its basis stays, up to signs, and the others do not notice.
    """
    side = covariances.shape[1]
    traces = covariances.diagonal(dim1=1, dim2=2).sum(1).view(-1, 1, 1)
    finite = torch.isfinite(covariances).all(dim=2, keepdim=True).all(dim=1, keepdim=True) & torch.isfinite(traces)
    scaled = torch.where(finite, covariances / traces.clamp_min(floor(covariances)), torch.zeros_like(covariances))
    return torch.linalg.qr(torch.bmm(scaled, bases).add_(bases, alpha=soap.SHIFT / side)).Q
