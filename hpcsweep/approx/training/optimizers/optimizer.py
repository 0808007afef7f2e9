"""What the training loop asks of an optimizer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hpcsweep.approx.training.engine import Engine


@dataclass(frozen=True)
class Optimizer(ABC):
    """Moves all networks of a pack at once: `init` and `step` over a state that it does not hide.

    Its fields are the settings that it reads, by their names. No operation may let one slot reach another: no sums over
    slots, no common norms or line searches, `torch.where` and never a product with a mask; a slot may be full of NaN.
    """

    @abstractmethod
    def init(self, engine: Engine) -> Any:
        """Return the state before the first step, a dataclass of tensors."""

    @abstractmethod
    def step(self, engine: Engine, state: Any, count: int, rates: Tensor, loss: Tensor) -> None:
        """Do one step, in place.

        Parameters
        ----------
        engine : holds the weights, and the samples of this step
        state : from `init`
        count : steps done before, 0 at first
        rates : learning rates, laid out like the weights (slots * parameters,)
        loss : (slots,), receives the loss on these samples at the weights BEFORE the step
        """

    @abstractmethod
    def forget(self, engine: Engine, state: Any, slot: int) -> None:
        """Make the state of one slot finite and at rest, as after `init`: that slot has left the race."""
