"""What is written down about cells while they train: outcomes, histories, the last and the best parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

CHECKPOINTS = 64
_JUDGED_SHARE = 0.04  # of the work of a training with minibatches: losses on all samples, to know the best parameters


def patience(steps: int) -> int:
    """Return how many evaluations a training of so many steps may take before it is given up."""
    return 20 * steps + 100


def checkpoints(steps: int) -> np.ndarray:
    """Return at most 64 increasing steps from 0 to `steps`, both included, in logarithmic spacing; int64."""
    spaced = np.geomspace(1, max(steps, 1), CHECKPOINTS - 1).round().astype(np.int64)
    return np.unique(np.append(0, np.minimum(spaced, steps)))


def judged(steps: int, batch: int, samples: int) -> np.ndarray:
    """Return those steps at which a training with minibatches looks at the loss on all samples, to know the best.

    The last checkpoints before the end, as many as cost a few percent: a step takes three passes over `batch` samples,
    a judgement one over all.
    """
    count = int(_JUDGED_SHARE * 3 * steps * batch / samples)
    return checkpoints(steps)[:-1][-count:] if count else np.empty(0, dtype=np.int64)


@dataclass
class TrainingRecord:
    """One row or entry per cell. A cell is active until it has an outcome.

    Attributes
    ----------
    last, best : (cells, parameters): where the cell was last, and where its `score` was
    score : (cells,) the least loss at a checkpoint, infinite before there is one
    loss : (cells,) at `last`
    steps : (cells,) done so far, known when the cell leaves a pack
    history_step, history_loss : as in `Trained`
    noted : (cells,) how many entries of the history are used
    seconds : (cells,) as in `Trained`, so far
    """

    last: Tensor
    best: Tensor
    outcome: list[str]
    message: list[str]
    score: np.ndarray
    loss: np.ndarray
    steps: np.ndarray
    history_step: np.ndarray
    history_loss: np.ndarray
    noted: np.ndarray
    seconds: np.ndarray

    @staticmethod
    def blank(parameters: Tensor) -> TrainingRecord:
        """Return the record of cells (cells, parameters) that have done nothing."""
        cells = len(parameters)
        return TrainingRecord(
            last=parameters.clone(),
            best=parameters.clone(),
            outcome=[""] * cells,
            message=[""] * cells,
            score=np.full(cells, np.inf),
            loss=np.full(cells, np.nan),
            steps=np.zeros(cells, dtype=np.int64),
            history_step=np.full((cells, CHECKPOINTS), -1, dtype=np.int64),
            history_loss=np.full((cells, CHECKPOINTS), np.nan),
            noted=np.zeros(cells, dtype=np.int64),
            seconds=np.zeros(cells),
        )

    @staticmethod
    def joined(records: Sequence[TrainingRecord]) -> TrainingRecord:
        """Return one record of the cells of several."""
        parts = {field.name: [getattr(one, field.name) for one in records] for field in fields(TrainingRecord)}
        return TrainingRecord(**{name: _concatenated(rows) for name, rows in parts.items()})

    @property
    def active(self) -> np.ndarray:
        """Return which cells have no outcome, (cells,) bool."""
        return np.array([not outcome for outcome in self.outcome])

    def note(self, cell: int, step: int, loss: float) -> None:
        """Add a checkpoint to the history, unless the last one is of the same step."""
        noted = self.noted[cell]
        if noted and self.history_step[cell, noted - 1] == step:
            return
        self.history_step[cell, noted], self.history_loss[cell, noted] = step, loss
        self.noted[cell] += 1

    def improves(self, cell: int, loss: float) -> bool:
        """Take in the loss at a checkpoint; return whether it is the least so far."""
        better = loss < self.score[cell]
        if better:
            self.score[cell] = loss
        return bool(better)

    def leave(self, cell: int, step: int, loss: float) -> None:
        """A cell leaves a pack after `step` steps, with that loss."""
        self.steps[cell], self.loss[cell] = step, loss

    def finish(self, cell: int, outcome: str, message: str) -> None:
        """End a cell that has left; its last loss closes the history."""
        self.outcome[cell], self.message[cell] = outcome, message
        self.note(cell, int(self.steps[cell]), float(self.loss[cell]))

    def choose(self, best: np.ndarray) -> None:
        """Make the best parameters of those cells, (cells,) bool, the last ones."""
        where = torch.from_numpy(best).to(self.last.device)
        self.last = torch.where(where.unsqueeze(1), self.best, self.last)
        self.loss = np.where(best, np.where(np.isfinite(self.score), self.score, self.loss), self.loss)

    def state(self) -> dict[str, Any]:
        """Return a copy of everything, in plain values, arrays and tensors."""
        return {field.name: _copy(getattr(self, field.name)) for field in fields(self)}

    @staticmethod
    def restored(state: dict[str, Any]) -> TrainingRecord:
        """Return the record that `state` was taken from."""
        return TrainingRecord(**{name: _copy(value) for name, value in state.items()})


def joined(
    one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray], done: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return two histories (steps, losses) one after the other, (64,) each as in `Trained`, thinned out evenly.

    The second begins after `done` steps; its step 0 is left out. -1 and NaN are unused entries, as in what comes back.
    """
    (early, early_losses), (late, late_losses) = (
        tuple(row[history[0] >= 0] for row in history) for history in (one, other)
    )
    steps, losses = np.concatenate([early, late[1:] + done]), np.concatenate([early_losses, late_losses[1:]])
    kept = np.unique(np.linspace(0, len(steps) - 1, CHECKPOINTS).round().astype(int))
    filled = np.full(CHECKPOINTS, -1, dtype=np.int64), np.full(CHECKPOINTS, np.nan)
    for row, entries in zip(filled, (steps[kept], losses[kept]), strict=True):
        row[: len(kept)] = entries
    return filled


def _concatenated(rows: Sequence[Any]) -> Any:
    if isinstance(rows[0], Tensor):
        return torch.cat(list(rows))
    return np.concatenate(rows) if isinstance(rows[0], np.ndarray) else [entry for row in rows for entry in row]


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value.copy()
