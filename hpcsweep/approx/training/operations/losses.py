"""What is minimised: the mean square of the residuals, or a mean of a higher power, which nears the largest one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


class Loss(ABC):
    """A number for the residuals of each slot, and its derivative by each of them.

    `residuals` are (slots, 1, samples).
    """

    @abstractmethod
    def value(self, residuals: Tensor, out: Tensor) -> None:
        """Write the loss into `out` (slots,)."""

    @abstractmethod
    def pull(self, residuals: Tensor) -> None:
        """Replace the residuals by the derivative of the loss by each."""


@final
@dataclass(frozen=True)
class MeanSquare(Loss):
    """mean(residual^2)."""

    def value(self, residuals: Tensor, out: Tensor) -> None:
        """Write the mean squares."""
        terms = residuals * residuals
        torch.sum(terms, dim=(1, 2), out=out).mul_(1 / terms.shape[2])

    def pull(self, residuals: Tensor) -> None:
        """Multiply by 2 / samples."""
        residuals.mul_(2 / residuals.shape[2])


@final
@dataclass(frozen=True)
class MeanPower(Loss):
    """mean(|residual|^p)^(2/p) for an even `power` p: the square of the L_p norm of the residuals.

    The square, so that it is of the size of the mean square (which it is for p = 2) and as smooth where the residuals
    vanish; it has the minimisers of the mean p-th power. All powers are taken of residuals divided by the largest of
    the slot, so that nothing over- or underflows which would not do so in the mean square.
    """

    power: int

    def value(self, residuals: Tensor, out: Tensor) -> None:
        """Write the squared norms."""
        quotients, largest = _scaled(residuals)
        root = _root(self._mean_power(quotients), 2 / self.power)
        out.copy_((largest.square() * root).view(-1))

    def pull(self, residuals: Tensor) -> None:
        """With m the largest residual, q = residual / m and S = mean(q^p): 2 m S^(2/p - 1) q^(p-1) / samples."""
        quotients, largest = _scaled(residuals)
        root = _root(self._mean_power(quotients), 2 / self.power - 1)
        residuals.copy_(_whole_power(quotients, self.power - 1)).mul_(largest * root * (2 / residuals.shape[2]))

    def _mean_power(self, quotients: Tensor) -> Tensor:
        """Return mean(quotient^p), (slots, 1, 1)."""
        terms = _whole_power(quotients, self.power)
        return terms.sum(dim=2, keepdim=True).mul_(1 / terms.shape[2])


def make(power: int) -> Loss:
    """Return the loss with that power of the residuals."""
    return MeanSquare() if power == 2 else MeanPower(power)


def _scaled(residuals: Tensor) -> tuple[Tensor, Tensor]:
    """Return residual / largest, and the largest |residual| (slots, 1, 1), 1 where all are zero."""
    largest = residuals.abs().amax(dim=2, keepdim=True)
    largest.masked_fill_(largest == 0, 1)
    return residuals / largest, largest


def _root(numbers: Tensor, exponent: float) -> Tensor:
    """Return numbers^exponent: 0 for 0, by functions whose bits do not depend on the place in the tensor."""
    return torch.exp(exponent * torch.log(numbers)).masked_fill_(numbers == 0, 0)


def _whole_power(base: Tensor, power: int) -> Tensor:
    """Return base^power, by squaring: torch.pow depends on the place in the tensor."""
    result = torch.ones_like(base)
    while power:
        if power & 1:
            result.mul_(base)
        power >>= 1
        base = base * base
    return result
