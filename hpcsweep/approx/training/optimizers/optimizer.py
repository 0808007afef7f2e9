"""What an optimizer knows of itself: its needs, its price, and how it trains one network, or a pack of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from hpcsweep.approx.kernels.objective import objective
from hpcsweep.approx.training.operations.passes import Passes
from hpcsweep.approx.training.optimizers.cost_units import StepCost, Widths
from hpcsweep.approx.training.single.methods import Method, Start

Number = float | Tensor  # one for all slots; in ticks that are recorded, a tensor without axes


@dataclass(frozen=True)
class Needs:
    """What an optimizer asks for: all samples in every step, the mean square as the loss, a learning rate.

    And of the model: the matrices of its layers; the inputs of a linear last layer.
    """

    all_samples: bool = False
    squares: bool = False
    rate: bool = True
    matrices: bool = False
    features: bool = False

    def unmet(self, widths: Widths) -> str:
        """Return what a model in torch code, of layers of these widths or (), cannot give; empty if it gives all."""
        if self.features:
            return "a linear last layer"
        return "the weight matrices" if self.matrices and not widths else ""


@dataclass(frozen=True)
class Optimizer(ABC):
    """One method, under one name or several (`registry.register`); it trains networks in two ways.

    Its fields are the settings that it reads, by their names, with their defaults.

    *One network on a processor*: `alone` makes what the compiled kernels work on.

    *A pack of networks at once*: `init` and `step` over a state that it does not hide. No operation may let one slot
    reach another: no sums over slots, no common norms or line searches, `torch.where` and never a product with a mask;
    a slot may be full of NaN. The state is a dataclass of tensors, other such dataclasses, lists of them and constants.
    The tensors are what is saved, and restored in place.

    Attributes
    ----------
    needs : what it asks for
    is_fine : whether it goes on to errors so small that a proof takes many boxes
    kernels : the compiled functions that `alone` uses
    """

    needs: ClassVar[Needs] = Needs()
    is_fine: ClassVar[bool] = False
    kernels: ClassVar[tuple[Any, ...]] = ()

    @abstractmethod
    def cost(self, widths: Widths, samples: int, steps: int) -> StepCost:
        """Return what one of `steps` steps asks for that sees so many samples, with these settings."""

    @abstractmethod
    def alone(self, start: Start) -> Method:
        """Return the training of one network on a processor, before its first evaluation."""

    def block(self, parameters: int, samples: int) -> int | None:
        """Return how many samples `alone` must have in one block, of a network with so many parameters; None if any."""
        return None

    def prepare(self, dtype: np.dtype) -> None:
        """Compile what `alone` needs, or find it in the cache: seconds, once on a machine, and no time of training."""
        for kernel in (objective, *self.kernels):
            kernel[dtype]

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
