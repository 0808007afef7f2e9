"""Which samples each step sees: all of them, or minibatches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from hpcsweep.approx.training import streams
from hpcsweep.approx.training.engine import Engine

_AHEAD = 1 << 14  # samples gathered at once: enough to hide the cost of a call, few enough to stay in the cache


class Samples(ABC):
    """Fills an engine before each step."""

    @abstractmethod
    def feed(self, step: int) -> None:
        """Fill the engine with the samples of the step after `step` steps; steps come in order from 0."""

    @abstractmethod
    def silence(self, slot: int) -> None:
        """Make all samples of a slot zero, points and values."""


@final
class FullBatch(Samples):
    """All samples in every step: they stay in the engine."""

    def __init__(self, engine: Engine, points: Tensor, values: Tensor) -> None:
        self._engine = engine
        engine.feed(points, values)

    def feed(self, step: int) -> None:
        """Do nothing: the samples are there."""

    def silence(self, slot: int) -> None:
        self._engine.silence(slot)


@final
class Minibatches(Samples):
    """Samples drawn with replacement, by a stream of indices per slot.

    Those of several steps are gathered at once; which ones are drawn does not depend on how many.
    """

    def __init__(self, engine: Engine, points: Tensor, values: Tensor, seeds: Sequence[int]) -> None:
        slots, self._count = values.shape
        self._engine, self._batch = engine, engine.samples
        self._table = torch.cat([points, values.unsqueeze(2)], dim=2)  # (slots, all, dimension + 1)
        self._streams = streams.keys(seeds, values.device)
        self._offsets = torch.arange(slots, device=values.device).unsqueeze(1) * self._count
        self._ahead = max(1, _AHEAD // (slots * self._batch))  # steps gathered at once
        self._ready = self._table.new_empty(0)

    def feed(self, step: int) -> None:
        place = step % self._ahead
        if place == 0:
            self._gather(step)
        self._engine.points.copy_(self._ready[:, place, :-1])
        self._engine.values.copy_(self._ready[:, place, -1:])

    def _gather(self, step: int) -> None:
        start, count = step * self._batch, self._ahead * self._batch
        index = streams.integers(self._streams, start, count, self._count) + self._offsets  # (slots, count)
        drawn = self._table.flatten(0, 1).index_select(0, index.view(-1))
        # As the engine wants it, for each step: (slots, steps ahead, dimension + 1, batch).
        self._ready = drawn.view(len(index), self._ahead, self._batch, -1).transpose(2, 3)

    def silence(self, slot: int) -> None:
        self._table[slot].zero_()
        self._ready[slot].zero_()
        self._engine.silence(slot)
