"""Variable projection: Levenberg-Marquardt on the hidden layers, the last one always solved for.

Golub and Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems whose variables
separate" (1973), with the Jacobian of Kaufman, "A variable projection method for solving separable nonlinear least
squares problems" (1975): that of the hidden layers, projected off the features. Few small networks get as far; with
two hidden layers it is less dependable than Levenberg-Marquardt on all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.kernels import iteration
from hpcsweep.approx.kernels.residuals import COLUMNS, RESIDUAL, linearise, places, residuals
from hpcsweep.approx.kernels.updates.marquardt import AFTER_FAILURE, FACTORS, HIGHEST, INITIAL, LOWEST, PATIENCE
from hpcsweep.approx.training.operations.engine import Engine
from hpcsweep.approx.training.operations.linear_least_squares import truncated
from hpcsweep.approx.training.operations.passes import Passes
from hpcsweep.approx.training.optimizers import cost_units
from hpcsweep.approx.training.optimizers.damping import TRIALS, Damped, noise
from hpcsweep.approx.training.optimizers.optimizer import Needs, Number, Optimizer
from hpcsweep.approx.training.optimizers.registry import register
from hpcsweep.approx.training.single.last_layer import LastLayerMethod
from hpcsweep.approx.training.single.methods import Start

_SMALLEST = 1e-13  # singular value of the features that counts, relative to the largest
_DAMPING, _STALLED, _END = range(iteration.OWN, iteration.OWN + 3)


@final
class Alone(LastLayerMethod):
    """The training of one network.

    Raises
    ------
    ValueError : for networks without a hidden layer: there is nothing to iterate
    """

    def __init__(self, start: Start) -> None:
        if len(start.network.widths) == 2:
            raise ValueError("variable projection needs a hidden layer")
        super().__init__(start, _END)
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
        numbers[iteration.STEPS] += 1
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


@final
@register("variable_projection")
@dataclass(frozen=True)
class VariableProjection(Optimizer):
    """One step tries two dampings and takes the better one if it descends. There is no learning rate."""

    needs: ClassVar = Needs(all_samples=True, squares=True, rate=False, features=True)
    is_fine: ClassVar = True
    kernels: ClassVar = (iteration.write_note, residuals, linearise)

    def cost(self, widths: cost_units.Widths, samples: int, steps: int) -> cost_units.StepCost:
        """Return three singular value decompositions, two solutions of all else."""
        width = widths[-2] + 1
        size = cost_units.size(widths) - width
        room = int(places(size + width, samples, cost_units.LANES)[-1])
        return cost_units.StepCost(
            forwards=4,
            products=size**2 * samples + 2 * size * samples * width,
            others=2.4 * size**3 + 216 * width**2 * samples,
            held=room + 3 * size * samples + 2 * size**2,
            calls=600,
            calls_alone=600,
        )

    def alone(self, start: Start) -> Alone:
        """Return the initial damping.

        Raises
        ------
        ValueError : for networks without a hidden layer: there is nothing to iterate
        """
        return Alone(start)

    def block(self, parameters: int, samples: int) -> int:
        """Return all samples."""
        return samples

    def init(self, engine: Passes) -> Damped:
        """Return the initial damping; nothing is evaluated.

        Raises
        ------
        ValueError : for networks without a hidden layer: there is nothing to iterate
        """
        assert isinstance(engine, Engine)  # whose layers are known, as `check_compatible` has seen to
        hidden = engine.layout.parameters - engine.features.shape[1]
        if hidden == 0:
            raise ValueError("variable projection needs a hidden layer")
        return Damped.begin(engine, hidden)

    def tick(self, engine: Passes, state: Damped, numbers: Sequence[Number], rates: Tensor, loss: Tensor) -> None:
        """Move to the better trial where it descends; solve for the last layer in any case."""
        assert isinstance(engine, Engine)
        damping, equations = state.damping, state.equations
        engine.loss(loss)
        lowest = torch.empty_like(loss)
        basis = _solve_last_layer(engine, lowest)
        start = engine.layout.rows(engine.weights)  # (slots, parameters)
        residuals = _differentiate(engine, basis, equations.jacobian).repeat(1, TRIALS, 1)  # (slots, 2, samples)
        equations.multiply()
        usable = equations.factor(damping.tried())
        steps = equations.solve(residuals)  # (slots, 2, hidden parameters), uphill
        losses, ends = loss.new_empty((TRIALS, len(loss))), []
        for trial in range(TRIALS):
            engine.layout.fill(engine.weights, _moved(start, steps[:, trial]))
            _solve_last_layer(engine, losses[trial])
            ends.append(engine.layout.rows(engine.weights))
        losses = torch.where(usable, losses.T, torch.inf)
        accepted, larger = damping.adapt(losses, lowest, noise(lowest, engine.values))
        end = torch.where(larger.unsqueeze(1), ends[1], ends[0])
        engine.layout.fill(engine.weights, torch.where(accepted.unsqueeze(1), end, start))

    def settled(self, engine: Passes, state: Damped) -> Tensor:
        """Return which slots will get no further, (slots,) bool."""
        return state.damping.ended()


def _differentiate(engine: Engine, basis: Tensor, out: Tensor) -> Tensor:
    """Write the projected Jacobian of the hidden layers into `out`; return the residuals (slots, 1, samples)."""
    whole = out.new_empty((len(out), engine.layout.parameters, engine.samples))
    residuals = engine.jacobian(whole)
    along = whole[:, : out.shape[1]]
    torch.baddbmm(along, torch.bmm(along, basis.mT), basis, alpha=-1, out=out)
    return residuals


def _solve_last_layer(engine: Engine, loss: Tensor) -> Tensor:
    """Put the best last layer into the weights, the loss with it into `loss`; return the basis of `truncated`."""
    engine.forward()
    features, values = engine.features, engine.values[:, 0]
    coefficients, basis = truncated(features, values, _SMALLEST)
    engine.layout.blocks(engine.weights)[-1].copy_(coefficients.unsqueeze(1))
    engine.loss(loss)
    return basis


def _moved(start: Tensor, step: Tensor) -> Tensor:
    """Return rows (slots, parameters) whose first columns are moved by -step (slots, hidden parameters)."""
    moved = start.clone()
    moved[:, : step.shape[1]] -= step
    return moved
