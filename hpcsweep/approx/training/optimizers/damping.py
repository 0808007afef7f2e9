"""What Levenberg-Marquardt methods share: damped normal equations, and how the damping follows success and failure.

Marquardt, "An algorithm for least-squares estimation of nonlinear parameters" (1963), with the damping of Levenberg
(1944): a multiple of the identity. Marquardt's own, a multiple of the diagonal, lets directions that no sample sees run
away: small on the samples, wrong between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

TRIALS = 2  # dampings at once
_INITIAL = 1e-2
_FACTORS = (0.3, 3.0)  # of the dampings tried
_AFTER_FAILURE = 12.0  # all that has been tried was too small
_LOWEST, _HIGHEST = 1e-18, 1e10
_PATIENCE = 20  # steps without progress: by then even the lowest damping has grown to the highest that make sense


def fresh(slots: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the value and the stalled steps that a `Damping` begins with."""
    return like.new_full((slots,), _INITIAL), like.new_zeros(slots)


def tried(damping: Tensor) -> Tensor:
    """Return the dampings (slots, 2) to try around the current ones (slots,)."""
    return torch.stack([(factor * damping).clamp(_LOWEST, _HIGHEST) for factor in _FACTORS], dim=1)


def noise(loss: Tensor, values: Tensor) -> Tensor:
    """Return the size (slots,) of the rounding error of a mean squared residual of `values` (slots, 1, samples).

    A residual is a difference of numbers of the size of the values, so it is wrong by some eps |value| however small it
    is; 20 stands for the sums inside the network, and is what measured losses scatter by.
    """
    return 20 * torch.finfo(loss.dtype).eps * (loss * values.square().mean((1, 2))).sqrt()


@final
@dataclass
class Damping:
    """The dampings of a pack, relative to the mean diagonal of J^T J, and the steps in a row without progress.

    Both (slots,), of the dtype of the weights.
    """

    value: Tensor
    stalled: Tensor

    def reset(self, slot: int) -> None:
        """Begin anew in one slot."""
        self.value[slot], self.stalled[slot] = _INITIAL, 0

    def adapt(self, losses: Tensor, loss: Tensor, floor: Tensor) -> tuple[Tensor, Tensor]:
        """Judge what has been tried; return which slots move, and which of them to the second trial: (slots,) bool.

        `losses` (slots, 2) are those of the trials, +inf where there is none; `loss` (slots,) is the one to fall below,
        by more than `floor` (slots,) if it shall count as progress. The damping that won is the next; after a failure
        it grows beyond those tried.
        """
        second = losses[:, 1] < losses[:, 0]
        best = torch.where(second, losses[:, 1], losses[:, 0])
        accepted, pair = best < loss, tried(self.value)
        won = torch.where(second, pair[:, 1], pair[:, 0])
        grown = (_AFTER_FAILURE * self.value).clamp_max(_HIGHEST)
        self.value.copy_(torch.where(accepted, won, grown))
        self.stalled.copy_(torch.where(loss - best > floor, 0, self.stalled + 1))
        return accepted, second

    def ended(self) -> Tensor:
        """Return which slots will get no further, (slots,) bool: no progress for long, or damped to a standstill."""
        return (self.stalled >= _PATIENCE) | (self.value >= _HIGHEST)


@final
class NormalEquations:
    """Steps d = -(J^T J + lambda t 1)^-1 J^T r for two dampings lambda, t the mean diagonal of J^T J.

    In the primal form as written, or in the dual one, d = -J^T (J J^T + lambda t 1)^-1 r, which is the same: whichever
    matrix is smaller. Cholesky's factorisation is good enough here: with damping, a singular value decomposition of J
    takes the same path.

    Parameters
    ----------
    jacobian : (slots, parameters, samples), the transposed Jacobian; read whenever `factor` or `solve` is called
    gram : (slots, size, size) workspace, size the number of parameters (primal) or of samples (dual)
    factors : (slots * 2, size, size) workspace
    """

    def __init__(self, jacobian: Tensor, gram: Tensor, factors: Tensor, dual: bool) -> None:
        self._jacobian, self._gram, self._dual = jacobian, gram, dual
        # Columns first, as LAPACK wants it: the factor then takes the place of the matrix, without copies.
        self._factors = factors.mT

    @staticmethod
    def is_dual(parameters: int, samples: int) -> bool:
        """Return whether the dual form is the smaller one."""
        return parameters > samples

    @staticmethod
    def workspaces(slots: int, parameters: int, samples: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return `gram` and `factors` for the smaller form."""
        size = min(parameters, samples)
        return like.new_zeros((slots, size, size)), like.new_zeros((slots * TRIALS, size, size))

    def factor(self, dampings: Tensor) -> Tensor:
        """Factorise for dampings (slots, 2); return (slots, 2) bool: where that was possible."""
        left = self._jacobian.mT if self._dual else self._jacobian
        torch.bmm(left, left.mT, out=self._gram)
        slots, parameters, _ = self._jacobian.shape
        mean = self._gram.diagonal(dim1=1, dim2=2).sum(1) / parameters
        finite = torch.isfinite(mean)  # then all entries are: none is larger than the largest on the diagonal
        self._gram.masked_fill_(~finite.view(-1, 1, 1), 0)
        added = torch.where(finite, mean, 1).unsqueeze(1) * dampings
        pairs = self._factors.unflatten(0, (slots, TRIALS))
        pairs.copy_(self._gram.unsqueeze(1))
        pairs.diagonal(dim1=2, dim2=3).add_(added.unsqueeze(2))
        info = torch.empty(slots * TRIALS, dtype=torch.int32, device=mean.device)
        torch.linalg.cholesky_ex(self._factors, out=(self._factors, info))
        return finite.unsqueeze(1) & (info.view(slots, TRIALS) == 0)

    def solve(self, residuals: Tensor) -> Tensor:
        """Return -d for residuals (slots, 2, samples), one for each damping: (slots, 2, parameters)."""
        if self._dual:
            return torch.bmm(self._inverse(residuals), self._jacobian.mT)
        return self._inverse(torch.bmm(residuals, self._jacobian.mT))

    def _inverse(self, rows: Tensor) -> Tensor:
        return torch.cholesky_solve(rows.reshape(-1, rows.shape[2], 1), self._factors).view(rows.shape)
