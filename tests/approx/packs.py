"""What the tests of training share: cells to train, and what it means that two trainings are equal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx import models
from hpcsweep.approx.training import Trained, train
from hpcsweep.approx.training.batched.general import layout_of, passes_of
from hpcsweep.approx.training.operations import losses
from hpcsweep.approx.training.optimizers.optimizer import Optimizer
from hpcsweep.config import OptimizerConfig

DOUBLE = torch.float64
RATES = (1e-2, 3e-3, 2e-2)


class Cells:
    """Some cells to train: a model, initial parameters, samples of a smooth function, seeds.

    `batched`: let them share operations, as on devices; otherwise each trains alone, in compiled loops.
    """

    batched = False

    def __init__(
        self, hidden: list[int], dimension: int, samples: int, cells: int, activation: str = "tanh", **choice: object
    ) -> None:
        domain = [(-1.0, 2.0)] * dimension
        self.model = models.make({"hidden": hidden, "activation": activation, **choice}, dimension, domain)
        generator = torch.Generator().manual_seed(cells + samples)
        self.points = torch.rand(cells, samples, dimension, generator=generator, dtype=DOUBLE) * 3 - 1
        self.values = torch.sin(3 * self.points.sum(-1)) + self.points[..., 0]
        self.parameters = self.model.init(range(100, 100 + cells), DOUBLE)
        self.seeds = [3**cell for cell in range(cells)]

    def train(
        self, chosen: OptimizerConfig | Sequence[OptimizerConfig], rows: Sequence[int] | None = None, **other: object
    ) -> Trained:
        """Train all cells, or those in `rows`, in that order."""
        rows = list(range(len(self.seeds))) if rows is None else list(rows)
        each = [chosen] * len(self.seeds) if isinstance(chosen, OptimizerConfig) else chosen
        data = (tensor[rows] for tensor in (self.parameters, self.points, self.values))
        return train(
            self.model,
            *data,
            [each[i] for i in rows],
            [self.seeds[i] for i in rows],
            **{"batched": self.batched, **other},
        )

    def loss(self, cell: int, parameters: Tensor) -> tuple[float, Tensor]:
        """Return the mean square of a network on the samples of a cell, and its gradient, by torch.autograd."""
        leaf = parameters.detach().clone().requires_grad_()
        loss = (self.model.apply(leaf, self.points[cell]) - self.values[cell]).square().mean()
        return loss.item(), torch.autograd.grad(loss, leaf)[0]


class Race:
    """Cells in the slots of an engine, each at a rate of its own, and an optimizer that moves them tick by tick."""

    def __init__(
        self,
        optimizer: Optimizer,
        cells: Cells,
        rows: Sequence[int],
        dtype: torch.dtype = DOUBLE,
        power: int = 2,
        device: str = "cpu",
    ) -> None:
        rows, self.optimizer, self.ticks = list(rows), optimizer, 0
        self.layout = layout_of(cells.model, len(rows))
        weights = torch.empty(len(rows) * self.layout.parameters, dtype=dtype, device=device)
        self.layout.fill(weights, cells.parameters[rows].to(dtype))
        self.engine = passes_of(cells.model, self.layout, cells.values.shape[1], weights, losses.make(power))
        self.engine.feed(cells.model.standardised(cells.points[rows]), cells.values[rows])
        self.rates = torch.empty_like(weights)
        rates = torch.tensor([[RATES[row % 3]] for row in rows], dtype=dtype)
        self.layout.fill(self.rates, rates.expand(-1, self.layout.parameters))
        self.state = optimizer.init(self.engine)

    def run(self, ticks: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return losses (ticks, slots), which ticks completed a step (ticks, slots), and the iterates (slots, ...)."""
        found = self.rates.new_empty((ticks, self.layout.slots))
        advanced = torch.ones_like(found, dtype=torch.bool)
        for row in range(ticks):
            one = self.optimizer.step(self.engine, self.state, self.ticks, self.rates, found[row])
            advanced[row] = True if one is None else one
            self.ticks += 1
        return found, advanced, self.layout.rows(self.optimizer.iterate(self.engine, self.state))

    @property
    def settled(self) -> Tensor:
        """Where no progress is possible any more, (slots,) bool."""
        settled = self.optimizer.settled(self.engine, self.state)
        assert settled is not None
        return settled


def history(trained: Trained, cell: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps and the losses that were noted of a cell."""
    used = trained.history_step[cell] >= 0
    return trained.history_step[cell][used], trained.history_loss[cell][used]


def equal(one: Trained, other: Trained, rows: Sequence[int], others: Sequence[int] | None = None) -> bool:
    """Whether cells of two trainings are equal in every bit: `rows` of the first, `others` (or all) of the second."""
    others = range(len(other.steps)) if others is None else others
    here, there = list(rows), list(others)
    return (
        torch.equal(one.parameters[here], other.parameters[there])
        and [one.outcome[i] for i in here] == [other.outcome[i] for i in there]
        and [one.message[i] for i in here] == [other.message[i] for i in there]
        and all(
            np.array_equal(getattr(one, field)[here], getattr(other, field)[there], equal_nan=True)
            for field in ("steps", "loss", "history_step", "history_loss")
        )
    )


def numpy_minibatches(seed: int, steps: int, batch: int, samples: int) -> np.ndarray:
    """Return indices (steps, batch): splitmix64 in numpy's unsigned arithmetic."""

    def mix(z: np.ndarray) -> np.ndarray:
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))

    key = mix(np.array([seed % 2**64], dtype=np.uint64))
    counters = np.arange(1, steps * batch + 1, dtype=np.uint64)
    bits = mix(key + counters * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(33)
    return ((bits * np.uint64(samples)) >> np.uint64(31)).astype(np.int64).reshape(steps, batch)
