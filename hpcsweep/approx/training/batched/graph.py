"""Ticks that are recorded once and then replayed: on a GPU one launch, a CUDA graph, instead of some dozens.

A tick can be replayed if it does the same operations on the same storages with the same scalars every time. Whatever
differs from tick to tick is therefore written beforehand into tensors that stay: samples, rates, and the numbers that
follow from the count. What an optimizer does only now and then comes before a tick; a tick that is another one (SOAP
turns its bases) is not replayed.

`tests/approx/training/batched/test_graph.py` tests this on a CPU: equal operations, and the bits of ordinary ticks
when these are done again. The recording itself, by CUDA, has not been run on a GPU yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor

from hpcsweep.approx.training.operations.engine import Engine
from hpcsweep.approx.training.operations.passes import Passes
from hpcsweep.approx.training.optimizers.optimizer import Optimizer

_WARM = 3  # ordinary ticks before the recorded one, for what libraries do at first

Tick = Callable[[], None]


def possible(engine: Passes) -> bool:
    """Return whether ticks can be recorded: on a GPU, of closed forms."""
    return isinstance(engine, Engine) and engine.weights.is_cuda


def cuda_graph(tick: Tick) -> Tick:
    """Do a tick as a CUDA graph; return what does it again."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        tick()  # recorded only
    graph.replay()
    return graph.replay


@final
class Replay:
    """Steps of one optimizer on one engine and one state, recorded at the fourth that can be.

    `rates` is rewritten in place before each step. `record` does a tick and returns what does it again.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        engine: Passes,
        state: Any,
        rates: Tensor,
        record: Callable[[Tick], Tick] = cuda_graph,
    ) -> None:
        self._optimizer, self._engine, self._state, self._rates = optimizer, engine, state, rates
        self._record = record
        self._loss = engine.weights.new_empty(engine.layout.slots)
        self._numbers = [engine.weights.new_empty(()) for _ in optimizer.numbers(0)]
        self._again: Tick | None = None
        self._warm = 0

    def step(self, count: int, loss: Tensor) -> Tensor | None:
        """Do a step as `Optimizer.step` does, `count` and `loss` (slots,) as there."""
        numbers = self._optimizer.numbers(count)
        if not self._optimizer.upkeep(self._engine, self._state, count):
            return self._optimizer.tick(self._engine, self._state, numbers, self._rates, loss)
        for kept, number in zip(self._numbers, numbers, strict=True):
            kept.fill_(number)
        if self._again is not None:
            self._again()
        elif self._warm < _WARM:
            self._warm += 1
            self._tick()
        else:
            self._again = self._record(self._tick)
        loss.copy_(self._loss)
        return None

    def _tick(self) -> None:
        self._optimizer.tick(self._engine, self._state, self._numbers, self._rates, self._loss)
