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

from hpcsweep.approx.kernels.updates.marquardt import AFTER_FAILURE, FACTORS, HIGHEST, INITIAL, LOWEST, PATIENCE
from hpcsweep.approx.training.operations.passes import Passes

TRIALS = 2  # dampings at once


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

    @staticmethod
    def initial(slots: int, like: Tensor) -> Damping:
        """Return the damping to begin with."""
        return Damping(like.new_full((slots,), INITIAL), like.new_zeros(slots))

    def tried(self) -> Tensor:
        """Return the dampings to try, (slots, 2)."""
        return torch.stack([(factor * self.value).clamp(LOWEST, HIGHEST) for factor in FACTORS], dim=1)

    def adapt(self, losses: Tensor, loss: Tensor, floor: Tensor) -> tuple[Tensor, Tensor]:
        """Judge what has been tried; return which slots move, and which of them to the second trial: (slots,) bool.

        `losses` (slots, 2) are those of the trials, those that are not finite count as failures; `loss` (slots,) is the
        one to fall below, by more than `floor` (slots,) if it shall count as progress. The damping that won is the
        next; after a failure it grows beyond those tried.
        """
        losses = torch.where(torch.isfinite(losses), losses, torch.inf)
        second = losses[:, 1] < losses[:, 0]
        best = torch.where(second, losses[:, 1], losses[:, 0])
        accepted, tried = best < loss, self.tried()
        won = torch.where(second, tried[:, 1], tried[:, 0])
        grown = (AFTER_FAILURE * self.value).clamp_max(HIGHEST)
        self.value.copy_(torch.where(accepted, won, grown))
        self.stalled.copy_(torch.where(loss - best > floor, 0, self.stalled + 1))
        return accepted, second

    def ended(self) -> Tensor:
        """Return which slots will get no further, (slots,) bool: no progress for long, or damped to a standstill."""
        return (self.stalled >= PATIENCE) | (self.value >= HIGHEST)


@final
class NormalEquations:
    """Solutions of (J^T J + lambda t 1) d = J^T r for two dampings lambda, t the mean diagonal of J^T J.

    In the primal form as written, or in the dual one, d = J^T (J J^T + lambda t 1)^-1 r, which is the same: whichever
    matrix is smaller. Cholesky's factorisation is good enough: with damping, the singular value decomposition of J
    takes the same path. All of it is workspace, nothing is a state to be saved.

    Attributes
    ----------
    jacobian : (slots, parameters, samples), to be filled in place: J transposed
    gram : (slots, samples, samples) in the dual form, else (slots, parameters, parameters): J J^T or J^T J, to be
        filled in place, or by `multiply`
    dual : whether this is the dual form
    """

    def __init__(self, slots: int, parameters: int, samples: int, like: Tensor, dual: bool | None = None) -> None:
        self.dual = parameters > samples if dual is None else dual
        size = samples if self.dual else parameters
        self.jacobian = like.new_zeros((slots, parameters, samples))
        self.gram = like.new_zeros((slots, size, size))
        # Columns first, as LAPACK wants it: the factor then takes the place of the matrix, without copies.
        self._factors = like.new_zeros((slots * TRIALS, size, size)).mT
        self._info = torch.zeros(slots * TRIALS, dtype=torch.int32, device=like.device)

    def multiply(self) -> None:
        """Fill `gram` from `jacobian`."""
        left = self.jacobian.mT if self.dual else self.jacobian
        torch.bmm(left, left.mT, out=self.gram)

    def factor(self, dampings: Tensor) -> Tensor:
        """Factorise for dampings (slots, 2); return where that was possible, (slots, 2) bool."""
        slots, parameters, _ = self.jacobian.shape
        mean = self.gram.diagonal(dim1=1, dim2=2).sum(1) / parameters
        pairs = self._factors.unflatten(0, (slots, TRIALS))
        pairs.copy_(self.gram.unsqueeze(1))
        pairs.diagonal(dim1=2, dim2=3).add_((mean.unsqueeze(1) * dampings).unsqueeze(2))
        torch.linalg.cholesky_ex(self._factors, out=(self._factors, self._info))  # of NaN says no, and goes on
        return torch.isfinite(mean).unsqueeze(1) & (self._info.view(slots, TRIALS) == 0)

    def solve(self, residuals: Tensor) -> Tensor:
        """Return d for residuals (slots, 2, samples), one for each damping: (slots, 2, parameters)."""
        if self.dual:
            return torch.bmm(self._inverse(residuals), self.jacobian.mT)
        return self._inverse(torch.bmm(residuals, self.jacobian.mT))

    def _inverse(self, rows: Tensor) -> Tensor:
        # Not cholesky_solve: it copies the factors first, which takes longer than the solution.
        half = torch.linalg.solve_triangular(self._factors, rows.reshape(-1, rows.shape[2], 1), upper=False)
        return torch.linalg.solve_triangular(self._factors.mT, half, upper=True).view(rows.shape)


@final
@dataclass
class Damped:
    """The state of these methods: the dampings, and the workspace of the normal equations."""

    damping: Damping
    equations: NormalEquations

    @staticmethod
    def begin(engine: Passes, parameters: int) -> Damped:
        """Return the initial dampings, for so many parameters of each network."""
        slots, weights = engine.layout.slots, engine.weights
        return Damped(Damping.initial(slots, weights), NormalEquations(slots, parameters, engine.samples, weights))
