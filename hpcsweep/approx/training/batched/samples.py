"""What cells learn from, and the minibatches that the steps of a pack see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.training import streams
from hpcsweep.approx.training.operations.passes import Passes
from hpcsweep.config import OptimizerConfig

_AHEAD = 1 << 14  # samples gathered at once: enough to hide the cost of a call, few enough to stay in the cache


@dataclass(frozen=True)
class TrainingSet:
    """What cells start from, one row or entry each.

    Attributes
    ----------
    parameters : (cells, parameters)
    inputs : (cells, samples, dimension), standardised already
    values : (cells, samples)
    settings, seeds : one per cell
    """

    parameters: Tensor
    inputs: Tensor
    values: Tensor
    settings: Sequence[OptimizerConfig]
    seeds: Sequence[int]


@final
class Minibatches:
    """Samples drawn with replacement, by a stream of indices per slot.

    Those of several steps are gathered at once; which ones are drawn does not depend on how many.

    Attributes
    ----------
    table : (slots, all, columns): the coordinates of each sample, and its value
    """

    def __init__(self, engine: Passes, cells: TrainingSet, rows: Sequence[int], done: np.ndarray) -> None:
        """Draw for the cells `rows`, one per slot, which have `done` so many steps before this pack."""
        index = torch.tensor(rows, device=cells.values.device)
        self.table = torch.cat([cells.inputs[index], cells.values[index].unsqueeze(2)], dim=2)
        self._engine, self._batch, device = engine, engine.samples, index.device
        self._streams = streams.keys([cells.seeds[row] for row in rows], device)
        self._done = torch.from_numpy(done).to(device)
        self._ahead = max(1, _AHEAD // (len(rows) * self._batch))  # steps gathered at once
        self._first = -self._ahead  # of those that are gathered
        self._ready = self.table.new_empty(0)

    def feed(self, step: int) -> None:
        """Fill the engine with the samples of the step after `step` steps of this pack."""
        ahead = step - self._first
        if not 0 <= ahead < self._ahead:
            self._gather(step)
            ahead = 0
        engine, dimension = self._engine, self._engine.points.shape[1]
        engine.points.copy_(self._ready[:, ahead, :dimension])
        engine.values.copy_(self._ready[:, ahead, dimension:])

    def _gather(self, step: int) -> None:
        slots, count, columns = self.table.shape
        start = (self._done + step).unsqueeze(1) * self._batch
        index = streams.integers(self._streams, start, self._ahead * self._batch, count)  # (slots, ahead * batch)
        index += torch.arange(slots, device=index.device).unsqueeze(1) * count
        drawn = self.table.flatten(0, 1).index_select(0, index.view(-1))
        # As the engine wants it, for each step: (slots, steps ahead, columns, batch).
        self._ready = drawn.view(slots, self._ahead, self._batch, columns).transpose(2, 3)
        self._first = step
