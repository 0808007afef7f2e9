"""What is minimised: the mean square of the residuals, or a mean of a higher power, which nears the largest one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


class Loss(ABC):
    """A number for the residuals of each slot, and its derivative by each of them.

    `residuals` are (slots, 1, samples); `importance` is None or as large: a factor, not negative, for the term of each
    sample. The mean is over all samples, whatever their importance.
    """

    @abstractmethod
    def value(self, residuals: Tensor, importance: Tensor | None, out: Tensor) -> None:
        """Write the loss into `out` (slots,)."""

    @abstractmethod
    def pull(self, residuals: Tensor, importance: Tensor | None) -> None:
        """Replace the residuals by the derivative of the loss by each."""


@final
@dataclass(frozen=True)
class MeanSquare(Loss):
    """mean(importance * residual^2)."""

    def value(self, residuals: Tensor, importance: Tensor | None, out: Tensor) -> None:
        """Write the mean squares."""
        terms = residuals * residuals
        if importance is not None:
            terms.mul_(importance)
        torch.sum(terms, dim=(1, 2), out=out).mul_(1 / terms.shape[2])

    def pull(self, residuals: Tensor, importance: Tensor | None) -> None:
        """Multiply by 2 importance / samples."""
        residuals.mul_(2 / residuals.shape[2])
        if importance is not None:
            residuals.mul_(importance)


@final
@dataclass(frozen=True)
class MeanPower(Loss):
    """mean(importance * |residual|^p)^(2/p) for an even `power` p: the square of the L_p norm of the residuals.

    The square, so that it is of the size of the mean square (which it is for p = 2) and as smooth where the residuals
    vanish; it has the minimisers of the mean p-th power. All powers are taken of residuals divided by the largest of
    the slot, so that nothing over- or underflows which would not do so in the mean square.
    """

    power: int

    def value(self, residuals: Tensor, importance: Tensor | None, out: Tensor) -> None:
        """Write the squared norms."""
        quotients, largest = _scaled(residuals, importance)
        root = _root(self._mean_power(quotients, importance), 2 / self.power)
        out.copy_((largest.square() * root).view(-1))

    def pull(self, residuals: Tensor, importance: Tensor | None) -> None:
        """With m the largest residual, q = residual / m and S = mean(q^p): 2 m S^(2/p - 1) q^(p-1) / samples."""
        quotients, largest = _scaled(residuals, importance)
        root = _root(self._mean_power(quotients, importance), 2 / self.power - 1)
        residuals.copy_(_whole_power(quotients, self.power - 1)).mul_(largest * root * (2 / residuals.shape[2]))
        if importance is not None:
            residuals.mul_(importance)

    def _mean_power(self, quotients: Tensor, importance: Tensor | None) -> Tensor:
        """Return mean(importance * quotient^p), (slots, 1, 1)."""
        terms = _whole_power(quotients, self.power)
        if importance is not None:
            terms.mul_(importance)
        return terms.sum(dim=2, keepdim=True).mul_(1 / terms.shape[2])


def make(power: int) -> Loss:
    """Return the loss with that power of the residuals."""
    return MeanSquare() if power == 2 else MeanPower(power)


def _scaled(residuals: Tensor, importance: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return residual / largest, and the largest |residual| (slots, 1, 1), 1 where all are zero.

    Samples of no importance are not there.
    """
    there = residuals if importance is None else residuals.masked_fill(importance == 0, 0)
    largest = there.abs().amax(dim=2, keepdim=True)
    largest.masked_fill_(largest == 0, 1)
    return there / largest, largest


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
