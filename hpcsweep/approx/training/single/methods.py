"""Methods for one network on a processor: compiled functions, or steps in Python, and the state that they work on.

Each optimizer makes its own of these (`optimizers.optimizer.Optimizer.alone`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from hpcsweep.approx.kernels import iteration
from hpcsweep.approx.kernels.objective import objective
from hpcsweep.approx.kernels.problem import Problem, Shape, aligned, lanes, padded
from hpcsweep.approx.kernels.updates import first_order, line_search, quasi_newton
from hpcsweep.approx.training.record import CHECKPOINTS


@dataclass
class State:
    """All that a training goes on from: see `kernels.iteration`."""

    numbers: np.ndarray
    vectors: np.ndarray
    point: np.ndarray
    gradient: np.ndarray
    best: np.ndarray
    losses: np.ndarray

    @staticmethod
    def at(start: np.ndarray, numbers: np.ndarray, vectors: np.ndarray) -> State:
        """Return the state before anything was evaluated, at `start` (parameters,)."""
        point, gradient, best = (aligned(padded(len(start), start.dtype), start.dtype) for _ in range(3))
        point[: len(start)] = start
        numbers[iteration.SCORE] = np.inf
        return State(numbers, vectors, point, gradient, best, np.full(CHECKPOINTS, np.nan))

    def copy(self) -> dict[str, np.ndarray]:
        """Return a copy as plain arrays."""
        return {name: values.copy() for name, values in vars(self).items()}

    def restore(self, saved: dict[str, np.ndarray]) -> None:
        """Take up a copy."""
        for name, values in saved.items():
            getattr(self, name)[:] = values

    @property
    def steps(self) -> int:
        """Iterates since the start."""
        return int(self.numbers[iteration.STEPS])

    @property
    def loss(self) -> float:
        """At the iterate."""
        return float(self.numbers[iteration.LOSS])

    @property
    def evaluations(self) -> int:
        """Evaluations since the start."""
        return int(self.numbers[iteration.EVALUATIONS])


class Method(ABC):
    """One method at work on one problem."""

    state: State

    @abstractmethod
    def advance(self, marks: np.ndarray, done: int, due: int, tolerance: float, evaluations: int) -> int:
        """Go on until something is to be looked at; see `kernels.iteration.advance`."""

    @property
    def iterate(self) -> np.ndarray:
        """The parameters, and zeros up to a whole vector."""
        return self.state.point

    @property
    def slope(self) -> float:
        """The largest component of the gradient at the iterate, where `advance` has just returned it as due."""
        return float(np.abs(self.state.gradient).max())


@dataclass(frozen=True)
class Schedule:
    """The learning rates of one part of a chain.

    Attributes
    ----------
    initial, final : the first rate, and that after `steps` steps
    kind : 0 constant, 1 exponential, 2 cosine, as in `kernels.updates.first_order`
    steps : of this part
    """

    initial: float
    final: float
    kind: int
    steps: int


@dataclass(frozen=True)
class Start:
    """What the training of one network starts from: its shape, its problem, the schedule, its parameters."""

    network: Shape
    problem: Problem
    schedule: Schedule
    parameters: np.ndarray

    @property
    def dtype(self) -> np.dtype:
        """The precision of the network."""
        return self.parameters.dtype

    @property
    def count(self) -> int:
        """Length of a vector that holds the parameters and zeros up to a whole vector."""
        return padded(len(self.parameters), self.dtype)

    @property
    def lanes(self) -> int:
        """Numbers of a vector register."""
        return lanes(self.dtype)


@final
class Compiled(Method):
    """A method that is a pair of compiled functions (`propose`, `take`) over numbers and vectors of its own."""

    def __init__(self, pair: tuple[Any, Any], start: Start, numbers: np.ndarray, vectors: np.ndarray) -> None:
        dtype, problem = start.dtype, start.problem
        self.state = State.at(start.parameters, numbers, vectors)
        self._functions = objective[dtype], pair[0][dtype], pair[1][dtype]
        self._problem = problem.shape, problem.source, problem.work
        self._advance: Callable[..., int] = iteration.advance[dtype]

    def advance(self, marks: np.ndarray, done: int, due: int, tolerance: float, evaluations: int) -> int:
        """Go on in compiled code, without the interpreter's lock."""
        arrays = *vars(self.state).values(), *self._problem
        return self._advance(*self._functions, *arrays, marks, done, due, tolerance, evaluations)

    @property
    def iterate(self) -> np.ndarray:
        """The parameters, which a search leaves behind its trials."""
        state = self.state
        return state.vectors[: len(state.point)] if state.numbers[iteration.WALKS] else state.point


