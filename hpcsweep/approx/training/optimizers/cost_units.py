"""The units in which each optimizer states, in its own module, what a step costs for one network (`Optimizer.cost`).

That is what a step asks of a processor core beside evaluations; nothing is measured here. The unit is the
multiply-add: `products` are those of matrix products, `others` what takes as long as so many (passes over vectors,
decompositions, square roots). The factors in the optimizers were measured once, in float64 on one core (AMD EPYC, Zen
4), at widths 8 to 64 with 100 and 800 samples; there the counts hold within a fifth.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

LANES = 16  # the most that a vector has, in float32
SEARCH = 1.12  # evaluations of a line search

Widths = tuple[int, ...]  # (inputs, hidden ..., 1)


@dataclass(frozen=True)
class StepCost:
    """What one step of one network takes.

    Attributes
    ----------
    evaluations, forwards : of the loss with its gradient, and without
    products, others : multiply-adds, see above
    held : numbers of the method's state and of its room to work
    calls : of torch, where steps are made of them, on a device
    calls_alone : of torch or Python, where the network trains alone
    most_steps : after which it is over
    """

    evaluations: float = 1.0
    forwards: float = 0.0
    products: float = 0.0
    others: float = 0.0
    held: int = 0
    calls: float = 10.0
    calls_alone: float = 0.0
    most_steps: float = float("inf")


def blocks(widths: Widths) -> list[tuple[int, int]]:
    """Return the outputs, and the inputs with the bias, of each layer."""
    return [(outputs, inputs + 1) for inputs, outputs in pairwise(widths)]


def size(widths: Widths) -> int:
    """Return the number of parameters."""
    return sum(outputs * columns for outputs, columns in blocks(widths))


def first_order(widths: Widths, vectors: int, each: float) -> StepCost:
    """Return the cost of a step of a method that keeps some vectors, and takes so long for each parameter."""
    return StepCost(others=each * size(widths), held=vectors * size(widths))
