"""Quasi-Newton methods that keep a dense inverse Hessian: BFGS, and two that scale it themselves.

Nocedal and Wright, "Numerical optimization", 2nd edition, chapter 6. The scaled ones are those of Al-Baali, "Global and
superlinear convergence of a restricted class of self-scaling methods with inexact line searches, for convex functions",
Comput. Optim. Appl. 9 (1998), in the form of Urban, Stefanou and Pons, "Unveiling the optimization process of physics
informed neural networks: how accurate and competitive can PINNs be?", J. Comput. Phys. 523 (2025): on small networks
their errors are smaller by orders of magnitude than those of BFGS after as many iterates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.kernels import iteration
from hpcsweep.approx.kernels.problem import aligned
from hpcsweep.approx.kernels.updates import quasi_newton
from hpcsweep.approx.kernels.updates.line_search import FLAT
from hpcsweep.approx.training.operations.passes import Passes
from hpcsweep.approx.training.optimizers import cost_units
from hpcsweep.approx.training.optimizers.optimizer import Needs, Optimizer
from hpcsweep.approx.training.optimizers.registry import register
from hpcsweep.approx.training.optimizers.search_state import BatchedQuasiNewton, Curvature, QuasiNewtonStep, SearchState
from hpcsweep.approx.training.single.methods import Compiled, Start, quasi_newton_numbers

# From b = s'Bs / s'y and h = y'Hy / s'y, (slots,) each, and the number of parameters to the scaling tau and to the
# member phi of Broyden's family (1 is BFGS, 0 is DFP).
Family = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]


@dataclass
class Inverse(Curvature):
    """The state.

    Attributes
    ----------
    those of `Curvature`, and
    matrix : (slots, parameters, parameters), approximates the inverse Hessian; the identity where nothing is known
    family : the member of Broyden's family, and the scaling
    """

    matrix: Tensor
    family: Family

    def product(self, rows: Tensor) -> Tensor:
        """Return rows (slots, parameters) times the matrix."""
        return torch.bmm(rows.unsqueeze(1), self.matrix)[:, 0]

    def reset(self, where: np.ndarray) -> None:
        """Set the inverse Hessian of some slots to the identity."""
        for slot in np.flatnonzero(where).tolist():
            self.matrix[slot].zero_().fill_diagonal_(1)
            self.blank[slot] = True

    def update(self, step: QuasiNewtonStep) -> None:
        """Update the inverse Hessian where an iterate was accepted, if its step has curvature.

        To (H - Hy y'H / y'Hy + phi y'Hy v v') / tau + s s' / s'y with v = s / s'y - Hy / y'Hy: an update of rank two.
        """
        blank, image = self.blank.numpy(), self.product(step.change)
        rows = torch.stack([step.displacement, step.change, self.search.gradient, image], 1)  # s, y, g, Hy
        products = torch.bmm(rows, rows.mT).double().cpu().numpy().T  # one transfer for all of them
        (length, curvature, after, _), (_, squares, _, seen) = products[:2]
        good = step.accepted & (curvature > FLAT * np.sqrt(length * squares))
        first = good & blank
        np.copyto(blank, False, where=good)
        factor = np.where(first, curvature / squares, 1)  # of the matrix, from here on also in Hy
        seen = factor * seen
        # s'Bs, as Bs = -a g before the step.
        expected = np.where(first, length / factor, -self.search.line_search.steps * (after - curvature))
        tau, phi = self.family(expected / curvature, seen / curvature, image.shape[1])
        sound = good & np.isfinite(tau) & (tau > 0) & np.isfinite(phi)
        tau, phi = np.where(sound, tau, 1), np.where(sound, phi, 1)
        on_step = phi * seen / (tau * curvature**2) + 1 / curvature
        mixed, on_image = -phi * factor / (tau * curvature), (phi - 1) * factor**2 / (tau * seen)
        core = np.where(good, np.array([[on_step, mixed], [mixed, on_image]]), 0)  # (2, 2, slots)
        pair = rows[:, ::3]  # s, Hy
        self.matrix.mul_(_like(pair, factor / tau).view(-1, 1, 1))
        self.matrix.baddbmm_(torch.bmm(_like(pair, core), pair).mT, pair)

    def direction(self) -> Tensor:
        """Return minus the gradients times the matrix, (slots, parameters)."""
        return -self.product(self.search.gradient)


def _unscaled(b: np.ndarray, h: np.ndarray, parameters: int) -> tuple[np.ndarray, np.ndarray]:
    return np.ones_like(b), np.ones_like(b)


def _self_scaled(b: np.ndarray, h: np.ndarray, parameters: int) -> tuple[np.ndarray, np.ndarray]:
    return np.minimum(1, 1 / b), np.ones_like(b)


def _self_scaled_broyden(b: np.ndarray, h: np.ndarray, parameters: int) -> tuple[np.ndarray, np.ndarray]:
    """Return tau and phi of Al-Baali's choice; `a` vanishes where the step is an eigenvector of what is known."""
    a = np.maximum(h * b - 1, 1e-300)
    rho = np.minimum(1, h * (1 - np.sqrt(a / (1 + a))))
    theta = np.maximum((rho - 1) / a, np.minimum(1 / rho, (1 - b) / b))
    sigma = 1 + a * theta
    root = np.exp(np.log(np.abs(sigma)) / (1 - max(parameters, 2)))
    largest = np.minimum(1, 1 / b)
    tau = np.where(theta > 0, largest * np.minimum(root, 1 / theta), np.minimum(largest * root, sigma))
    return tau, (1 - theta) / sigma