def first_order_numbers(
    start: Start, first: float, second: float, epsilon: float = 0.0, decay: float = 0.0, own: Sequence[float] = ()
) -> np.ndarray:
    """Return the numbers of a method that evaluates each iterate once; places: `kernels.updates.first_order`.

    `first` and `second` are its betas, or momentum and whether that is Nesterov's; `own` follows what all have.
    """
    numbers, schedule = np.zeros(first_order.END + len(own)), start.schedule
    numbers[first_order.RATE :] = (
        *(schedule.initial, schedule.final, schedule.kind, schedule.steps),
        *(first, second, epsilon, decay, 1.0, 1.0, float(np.finfo(start.dtype).tiny) ** 0.9),
        *own,
    )
    return numbers


def quasi_newton_numbers(start: Start, kind: int) -> np.ndarray:
    """Return the numbers of a method with a line search; see `kernels.updates.quasi_newton` for kinds and places."""
    numbers = np.zeros(quasi_newton.END)
    numbers[quasi_newton.KIND], numbers[quasi_newton.PARAMETERS] = kind, start.network.parameters
    numbers[line_search.FRESH] = numbers[line_search.BLANK] = numbers[quasi_newton.SCALE] = 1.0
    numbers[line_search.UNIT] = np.finfo(start.dtype).eps
    numbers[iteration.WALKS] = 1.0
    return numbers


class Stepwise(Method):
    """A method whose steps are so long that Python may stand between them.

    Subclasses evaluate the iterate (`_evaluate`: the loss) and leave it (`_move`: whether there is another).
    """

    def __init__(self, start: Start, numbers: int) -> None:
        self.network, self.problem = start.network, start.problem
        self.state = State.at(start.parameters, np.zeros(numbers), np.zeros(0, dtype=start.dtype))
        self._note = iteration.write_note[start.dtype]

    @abstractmethod
    def _evaluate(self) -> float: ...

    @abstractmethod
    def _move(self) -> bool: ...

    def advance(self, marks: np.ndarray, done: int, due: int, tolerance: float, evaluations: int) -> int:
        """Go on as `kernels.iteration.advance` does."""
        state, numbers = self.state, self.state.numbers
        for _ in range(max(1, evaluations // 4)):  # a step takes several
            if numbers[iteration.TAKEN]:
                if not self._move():
                    return iteration.SETTLED
                numbers[iteration.TAKEN] = 0
            numbers[iteration.LOSS] = self._evaluate()
            numbers[iteration.TAKEN] = 1
            numbers[iteration.EVALUATIONS] += 1
            if not np.isfinite(numbers[iteration.LOSS]):
                return iteration.DIVERGED
            self._note(numbers, state.vectors, state.point, state.best, state.losses, marks)
            if numbers[iteration.STEPS] >= due:
                return iteration.DUE
            if numbers[iteration.LOSS] <= tolerance:
                return iteration.WITHIN
        return iteration.PAUSED

    @property
    def slope(self) -> float:
        """The largest component of the gradient at the iterate, which takes a pass of its own."""
        point, gradient = self.state.point, self.state.gradient
        objective[point.dtype](point, gradient, *self.problem.arrays, 0)
        return float(np.abs(gradient).max())
