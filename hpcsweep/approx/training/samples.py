"""What cells learn from, and which samples each step sees: all of them, or minibatches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from hpcsweep.approx.training import streams
from hpcsweep.approx.training.passes import Passes
from hpcsweep.approx.training.settings import Settings

_AHEAD = 1 << 14  # samples gathered at once: enough to hide the cost of a call, few enough to stay in the cache


@dataclass(frozen=True)
class Cells:
    """What cells start from, one row or entry each.

    Attributes
    ----------
    parameters : (cells, parameters)
    inputs : (cells, samples, dimension), standardised already
    values : (cells, samples)
    settings, seeds : one per cell
    importance : (cells, samples), factors of the samples in the loss; None is 1 for all
    """

    parameters: Tensor
    inputs: Tensor
    values: Tensor
    settings: Sequence[Settings]
    seeds: Sequence[int]
    importance: Tensor | None = None


class Samples(ABC):
    """Fills an engine before each step."""

    @abstractmethod
    def put(self, slot: int, cell: int) -> None:
        """Give the samples of a cell to a slot."""

    @abstractmethod
    def feed(self, steps: Sequence[int]) -> None:
        """Fill the engine with the samples of the step after `steps` steps of each slot; one more at each call."""

    @abstractmethod
    def silence(self, slot: int) -> None:
        """Make all samples of a slot zero, points and values."""


@final
class FullBatch(Samples):
    """All samples in every step: they stay in the engine."""

    def __init__(self, engine: Passes, cells: Cells) -> None:
        self._engine, self._cells = engine, cells
        engine.points.zero_()
        if cells.importance is not None:
            engine.importance = torch.zeros_like(engine.values)

    def put(self, slot: int, cell: int) -> None:
        self._engine.points[slot] = self._cells.inputs[cell].T
        self._engine.values[slot, 0] = self._cells.values[cell]
        if self._cells.importance is not None and self._engine.importance is not None:
            self._engine.importance[slot, 0] = self._cells.importance[cell]

    def feed(self, steps: Sequence[int]) -> None:
        """Do nothing: the samples are there."""

    def silence(self, slot: int) -> None:
        self._engine.silence(slot)


@final
class Minibatches(Samples):
    """Samples drawn with replacement, by a stream of indices per slot.

    Those of several steps are gathered at once; which ones are drawn does not depend on how many.

    Attributes
    ----------
    table : (slots, all, columns): the coordinates of each sample, its value, and its importance if there is any
    """

    def __init__(self, engine: Passes, cells: Cells) -> None:
        count, dimension = cells.inputs.shape[1:]
        slots, device = engine.layout.slots, cells.values.device
        self._engine, self._cells, self._batch, self._count = engine, cells, engine.samples, count
        weighted = cells.importance is not None
        self.table = cells.inputs.new_zeros((slots, count, dimension + 1 + weighted))
        self._points, self._value = slice(dimension), slice(dimension, dimension + 1)
        self._streams = torch.zeros(slots, dtype=torch.int64, device=device)
        self._offsets = torch.arange(slots, device=device).unsqueeze(1) * count
        self._ahead = max(1, _AHEAD // (slots * self._batch))  # steps gathered at once
        self._place = self._ahead  # of the next step among those
        self._ready = self.table.new_empty(0)
        if weighted:
            engine.importance = torch.zeros_like(engine.values)

    def put(self, slot: int, cell: int) -> None:
        parts = [self._cells.inputs[cell], self._cells.values[cell].unsqueeze(1)]
        if self._cells.importance is not None:
            parts.append(self._cells.importance[cell].unsqueeze(1))
        self.table[slot] = torch.cat(parts, dim=1)
        self._streams[slot] = streams.keys([self._cells.seeds[cell]], self._streams.device)[0]
        self._place = self._ahead  # what has been gathered belongs to another cell

    def feed(self, steps: Sequence[int]) -> None:
        if self._place == self._ahead:
            self._gather(steps)
        self._engine.points.copy_(self._ready[:, self._place, self._points])
        self._engine.values.copy_(self._ready[:, self._place, self._value])
        if self._engine.importance is not None:
            self._engine.importance.copy_(self._ready[:, self._place, -1:])
        self._place += 1

    def _gather(self, steps: Sequence[int]) -> None:
        start = torch.tensor(steps, dtype=torch.int64, device=self._streams.device).unsqueeze(1) * self._batch
        index = streams.integers(self._streams, start, self._ahead * self._batch, self._count) + self._offsets
        drawn = self.table.flatten(0, 1).index_select(0, index.view(-1))  # index is (slots, steps ahead * batch)
        # As the engine wants it, for each step: (slots, steps ahead, columns, batch).
        self._ready = drawn.view(len(index), self._ahead, self._batch, -1).transpose(2, 3)
        self._place = 0

    def silence(self, slot: int) -> None:
        self.table[slot].zero_()
        if self._ready.numel():
            self._ready[slot].zero_()
        self._engine.silence(slot)
