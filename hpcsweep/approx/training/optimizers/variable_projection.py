"""Variable projection: Levenberg-Marquardt on the hidden layers, the last one always solved for.

Golub and Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems whose variables
separate" (1973), with the Jacobian of Kaufman, "A variable projection method for solving separable nonlinear least
squares problems" (1975): that of the hidden layers, projected off the features. Few small networks get as far; with
two hidden layers it is less dependable than Levenberg-Marquardt on all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from hpcsweep.approx.training.operations.engine import Engine
from hpcsweep.approx.training.operations.least_squares import truncated
from hpcsweep.approx.training.operations.passes import Passes
from hpcsweep.approx.training.optimizers.damping import TRIALS, Damped, noise
from hpcsweep.approx.training.optimizers.optimizer import Number, Optimizer

_SMALLEST = 1e-13  # singular value of the features that counts, relative to the largest


@final
@dataclass(frozen=True)
class VariableProjection(Optimizer):
    """One step tries two dampings and takes the better one if it descends. There is no learning rate."""

    def init(self, engine: Passes) -> Damped:
        """Return the initial damping; nothing is evaluated.

        Raises
        ------
        ValueError : for networks without a hidden layer: there is nothing to iterate
        """
        assert isinstance(engine, Engine)  # whose layers are known, as `suit` has seen to
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
    residuals = engine.weighted(engine.jacobian(whole))
    along = engine.weighted(whole, out=whole)[:, : out.shape[1]]
    torch.baddbmm(along, torch.bmm(along, basis.mT), basis, alpha=-1, out=out)
    return residuals


def _solve_last_layer(engine: Engine, loss: Tensor) -> Tensor:
    """Put the best last layer into the weights, the loss with it into `loss`; return the basis of `truncated`."""
    engine.forward()
    features, values = engine.weighted(engine.features), engine.weighted(engine.values)[:, 0]
    coefficients, basis = truncated(features, values, _SMALLEST)
    engine.layout.blocks(engine.weights)[-1].copy_(coefficients.unsqueeze(1))
    engine.loss(loss)
    return basis


def _moved(start: Tensor, step: Tensor) -> Tensor:
    """Return rows (slots, parameters) whose first columns are moved by -step (slots, hidden parameters)."""
    moved = start.clone()
    moved[:, : step.shape[1]] -= step
    return moved
