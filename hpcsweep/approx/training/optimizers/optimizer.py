"""What the training loop asks of an optimizer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hpcsweep.approx.training.operations.passes import Passes

Number = float | Tensor  # one for all slots; in ticks that are recorded, a tensor without axes


@dataclass(frozen=True)
class Optimizer(ABC):
    """Moves all networks of a pack at once: `init` and `step` over a state that it does not hide.

    Its fields are the settings that it reads, by their names. No operation may let one slot reach another: no sums over
    slots, no common norms or line searches, `torch.where` and never a product with a mask; a slot may be full of NaN.

    The state is a dataclass of tensors, other such dataclasses, lists of them and constants. The tensors are what is
    saved, and restored in place.
    """

    @abstractmethod
    def init(self, engine: Passes) -> Any:
        """Return the state before the first step; nothing is evaluated."""

    def step(self, engine: Passes, state: Any, count: int, rates: Tensor, loss: Tensor) -> Tensor | None:
        """Do one tick, in place: one evaluation of all slots, or a fixed number of them.

        Parameters
        ----------
        engine : holds the weights, and the samples of this tick
        state : from `init`
        count : ticks done before, 0 at first: the same for all slots, which begin together
        rates : learning rates, laid out like the weights (slots * parameters,)
        loss : (slots,), receives the loss on these samples at the iterates BEFORE the tick; not finite only where the
            iterate itself is so, whatever a trial may have given

        Returns
        -------
        (slots,) bool: where this tick completed an iteration. None if everywhere, as in methods without a line search
        """
        self.upkeep(engine, state, count)
        return self.tick(engine, state, self.numbers(count), rates, loss)

    def upkeep(self, engine: Passes, state: Any, count: int) -> bool:
        """Do what comes before a tick now and then; return whether the tick can be replayed (see `graph`).

        That is if it does the same operations on the same storages as every other one that can.
        """
        return False

    def numbers(self, count: int) -> Sequence[float]:
        """Return the numbers that differ from tick to tick."""
        return []

    @abstractmethod
    def tick(self, engine: Passes, state: Any, numbers: Sequence[Number], rates: Tensor, loss: Tensor) -> Tensor | None:
        """Do the rest of a step."""

    def iterate(self, engine: Passes, state: Any) -> Tensor:
        """Return the iterates, a flat buffer: the weights, unless these are trial points of a line search."""
        return engine.weights

    def settled(self, engine: Passes, state: Any) -> Tensor | None:
        """Return where no progress is possible any more, (slots,) bool; None if there is no telling."""
        return None
