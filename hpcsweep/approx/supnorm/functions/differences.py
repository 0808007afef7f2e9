"""Functions that autograd cannot follow, differentiated by central differences."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.screening.screen import Function

_STEP = 6e-6  # of central differences: the third root of the unit roundoff


class Differenced(torch.autograd.Function):
    """A function that autograd cannot follow, with slopes by central differences for climbs to go by."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, function: Function) -> Tensor:
        """Return function(points)."""
        ctx.save_for_backward(points)
        ctx.function = function
        return function(points.detach())

    @staticmethod
    def backward(ctx: Any, *factors: Tensor) -> tuple[Tensor, None]:
        """Return the slopes, two evaluations for each axis."""
        points = ctx.saved_tensors[0].detach()
        slopes = torch.zeros_like(points)
        for axis in range(points.shape[1]):
            step = torch.zeros_like(points)
            step[:, axis] = _STEP * (1 + points[:, axis].abs())
            change = ctx.function(points + step) - ctx.function(points - step)
            slopes[:, axis] = factors[0].reshape(len(points)) * change.reshape(len(points)) / (2 * step[:, axis])
        return _Once.apply(ctx.saved_tensors[0], slopes), None


class _Once(torch.autograd.Function):
    """Slopes that are no function of the points to autograd: who asks for a second derivative is told, not given 0."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, slopes: Tensor) -> Tensor:
        """Return the slopes."""
        return slopes.clone()

    @staticmethod
    def backward(ctx: Any, *factors: Tensor) -> tuple[None, None]:
        """Raise RuntimeError."""
        raise RuntimeError("slopes by differences have no derivative")
