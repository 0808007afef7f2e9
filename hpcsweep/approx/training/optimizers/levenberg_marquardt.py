"""Levenberg-Marquardt with geodesic acceleration.

Transtrum and Sethna, "Improvements to the Levenberg-Marquardt algorithm for nonlinear least-squares minimization"
(2012, arXiv:1201.5885): the step follows the geodesic to second order, for one more evaluation and one more solution
with the same factor. On networks that is worth two digits or more at equal cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.kernels import iteration
from hpcsweep.approx.kernels.problem import aligned
from hpcsweep.approx.kernels.residuals import linearise, places, residuals
from hpcsweep.approx.kernels.updates import marquardt
from hpcsweep.approx.training.operations.passes import Passes
from hpcsweep.approx.training.optimizers import cost_units
from hpcsweep.approx.training.optimizers.damping import TRIALS, Damped, NormalEquations, noise
from hpcsweep.approx.training.optimizers.optimizer import Needs, Number, Optimizer
from hpcsweep.approx.training.optimizers.registry import register
from hpcsweep.approx.training.single.methods import Start, Stepwise


@final
class Alone(Stepwise):
    """The training of one network; see `kernels.updates.marquardt`."""

    def __init__(self, start: Start) -> None:
        super().__init__(start, marquardt.END)
        numbers, dtype, problem = self.state.numbers, start.dtype, start.problem
        numbers[marquardt.DAMPING], numbers[marquardt.UNIT] = marquardt.INITIAL, np.finfo(dtype).eps
        numbers[marquardt.SQUARE] = problem.mean_square_value
        self._places = places(start.network.parameters, problem.samples, start.lanes)
        self._room, self._trial = aligned(int(self._places[-1]), dtype), aligned(start.count, dtype)
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


@final
@register("levenberg_marquardt")
@dataclass(frozen=True)
class LevenbergMarquardt(Optimizer):
    """One step tries two dampings, each with and without acceleration, and takes the best of the four if it descends.

    Minimises the mean square of the residuals on the samples in the engine. There is no
    learning rate.
    """

    needs: ClassVar = Needs(all_samples=True, squares=True, rate=False)
    is_fine: ClassVar = True
    kernels: ClassVar = (iteration.write_note, residuals, linearise, marquardt.propose_marquardt)

    def cost(self, widths: cost_units.Widths, samples: int, steps: int) -> cost_units.StepCost:
        """Return a Gram matrix, two Cholesky decompositions, six forwards."""
        size = cost_units.size(widths)
        side, dual = min(size, samples), size > samples
        gram = samples**2 * sum(widths) if dual else size**2 * samples / 2
        return cost_units.StepCost(
            forwards=6,
            products=gram + side**3 / 3,
            others=130.0 * side**2 + 30 * size * samples,
            held=int(places(size, samples, cost_units.LANES)[-1]),
            calls=370,
            calls_alone=25,
        )

    def alone(self, start: Start) -> Alone:
        """Return the initial damping."""
        return Alone(start)

    def block(self, parameters: int, samples: int) -> int | None:
        """Return all samples in the dual form, whose matrix couples them."""
        return samples if parameters > samples else None

    def init(self, engine: Passes) -> Damped:
        """Return the initial damping; nothing is evaluated."""
        return Damped.begin(engine, engine.layout.parameters)

    def tick(self, engine: Passes, state: Damped, numbers: Sequence[Number], rates: Tensor, loss: Tensor) -> None:
        """Move to the best trial where it descends; the weights are accepted ones between steps."""
        damping, equations = state.damping, state.equations
        start = engine.layout.rows(engine.weights)  # (slots, parameters)
        residuals = _differentiate(engine, equations, loss)
        usable = equations.factor(damping.tried())
        velocity = equations.solve(residuals).neg_()  # (slots, 2, parameters)
        second = _second_derivative(engine, equations.jacobian, start, residuals, velocity)
        steps, losses = _better(engine, start, velocity, equations.solve(second).mul_(-0.5))
        losses = torch.where(usable, losses, torch.inf)
        accepted, larger = damping.adapt(losses, loss, noise(loss, engine.values))
        step = torch.where(larger.unsqueeze(1), steps[:, 1], steps[:, 0])
        engine.layout.fill(engine.weights, torch.where(accepted.unsqueeze(1), start + step, start))

    def settled(self, engine: Passes, state: Damped) -> Tensor:
        """Return which slots will get no further, (slots,) bool."""
        return state.damping.ended()


def _differentiate(engine: Passes, equations: NormalEquations, loss: Tensor) -> Tensor:
    """Write the normal equations and the loss; return the residuals, a copy per trial (slots, 2, samples)."""
    jacobian, gram = equations.jacobian, equations.gram
    residuals = engine.jacobian(jacobian, gram if equations.dual else None)  # (slots, 1, samples)
    engine.judge(residuals, loss)
    if not equations.dual:
        equations.multiply()
    return residuals.repeat(1, TRIALS, 1)


def _second_derivative(engine: Passes, jacobian: Tensor, start: Tensor, residuals: Tensor, velocity: Tensor) -> Tensor:
    """Return the second derivatives of the residuals along the velocities, (slots, 2, samples).

    By one finite difference each, 2 / h ((r(start + h v) - r) / h - J v): equation 13 of the paper.
    """
    ahead = torch.empty_like(residuals)
    for trial in range(TRIALS):
        engine.layout.fill(engine.weights, torch.add(start, velocity[:, trial], alpha=marquardt.AHEAD_SHARE))
        ahead[:, trial] = engine.forward()[:, 0]
    linear = torch.bmm(velocity, jacobian)
    return ahead.sub_(residuals).div_(marquardt.AHEAD_SHARE).sub_(linear).mul_(2 / marquardt.AHEAD_SHARE)


def _better(engine: Passes, start: Tensor, velocity: Tensor, acceleration: Tensor) -> tuple[Tensor, Tensor]:
    """Return steps (slots, 2, parameters), accelerated where allowed and better, and their losses (slots, 2)."""
    short = 2 * acceleration.norm(dim=2) < marquardt.LARGEST_RATIO * velocity.norm(dim=2)  # false if not finite
    curved = velocity + acceleration
    plain_loss, curved_loss = _losses(engine, start, velocity), _losses(engine, start, curved)
    better = short & ((curved_loss < plain_loss) | ~torch.isfinite(plain_loss))
    steps = torch.where(better.unsqueeze(2), curved, velocity)
    return steps, torch.where(better, curved_loss, plain_loss)


def _losses(engine: Passes, start: Tensor, steps: Tensor) -> Tensor:
    """Return the losses (slots, 2) at start + steps (slots, 2, parameters); leaves the last of them in the weights."""
    losses = start.new_empty((TRIALS, len(start)))
    for trial in range(TRIALS):
        engine.layout.fill(engine.weights, start + steps[:, trial])
        engine.loss(losses[trial])
    return losses.T
