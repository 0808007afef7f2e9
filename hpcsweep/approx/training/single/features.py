"""Methods that solve for the last layer of one network: random features, and variable projection.

What they are is told in `optimizers.least_squares` and `optimizers.variable_projection`. Decompositions are LAPACK's,
by torch, whose threads are under control.
"""

from __future__ import annotations

import math
from typing import final

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.kernels import method
from hpcsweep.approx.kernels.marquardt import AFTER_FAILURE, FACTORS, HIGHEST, INITIAL, LOWEST, PATIENCE
from hpcsweep.approx.kernels.problem import Problem, Shape, lanes
from hpcsweep.approx.kernels.residuals import COLUMNS, RESIDUAL, linearise, places, residuals
from hpcsweep.approx.training.operations.least_squares import solve, truncated
from hpcsweep.approx.training.settings import Settings
from hpcsweep.approx.training.single.methods import Stepwise

_SMALLEST = 1e-13  # singular value of the features that counts, relative to the largest
_DAMPING, _STALLED, _END = range(method.OWN, method.OWN + 3)


class _Solving(Stepwise):
    """What both have in common: the last layer, its inputs, and values."""

    def __init__(self, network: Shape, problem: Problem, settings: Settings, start: np.ndarray) -> None:
        super().__init__(network, problem, settings, start, _END)
        self._width = network.widths[-2] + 1
        self._last = slice(network.parameters - self._width, network.parameters)
        self._residuals = residuals[start.dtype]
        self._at = places(network.parameters, problem.samples, lanes(start.dtype))
        self._out = np.zeros(int(self._at[COLUMNS]), dtype=start.dtype)
        self._values = problem.values

    def _evaluate(self) -> float:
        return self._loss(self.state.point)

    def _loss(self, point: np.ndarray) -> float:
        """Return the mean square, and leave the inputs of the last layer in the work."""
        return self._residuals(point, self._out, 0, *self.problem.arrays)

    def _features(self, point: np.ndarray) -> np.ndarray:
        """Return the inputs of the last layer (width, samples), ones last."""
        self._loss(point)
        features = self.problem.signals(len(self.network.widths) - 2, self._width)
        return features.copy()


@final
class LeastSquares(_Solving):
    """One step and settled: scales the first of several layers, minimises over the last."""

    def _move(self) -> bool:
        state = self.state
        if state.steps:
            return False
        point, scale = state.point, self.settings.feature_scale or 0.0
        inputs, outputs = self.network.widths[:2]
        if len(self.network.widths) > 2 and scale > 0:
            first = point[: outputs * (inputs + 1)]
            with np.errstate(invalid="ignore"):  # what is infinite becomes NaN, and the loss says so
                first *= scale / math.sqrt(float(np.square(first).mean()) * inputs)
        features = torch.from_numpy(self._features(point)).unsqueeze(0)
        point[self._last] = solve(features, torch.from_numpy(self._values).unsqueeze(0))[0].numpy()
        state.numbers[method.STEPS] += 1
        return True


@final
class VariableProjection(_Solving):
    """One step tries two dampings and takes the better one if it descends.

    Raises
    ------
    ValueError : for networks without a hidden layer: there is nothing to iterate
    """

    def __init__(self, network: Shape, problem: Problem, settings: Settings, start: np.ndarray) -> None:
        if len(network.widths) == 2:
            raise ValueError("variable projection needs a hidden layer")
        super().__init__(network, problem, settings, start)
        self.state.numbers[_DAMPING] = INITIAL
        self._linearise = linearise[start.dtype]
        self._room = np.zeros(int(self._at[-1]), dtype=start.dtype)

    def _move(self) -> bool:
        """Move to the better trial where it descends; solve for the last layer in any case."""
        numbers, point = self.state.numbers, self.state.point
        if numbers[_STALLED] >= PATIENCE or numbers[_DAMPING] >= HIGHEST:
            return False
        lowest, basis = self._solved(point)
        jacobian, misfit = self._projected(point, basis)
        gram, uphill = jacobian @ jacobian.mT, jacobian @ misfit
        best, won, end = math.inf, 0.0, point
        for factor in FACTORS:
            damping = min(max(factor * numbers[_DAMPING], LOWEST), HIGHEST)
            trial = self._trial(point, gram, uphill, damping)
            loss = math.inf if trial is None else self._solved(trial)[0]
            if trial is not None and loss < best:
                best, won, end = loss, damping, trial
        if best < lowest:
            point[:] = end
        numbers[_DAMPING] = won if best < lowest else min(AFTER_FAILURE * numbers[_DAMPING], HIGHEST)
        noise = 20 * np.finfo(point.dtype).eps * math.sqrt(lowest * self.problem.mean_square_value)
        numbers[_STALLED] = 0 if lowest - best > noise else numbers[_STALLED] + 1
        numbers[method.STEPS] += 1
        return True

    def _solved(self, point: np.ndarray) -> tuple[float, Tensor]:
        """Put the best last layer into a point; return the loss with it, and the basis of `truncated`."""
        features, values = torch.from_numpy(self._features(point)), torch.from_numpy(self._values)
        coefficients, basis = truncated(features.unsqueeze(0), values.unsqueeze(0), _SMALLEST)
        point[self._last] = coefficients[0].numpy()
        return self._loss(point), basis[0]

    def _projected(self, point: np.ndarray, basis: Tensor) -> tuple[Tensor, Tensor]:
        """Return the Jacobian of the hidden layers (parameters, samples) projected off the basis, and the residuals."""
        columns, samples = int(self._at[COLUMNS]), self.problem.samples
        self._linearise(point, self._room, self._at, *self.problem.arrays)
        whole = torch.from_numpy(self._room[: self._last.start * columns].reshape(-1, columns)[:, :samples])
        residual = torch.from_numpy(self._room[self._at[RESIDUAL] :][:samples].copy())
        return whole - (whole @ basis.mT) @ basis, residual

    def _trial(self, point: np.ndarray, gram: Tensor, uphill: Tensor, damping: float) -> np.ndarray | None:
        """Return the point after a damped step of the hidden layers; None where there is none."""
        damped = gram + damping * gram.trace() / len(gram) * torch.eye(len(gram), dtype=gram.dtype)
        step, failed = torch.linalg.solve_ex(damped, uphill)
        if failed:
            return None
        trial = point.copy()
        trial[: len(step)] -= step.numpy()
        return trial
