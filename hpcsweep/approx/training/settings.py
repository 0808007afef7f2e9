"""What is chosen of a training, what comes out of it, and which trainings may share a pack."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from hpcsweep.approx.training.optimizers import NAMES
from hpcsweep.errors import PluginError, StudyError, unknown

SCHEDULES = ("constant", "exponential", "cosine")

# Choices that may differ between the cells of one pack; all others are one number for the pack.
_OF_A_CELL = ("learning_rate", "final_learning_rate", "loss_tolerance")


@dataclass(frozen=True)
class Settings:
    """The training choices of one cell.

    Attributes
    ----------
    batch : samples per step, drawn with replacement; None or at least the number of samples: all of them
    final_learning_rate : reached after `steps` steps; needed by "exponential", 0 by default in "cosine"
    loss_tolerance : stop when the mean squared error on all samples is at most this; 0 never stops
    seconds : training time per cell; the cells of a pack share the sum of theirs

    Raises
    ------
    PluginError : for an unknown optimizer or schedule
    StudyError : for a final learning rate that the schedule cannot use
    """

    optimizer: str = "adam"
    steps: int = 2000
    batch: int | None = None
    learning_rate: float = 1e-3
    final_learning_rate: float | None = None
    schedule: str = "constant"
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    loss_tolerance: float = 0.0
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.optimizer not in NAMES:
            raise PluginError(unknown("training.optimizer", self.optimizer, NAMES))
        if self.schedule not in SCHEDULES:
            raise PluginError(unknown("training.schedule", self.schedule, SCHEDULES))
        final = self.final_learning_rate
        if self.schedule == "exponential" and (final is None or final <= 0):
            raise StudyError('training.schedule "exponential" needs a positive training.final_learning_rate.')
        if self.schedule == "constant" and final not in (None, self.learning_rate):
            raise StudyError('training.final_learning_rate needs the schedule "exponential" or "cosine".')

    def minibatch(self, samples: int) -> int | None:
        """Return the batch size when it is smaller than the number of samples, else None: all samples each step."""
        return self.batch if self.batch is not None and self.batch < samples else None

    def shared(self, samples: int) -> dict[str, Any]:
        """Return the choices that the cells of one pack must have in common."""
        common = {field: value for field, value in vars(self).items() if field not in _OF_A_CELL}
        return {**common, "batch": self.minibatch(samples)}


def pack_key(
    model: Mapping[str, Any], dimension: int, samples: int, settings: Settings, precision: str
) -> tuple[Hashable, ...]:
    """Return a key that is equal for cells that may train in one pack.

    `model` is a resolved model choice, `precision` "float64" or "float32". Learning rates, loss tolerances, seeds, data
    and initial parameters may differ within a pack; the shape, the steps and the rest of the settings may not.
    """
    shape = {field: value for field, value in model.items() if field not in ("initialisation", "scale")}
    shared = settings.shared(samples).values()
    return json.dumps(shape, sort_keys=True), dimension, samples, precision, *shared


@dataclass
class Trained:
    """What came out of training some cells.

    Attributes
    ----------
    parameters : (cells, parameters), on the device and in the dtype of the initial ones. The LAST of a cell that is
        done, out of budget or interrupted; of a cell that diverged on the way the best at a checkpoint of its history,
        by the loss recorded there (the initial ones if there was no finite loss)
    outcome : "done", "diverged", "out of budget" or "interrupted", one per cell
    message : one sentence per cell, empty if there is nothing to say
    steps : (cells,) int64, steps that led to the last loss of the history
    loss : (cells,) float64, mean squared error on all samples at the returned parameters
    history_step, history_loss : (cells, 64) int64 and float64: the loss after so many steps, in logarithmic spacing
        with the first and the last; of the samples that step used (a minibatch if there are any). -1 and NaN unused
    seconds : wall-clock time of the call
    """

    parameters: Tensor
    outcome: list[str]
    message: list[str]
    steps: np.ndarray
    loss: np.ndarray
    history_step: np.ndarray
    history_loss: np.ndarray
    seconds: float
