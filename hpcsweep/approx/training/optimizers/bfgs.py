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
from typing import final

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.training.optimizers.optimizer import Optimizer
from hpcsweep.approx.training.optimizers.walk import FLAT, Move, Walk
from hpcsweep.approx.training.passes import Passes

_LARGEST_LOGARITHM = 40  # of the scale
_UPDATES = 8  # so many at once


# From b = s'Bs / s'y and h = y'Hy / s'y, (slots,) each, and the number of parameters to the scaling tau and to the
# member phi of Broyden's family (1 is BFGS, 0 is DFP).
Family = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]


@dataclass
class Inverse:
    """The state: scale * (matrix + weighted' * vectors) approximates the inverse Hessian.

    Time goes into passes over the matrix, which is larger than a cache. So it is scaled by a number beside it, and
    updates wait until there are enough of them in a slot for one pass: each tick then reads the matrix once.

    Attributes
    ----------
    walk : the iterates
    matrix : (slots, parameters, parameters)
    vectors, weighted : (slots, updates, 2, parameters), updates that wait
    waiting : (slots,) int64 on the CPU, how many
    scale : (slots,) float64 on the CPU
    blank : (slots,) bool on the CPU: knows nothing yet, the matrix is the identity
    """

    walk: Walk
    matrix: Tensor
    vectors: Tensor
    weighted: Tensor
    waiting: Tensor
    scale: Tensor
    blank: Tensor

    @staticmethod
    def begin(engine: Passes) -> Inverse:
        """Return the identity for every slot."""
        walk = Walk.begin(engine)
        slots, parameters = walk.weights.shape
        matrix = torch.eye(parameters).to(walk.weights).repeat(slots, 1, 1)
        vectors, weighted = walk.weights.new_zeros((2, slots, _UPDATES, 2, parameters))
        blank = torch.ones(slots, dtype=torch.bool)
        return Inverse(walk, matrix, vectors, weighted, (~blank).long(), blank.double(), blank)

    def product(self, rows: Tensor) -> Tensor:
        """Return rows (slots, any, parameters) times the matrix with its updates, without the scale."""
        vectors, weighted = self.vectors.flatten(1, 2), self.weighted.flatten(1, 2)
        return torch.baddbmm(torch.bmm(rows, self.matrix), torch.bmm(rows, weighted.transpose(1, 2)), vectors)

    def add(self, weighted: Tensor, vectors: Tensor, where: np.ndarray) -> None:
        """Add weighted' * vectors, each (slots, 2, parameters), to the matrices; zero except `where` (slots,)."""
        slots, place = torch.arange(len(where)).to(vectors.device), self.waiting.to(vectors.device)
        self.vectors[slots, place] = vectors
        self.weighted[slots, place] = weighted
        waiting = self.waiting.numpy()
        waiting += where
        for slot in np.flatnonzero(waiting == _UPDATES).tolist():
            self.matrix[slot].addmm_(self.weighted[slot].flatten(0, 1).T, self.vectors[slot].flatten(0, 1))
            self.weighted[slot].zero_()
            waiting[slot] = 0

    def rescale(self) -> None:
        """Multiply scales into matrices where they leave the range of good arithmetic."""
        for slot in np.flatnonzero(np.abs(np.log(self.scale.numpy())) > _LARGEST_LOGARITHM).tolist():
            for factor in (self.matrix[slot], self.weighted[slot]):
                factor.mul_(self.scale[slot].to(factor))
            self.scale[slot] = 1

    def reset(self, where: np.ndarray) -> None:
        """Set the inverse Hessian of some slots to the identity."""
        for slot in np.flatnonzero(where).tolist():
            self.matrix[slot].zero_().fill_diagonal_(1)
            self.vectors[slot], self.weighted[slot], self.waiting[slot] = 0, 0, 0
            self.scale[slot], self.blank[slot] = 1, True


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