_FAMILIES: Mapping[str, Family] = {"bfgs": _unscaled, "ssbfgs": _self_scaled, "ssbroyden": _self_scaled_broyden}
_KINDS = {"bfgs": quasi_newton.BFGS, "ssbfgs": quasi_newton.SSBFGS, "ssbroyden": quasi_newton.SSBROYDEN}
_CACHE = 32 << 20  # bytes of a triangle beyond which a pass over it waits for memory


@final
@register("ssbroyden", family="ssbroyden")
@register("ssbfgs", family="ssbfgs")
@register("bfgs", family="bfgs")
@dataclass(frozen=True)
class QuasiNewton(BatchedQuasiNewton, Optimizer):
    """Iterates along minus the inverse Hessian times the gradient, as far as a line search says.

    Attributes
    ----------
    family : "bfgs": Broyden, Fletcher, Goldfarb and Shanno's; the matrix is scaled at the first step with curvature.
        "ssbfgs": that, enlarged before each update where it underestimates the inverse curvature along the step.
        "ssbroyden": self-scaled, with the member of Broyden's family chosen anew at each step
    """

    family: str = "bfgs"

    needs: ClassVar = Needs(all_samples=True, rate=False)
    is_fine: ClassVar = True
    kernels: ClassVar = (iteration.advance, quasi_newton.propose, quasi_newton.take)

    def cost(self, widths: cost_units.Widths, samples: int, steps: int) -> cost_units.StepCost:
        """Return a pass over the lower triangle of the inverse Hessian an iterate."""
        size = cost_units.size(widths)
        entry = 7.7 if 4 * size**2 <= _CACHE else 16.0
        held = size**2 + quasi_newton.DENSE * size
        others = (entry / 2 - 1) * size**2 + 90 * size
        return cost_units.StepCost(cost_units.SEARCH, products=size**2, others=others, held=held, calls=550)

    def alone(self, start: Start) -> Compiled:
        """Return the identity as the inverse Hessian."""
        numbers, count = quasi_newton_numbers(start, _KINDS[self.family]), start.count
        vectors = aligned(quasi_newton.DENSE * count + count * count, start.dtype)
        vectors[quasi_newton.DENSE * count :: count + 1] = 1  # the identity
        return Compiled(self.kernels[1:], start, numbers, vectors)

    def init(self, engine: Passes) -> Inverse:
        search = SearchState.begin(engine)
        slots, parameters = search.weights.shape
        identity = torch.eye(parameters).to(search.weights).repeat(slots, 1, 1)
        return Inverse(search, torch.ones(slots, dtype=torch.bool), identity, _FAMILIES[self.family])


def _like(rows: Tensor, numbers: np.ndarray) -> Tensor:
    """Return numbers (..., slots) of the host as a tensor (slots, ...) of the dtype and on the device of `rows`."""
    return torch.from_numpy(numbers).movedim(-1, 0).contiguous().to(rows)
