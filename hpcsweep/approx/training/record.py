"""What is written down about the cells of a pack while they train; plain numpy, the bookkeeping of the loop."""

from __future__ import annotations

import numpy as np

CHECKPOINTS = 64


def checkpoints(steps: int) -> np.ndarray:
    """Return at most 64 increasing steps from 0 to `steps`, both included, in logarithmic spacing; int64."""
    spaced = np.geomspace(1, max(steps, 1), CHECKPOINTS - 1).round().astype(np.int64)
    return np.unique(np.append(0, np.minimum(spaced, steps)))


class Record:
    """Outcomes and histories of the cells of a pack. A cell is active until it has an outcome."""

    def __init__(self, cells: int) -> None:
        self.outcome = [""] * cells
        self.message = [""] * cells
        self.active = np.ones(cells, dtype=bool)
        self.steps = np.zeros(cells, dtype=np.int64)
        self.history_step = np.full((cells, CHECKPOINTS), -1, dtype=np.int64)
        self.history_loss = np.full((cells, CHECKPOINTS), np.nan)
        self._best = np.full(cells, np.inf)
        self._noted = 0  # checkpoints so far: cells that leave do so between them

    def note(self, step: int, losses: np.ndarray) -> np.ndarray:
        """Add a checkpoint to the history of the active cells; return which of them have a new best loss, (cells,)."""
        better = self.active & (losses < self._best)
        self._best[better] = losses[better]
        self.history_step[self.active, self._noted] = step
        self.history_loss[self.active, self._noted] = losses[self.active]
        self._noted += 1
        return better

    def finish(self, cell: int, step: int, loss: float, outcome: str, message: str) -> None:
        """End an active cell after `step` steps; its last loss closes the history."""
        self.outcome[cell], self.message[cell], self.steps[cell] = outcome, message, step
        self.active[cell] = False
        if step not in self.history_step[cell]:
            self.history_step[cell, self._noted] = step
            self.history_loss[cell, self._noted] = loss
