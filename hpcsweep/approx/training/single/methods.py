"""Methods for one network on a processor: from settings to the compiled functions and the state that they work on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from hpcsweep.approx.kernels import first_order, line_search, marquardt, method, muon, quasi_newton, soap
from hpcsweep.approx.kernels.compiling import Entry
from hpcsweep.approx.kernels.objective import objective
from hpcsweep.approx.kernels.problem import Problem, Shape, aligned, lanes, padded
from hpcsweep.approx.kernels.residuals import linearise, places, residuals
from hpcsweep.approx.training.record import CHECKPOINTS
from hpcsweep.approx.training.settings import SCHEDULES, Settings


@dataclass
class State:
    """All that a training goes on from: see `kernels.method`."""

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
        numbers[method.SCORE] = np.inf
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
        return int(self.numbers[method.STEPS])

    @property
    def loss(self) -> float:
        """At the iterate."""
        return float(self.numbers[method.LOSS])

    @property
    def evaluations(self) -> int:
        """Evaluations since the start."""
        return int(self.numbers[method.EVALUATIONS])


class Method(ABC):
    """One method at work on one problem."""

    state: State

    @abstractmethod
    def advance(self, marks: np.ndarray, done: int, due: int, tolerance: float, evaluations: int) -> int:
        """Go on until something is to be looked at; see `kernels.method.advance`."""

    @property
    def iterate(self) -> np.ndarray:
        """The parameters, and zeros up to a whole vector."""
        return self.state.point

    @property
    def slope(self) -> float:
        """The largest component of the gradient at the iterate, where `advance` has just returned it as due."""
        return float(np.abs(self.state.gradient).max())


@final
class Compiled(Method):
    """A method that is a pair of compiled functions."""

    def __init__(self, network: Shape, problem: Problem, settings: Settings, start: np.ndarray) -> None:
        dtype, name = start.dtype, settings.optimizer
        count = padded(len(start), dtype)
        make = _first_order if name in _PROPOSE else _searching
        propose, take, numbers, vectors = make(network, settings, count, dtype)
        numbers[method.WALKS] = name not in _PROPOSE
        self.state = State.at(start, numbers, vectors)
        self._functions = objective[dtype], propose[dtype], take[dtype]
        self._problem = problem.shape, problem.source, problem.work
        self._advance: Callable[..., int] = method.advance[dtype]

    def advance(self, marks: np.ndarray, done: int, due: int, tolerance: float, evaluations: int) -> int:
        """Go on in compiled code, without the interpreter's lock."""
        arrays = *vars(self.state).values(), *self._problem
        return self._advance(*self._functions, *arrays, marks, done, due, tolerance, evaluations)

    @property
    def iterate(self) -> np.ndarray:
        """The parameters, which a search leaves behind its trials."""
        state = self.state
        return state.vectors[: len(state.point)] if state.numbers[method.WALKS] else state.point


def prepare(name: str, dtype: np.dtype) -> None:
    """Compile what a method needs, or find it in the cache: seconds, once on a machine, and no time of training."""
    if name in ("least_squares", "variable_projection", "levenberg_marquardt"):
        entries: list[Entry[Any]] = [method.write_note, residuals, linearise, marquardt.propose_marquardt]
    elif name in _PROPOSE:
        entries = [method.advance, _PROPOSE[name], first_order.take]
    else:
        limited = quasi_newton.propose_limited, quasi_newton.take_limited
        dense = quasi_newton.propose_dense, quasi_newton.take_dense
        entries = [method.advance, *(limited if name == "lbfgs" else dense)]
    for one in (objective, *entries):
        one[dtype]


_PROPOSE = {
    "sgd": first_order.propose_momentum,
    "adam": first_order.propose_adam,
    "adamw": first_order.propose_adam,
    "muon": muon.propose_muon,
    "soap": soap.propose_soap,
}
_FAMILY = {"bfgs": quasi_newton.BFGS, "ssbfgs": quasi_newton.SSBFGS, "ssbroyden": quasi_newton.SSBROYDEN}
_Made = tuple[Any, Any, np.ndarray, np.ndarray]  # propose, take, numbers, vectors


def _first_order(network: Shape, settings: Settings, count: int, dtype: np.dtype) -> _Made:
    """Return a method that evaluates each iterate once."""
    name, width = settings.optimizer, lanes(dtype)
    numbers = np.zeros(max(muon.END, soap.END))
    least = float(np.finfo(dtype).tiny) ** 0.9
    numbers[first_order.RATE : first_order.END] = (
        *(settings.learning_rate, settings.final_learning_rate or 0.0, SCHEDULES.index(settings.schedule)),
        *(settings.steps, settings.beta1 or 0.0, settings.beta2 or 0.0, settings.epsilon or 0.0),
        *(settings.weight_decay or 0.0, 1.0, 1.0, least),
    )
    if name == "sgd":
        numbers[first_order.FIRST], numbers[first_order.SECOND] = settings.momentum or 0.0, bool(settings.nesterov)
        size = count
    elif name == "muon":
        tiniest = float(np.finfo(dtype).tiny) ** 0.5
        numbers[muon.MOMENTUM : muon.END] = settings.momentum or 0.0, bool(settings.nesterov), tiniest
        size = muon.VECTORS * count + muon.room(network.widths, width)
    elif name == "soap":
        numbers[soap.REFRESH] = settings.refresh or 1
        size = soap.size(network.widths, width)
    else:
        size = 2 * count
    vectors = aligned(size, dtype)
    for at, side, row, _ in soap.starts(network.widths, width) if name == "soap" else []:
        vectors[at : at + side * row].reshape(side, row)[:, :side] = np.eye(side)
    return _PROPOSE[name], first_order.take, numbers, vectors


