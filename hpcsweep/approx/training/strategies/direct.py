"""Fits without training: one after another, each outcome its own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.models import Model, classical
from hpcsweep.approx.training.record import CHECKPOINTS
from hpcsweep.approx.training.settings import Trained

__all__ = ["fit"]

_Solved = tuple[Tensor | None, str, str, float]  # parameters, outcome, message, mean square


@torch.no_grad()
def fit(models: Sequence[Model], places: Tensor, values: Tensor, stop: Callable[[], bool]) -> Trained:
    """Fit models of `models.classical` to values (cells, samples) at places (cells, samples, dimension), both float64.

    Always in float64 on the CPU. A cell is "failed" where its samples have no such approximant, "diverged" where what
    comes out is not finite, "interrupted" if `stop` says so before its turn; it has taken no steps.
    """
    begun = time.perf_counter()
    cells = [
        _solved(model, where, what, stop) for model, where, what in zip(models, places.cpu(), values.cpu(), strict=True)
    ]
    nothing = torch.zeros(models[0].parameters, dtype=torch.float64)
    mean_square = np.array([one[3] for one in cells])
    return Trained(
        parameters=torch.stack([nothing if one[0] is None else one[0] for one in cells]),
        outcome=[one[1] for one in cells],
        message=[one[2] for one in cells],
        steps=np.zeros(len(cells), dtype=np.int64),
        loss=mean_square,
        mean_square=mean_square,
        history_step=np.full((len(cells), CHECKPOINTS), -1, dtype=np.int64),
        history_loss=np.full((len(cells), CHECKPOINTS), math.nan),
        seconds=np.full(len(cells), (time.perf_counter() - begun) / len(cells)),
    )


def _solved(model: Model, places: Tensor, values: Tensor, stop: Callable[[], bool]) -> _Solved:
    """Fit one to values (samples,) at places (samples, dimension)."""
    assert isinstance(model, classical.Direct)
    if stop():
        return None, "interrupted", "Stopped before it was fitted.", math.nan
    try:
        parameters = model.solve(places.numpy(), values.numpy())
    except classical.Unsolvable as reason:
        return None, "failed", str(reason), math.nan
    mean_square = float((model.apply(parameters, places) - values).square().mean())
    if not (torch.isfinite(parameters).all() and math.isfinite(mean_square)):
        return parameters, "diverged", "The fit is not finite.", mean_square
    return parameters, "done", model.remark(len(values)), mean_square
