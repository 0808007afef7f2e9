"""What is minimised: the mean square of the residuals, or a mean of a higher power, which nears the largest one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


class Loss(ABC):
    """A number for the residuals of each slot, and its derivative by each of them.

    `residuals` and `scratch` are (slots, 1, samples); `importance` is None or as large: a factor, not negative, for the
    term of each sample. The mean is over all samples, whatever their importance.
    """

    @abstractmethod
    def value(self, residuals: Tensor, importance: Tensor | None, scratch: Tensor, out: Tensor) -> None:
        """Write the loss into `out` (slots,); overwrites `scratch`, keeps `residuals`."""

    @abstractmethod
    def pull(self, residuals: Tensor, importance: Tensor | None, scratch: Tensor) -> None:
        """Replace the residuals by the derivative of the loss by each; overwrites `scratch`."""


@final
@dataclass(frozen=True)
class MeanSquare(Loss):
    """mean(importance * residual^2)."""

    def value(self, residuals: Tensor, importance: Tensor | None, scratch: Tensor, out: Tensor) -> None:
        """Write the mean squares."""
        torch.mul(residuals, residuals, out=scratch)
        if importance is not None:
            scratch.mul_(importance)
        _mean(scratch, out)

    def pull(self, residuals: Tensor, importance: Tensor | None, scratch: Tensor) -> None:
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

    def value(self, residuals: Tensor, importance: Tensor | None, scratch: Tensor, out: Tensor) -> None:
        """Write the squared norms."""
        largest = _scaled(residuals, importance, scratch)
        mean = self._mean_power(scratch, importance)
        out.copy_((largest.square() * _root(mean, 2 / self.power)).view(-1))

    def pull(self, residuals: Tensor, importance: Tensor | None, scratch: Tensor) -> None:
        """With m the largest residual, q = residual / m and S = mean(q^p): 2 m S^(2/p - 1) q^(p-1) / samples."""
        largest = _scaled(residuals, importance, scratch)
        mean = self._mean_power(scratch, importance)
        _scaled(residuals, importance, scratch)
        _whole_power(scratch, self.power - 1, residuals)
        factor = largest * _root(mean, 2 / self.power - 1) * (2 / residuals.shape[2])
        residuals.mul_(factor)
        if importance is not None:
            residuals.mul_(importance)

    def _mean_power(self, quotients: Tensor, importance: Tensor | None) -> Tensor:
        """Return mean(importance * quotient^p), (slots, 1, 1); overwrites the quotients."""
        _whole_power(quotients.clone(), self.power, quotients)
        if importance is not None:
            quotients.mul_(importance)
        return quotients.sum(dim=2, keepdim=True).mul_(1 / quotients.shape[2])


def make(power: int) -> Loss:
    """Return the loss with that power of the residuals."""
    return MeanSquare() if power == 2 else MeanPower(power)


def _scaled(residuals: Tensor, importance: Tensor | None, scratch: Tensor) -> Tensor:
    """Write residual / largest into `scratch`; return the largest (slots, 1, 1), 1 where all are zero.

    Samples of no importance are not there.
    """
    torch.abs(residuals, out=scratch)
    if importance is not None:
        scratch.masked_fill_(importance == 0, 0)
    largest = scratch.amax(dim=2, keepdim=True)
    largest = largest.masked_fill(largest == 0, 1)
    torch.div(residuals, largest, out=scratch)
    if importance is not None:
        scratch.masked_fill_(importance == 0, 0)
    return largest


def _mean(terms: Tensor, out: Tensor) -> None:
    torch.sum(terms, dim=(1, 2), out=out).mul_(1 / terms.shape[2])  # torch.mean(out=) takes thrice as long


def _root(numbers: Tensor, exponent: float) -> Tensor:
    """Return numbers^exponent: 0 for 0, by functions whose bits do not depend on the place in the tensor."""
    return torch.exp(exponent * torch.log(numbers)).masked_fill_(numbers == 0, 0)


def _whole_power(base: Tensor, power: int, out: Tensor) -> None:
    """Write base^power into `out`, by squaring; destroys `base`. torch.pow depends on the place in the tensor."""
    out.fill_(1)
    while power:
        if power & 1:
            out.mul_(base)
        power >>= 1
        if power:
            base.mul_(base)