def _searching(network: Shape, settings: Settings, count: int, dtype: np.dtype) -> _Made:
    """Return a method with a line search."""
    numbers = np.zeros(quasi_newton.END)
    numbers[line_search.FRESH] = numbers[line_search.BLANK] = numbers[quasi_newton.SCALE] = 1.0
    numbers[line_search.UNIT] = np.finfo(dtype).eps
    if settings.optimizer == "lbfgs":
        memory = settings.memory or 1
        numbers[quasi_newton.MEMORY] = memory
        size = (line_search.VECTORS + 2 * memory) * count + 2 * memory
        return quasi_newton.propose_limited, quasi_newton.take_limited, numbers, aligned(size, dtype)
    numbers[quasi_newton.KIND], numbers[quasi_newton.PARAMETERS] = _FAMILY[settings.optimizer], network.parameters
    vectors = aligned(quasi_newton.DENSE * count + count * count, dtype)
    vectors[quasi_newton.DENSE * count :: count + 1] = 1  # the identity
    return quasi_newton.propose_dense, quasi_newton.take_dense, numbers, vectors


class Stepwise(Method):
    """A method whose steps are so long that Python may stand between them.

    Subclasses evaluate the iterate (`_evaluate`: the loss) and leave it (`_move`: whether there is another).
    """

    def __init__(self, network: Shape, problem: Problem, settings: Settings, start: np.ndarray, numbers: int) -> None:
        self.network, self.problem, self.settings = network, problem, settings
        self.state = State.at(start, np.zeros(numbers), np.zeros(0, dtype=start.dtype))
        self._note = method.write_note[start.dtype]

    @abstractmethod
    def _evaluate(self) -> float: ...

    @abstractmethod
    def _move(self) -> bool: ...

    def advance(self, marks: np.ndarray, done: int, due: int, tolerance: float, evaluations: int) -> int:
        """Go on as `kernels.method.advance` does."""
        state, numbers = self.state, self.state.numbers
        for _ in range(max(1, evaluations // 4)):  # a step takes several
            if numbers[method.TAKEN]:
                if not self._move():
                    return method.SETTLED
                numbers[method.TAKEN] = 0
            numbers[method.LOSS] = self._evaluate()
            numbers[method.TAKEN] = 1
            numbers[method.EVALUATIONS] += 1
            if not np.isfinite(numbers[method.LOSS]):
                return method.DIVERGED
            self._note(numbers, state.vectors, state.point, state.best, state.losses, marks)
            if numbers[method.STEPS] >= due:
                return method.DUE
            if numbers[method.LOSS] <= tolerance:
                return method.WITHIN
        return method.PAUSED

    @property
    def slope(self) -> float:
        """The largest component of the gradient at the iterate, which takes a pass of its own."""
        point, gradient = self.state.point, self.state.gradient
        objective[point.dtype](point, gradient, *self.problem.arrays, 0)
        return float(np.abs(gradient).max())


@final
class LevenbergMarquardt(Stepwise):
    """See `kernels.marquardt`."""

    def __init__(self, network: Shape, problem: Problem, settings: Settings, start: np.ndarray) -> None:
        super().__init__(network, problem, settings, start, marquardt.END)
        numbers, dtype = self.state.numbers, start.dtype
        numbers[marquardt.DAMPING], numbers[marquardt.UNIT] = marquardt.INITIAL, np.finfo(dtype).eps
        numbers[marquardt.SQUARE] = problem.mean_square_value
        self._places = places(network.parameters, problem.samples, lanes(dtype))
        self._room, self._trial = aligned(int(self._places[-1]), dtype), aligned(len(self.state.point), dtype)
        self._residuals, self._linearise = residuals[dtype], linearise[dtype]
        self._propose, self._there = marquardt.propose_marquardt[dtype], False

    def _evaluate(self) -> float:
        self._there = True
        return self._linearise(self.state.point, self._room, self._places, *self.problem.arrays)

    def _move(self) -> bool:
        if not self._there:  # taken up again: the room is not saved
            self._evaluate()
        state = self.state
        arrays = state.point, self._trial, *self.problem.arrays, self._room, self._places
        return not self._propose(self._residuals, state.numbers, *arrays)


def block_of(network: Shape, settings: Settings, samples: int) -> int | None:
    """Return how many samples a method must have in one block; None if it is the same to it."""
    name = settings.optimizer
    dual = name == "levenberg_marquardt" and network.parameters > samples
    return samples if dual or name in ("least_squares", "variable_projection") else None
