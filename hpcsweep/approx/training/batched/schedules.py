"""Learning rates over time, one per cell."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hpcsweep.approx.training.operations.parameter_layout import Layout
from hpcsweep.config import OptimizerConfig


def learning_rate(settings: OptimizerConfig, step: int) -> float:
    """Return the learning rate of the step that follows `step` steps.

    With a and b the initial and the final learning rate and s = step / steps: "constant" a; "exponential"
    a (b / a)^s; "cosine" b + (a - b) (1 + cos(pi s)) / 2 (Loshchilov and Hutter, "SGDR", ICLR 2017, without restarts).
    """
    initial, final = settings.learning_rate, settings.final_learning_rate or 0.0
    share = min(step / max(settings.steps, 1), 1)
    if settings.schedule == "exponential":
        return initial * (final / initial) ** share
    if settings.schedule == "cosine":
        return final + (initial - final) * (1 + math.cos(math.pi * share)) / 2
    return initial


class Rates:
    """The learning rates of a pack, laid out like its weights; rewritten only when they change.

    The optimizer multiplies by this buffer also when all rates are equal: another arithmetic for equal rates would make
    the bits of a cell depend on its companions.
    """

    def __init__(self, settings: Sequence[OptimizerConfig], layout: Layout, weights: Tensor) -> None:
        self._settings, self._layout = settings, layout
        self._buffer = torch.empty_like(weights)
        self._written: list[float] = []

    def at(self, step: int) -> Tensor:
        """Return the rates (slots * parameters,) of the step after `step` steps; until the next call."""
        if self._written and self._settings[0].schedule == "constant":
            return self._buffer
        rates = [learning_rate(one, step) for one in self._settings]
        if rates != self._written:
            self._written = rates
            column = torch.tensor(rates, dtype=self._buffer.dtype, device=self._buffer.device).unsqueeze(1)
            self._layout.fill(self._buffer, column.expand(-1, self._layout.parameters))
        return self._buffer