@final
@dataclass(frozen=True)
class QuasiNewton(Optimizer):
    """Iterates along minus the inverse Hessian times the gradient, as far as a line search says.

    Attributes
    ----------
    family : "bfgs": Broyden, Fletcher, Goldfarb and Shanno's; the matrix is scaled at the first step with curvature.
        "ssbfgs": that, enlarged before each update where it underestimates the inverse curvature along the step.
        "ssbroyden": self-scaled, with the member of Broyden's family chosen anew at each step
    """

    family: str = "bfgs"

    def init(self, engine: Passes) -> Inverse:
        return Inverse.begin(engine)

    @np.errstate(all="ignore")
    def step(self, engine: Passes, state: Inverse, count: int, rates: Tensor, loss: Tensor) -> Tensor:
        """Do one tick; return which slots have a new iterate."""
        walk = state.walk
        move = walk.observe(engine, loss)
        walk.weary(move, state)
        direction = _update(state, move, _FAMILIES[self.family])
        walk.launch(engine, move.ready, direction, state)
        return torch.from_numpy(move.accepted)

    def iterate(self, engine: Passes, state: Inverse) -> Tensor:
        return state.walk.flat(engine)

    def settled(self, engine: Passes, state: Inverse) -> Tensor:
        return torch.from_numpy(state.walk.settled)


def _update(state: Inverse, move: Move, family: Family) -> Tensor:
    """Update the inverse Hessian where an iterate was accepted; return minus its product with the gradients.

    The update is (H - Hy y'H / y'Hy + phi y'Hy v v') / tau + s s' / s'y with v = s / s'y - Hy / y'Hy: of rank two, and
    so is what it adds to the product Hg, which is formed together with Hy in one pass over the matrix.
    """
    walk, scale = state.walk, state.scale.numpy()
    rows = torch.stack([move.step, move.change, walk.gradient], 1)  # (slots, 3, parameters): s, y, g
    images = state.product(rows[:, 1:])  # Hy, Hg without the scale
    products = torch.bmm(rows, torch.cat([rows, images], 1).transpose(1, 2)).double().cpu().numpy().transpose(1, 2, 0)
    curvature, squares = products[1, 0], products[1, 1]  # y's, y'y
    good = move.accepted & (curvature > FLAT * np.sqrt(products[0, 0] * squares))
    first = good & state.blank.numpy()
    np.copyto(scale, curvature / squares, where=first)
    np.copyto(state.blank.numpy(), False, where=good)
    core, tau, image = _coefficients(products, scale, walk.search.steps, first, good, family, rows.shape[2])
    scale /= tau
    update = torch.cat([rows[:, :1], images[:, :1]], 1)  # s, Hy
    state.add(torch.bmm(_like(rows, core / scale), update), update, good)
    state.rescale()
    return torch.bmm(_like(rows, -image), torch.cat([rows[:, :1], images], 1))[:, 0]


def _coefficients(
    products: np.ndarray,
    scale: np.ndarray,
    steps: np.ndarray,
    first: np.ndarray,
    good: np.ndarray,
    family: Family,
    parameters: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the update as numbers: nothing where not `good`.

    Parameters
    ----------
    products : (3, 5, slots) of s, y, g with s, y, g, Hy, Hg; H without the scale
    steps : (slots,) of the line search

    Returns
    -------
    core : (2, 2, slots), the update is core[i, j] u_i u_j' of u = s, Hy, H without the scale
    tau : (slots,) the scale is to be divided by it
    image : (1, 3, slots), the new Hg in terms of s, Hy, Hg
    """
    (step, *_), (curvature, _, _, seen, _), (slope, _, _, across, _) = products  # s's; y's, y'Hy; g's, g'Hy
    seen, across = seen * scale, across * scale
    expected = np.where(first, step / scale, -steps * (slope - curvature))  # s'Bs, as Bs = -a g before the step
    tau, phi = family(expected / curvature, seen / curvature, parameters)
    sound = good & np.isfinite(tau) & (tau > 0) & np.isfinite(phi)
    tau, phi = np.where(sound, tau, 1), np.where(sound, phi, 1)
    on_step = phi * seen / (tau * curvature**2) + 1 / curvature
    mixed, on_image = -phi / (tau * curvature), (phi - 1) / (tau * seen)
    core = np.array([[on_step, mixed * scale], [mixed * scale, on_image * scale**2]])
    image = np.array([on_step * slope + mixed * across, (mixed * slope + on_image * across) * scale, scale / tau])
    image[:2] = np.where(good, image[:2], 0)
    return np.where(good, core, 0), tau, image[np.newaxis]


def _like(rows: Tensor, numbers: np.ndarray) -> Tensor:
    """Return numbers (..., slots) of the host as a tensor (slots, ...) of the dtype and on the device of `rows`."""
    return torch.from_numpy(numbers).movedim(-1, 0).contiguous().to(rows)
