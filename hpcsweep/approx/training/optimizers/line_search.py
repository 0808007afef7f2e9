"""Descent along directions, all slots at once: a line search that is a state machine per slot, and the iterates it moves.

One packed evaluation per tick serves every slot, whatever it is at: no slot waits for another's bracketing. The search
follows Hager and Zhang, "A new conjugate gradient method with guaranteed descent and an efficient line search", SIAM J.
Optim. 16 (2005): the Wolfe conditions, or, where losses differ by no more than their rounding errors, the approximate
ones (their equation 4.1), which ask about slopes only. Points are bracketed by the signs of slopes and located by cubic
interpolation (Nocedal and Wright, "Numerical optimization", 2nd edition, equation 3.59).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from hpcsweep.approx.training.engine import Engine

DECREASE, CURVATURE = 1e-4, 0.9  # the constants of the two Wolfe conditions
EVALUATIONS = 20  # in one search
PATIENCE = 3  # searches in a row that may fail before an optimizer starts afresh; as many more, and it gives up


@dataclass
class Search:
    """Where each slot's search stands.

    Attributes
    ----------
    step : (slots,) the trial, in units of the direction
    origin : (2, slots) loss and slope at step zero
    low : (3, slots) step, loss, slope of the farthest point known to be too near: descending, and not above the origin
    high : (3, slots) the same of the nearest point known to be too far; step and loss are infinite while none is known
    count : (slots,) evaluations so far
    confirming : (slots,) bool: the trial repeats `low` after a search in vain, and is taken
    """

    step: Tensor
    origin: Tensor
    low: Tensor
    high: Tensor
    count: Tensor
    confirming: Tensor

    @staticmethod
    def idle(like: Tensor) -> Search:
        """Return searches that have not begun; dtype, device and slots of `like` (slots,)."""
        zeros, none = torch.zeros_like(like), torch.zeros_like(like, dtype=torch.bool)
        far = torch.full_like(like, torch.inf)
        high = torch.stack([far, far, far])
        return Search(zeros, torch.stack([zeros] * 2), torch.stack([zeros] * 3), high, none.long(), none)

    def begin(self, where: Tensor, loss: Tensor, slope: Tensor, step: Tensor) -> None:
        """Begin anew in the slots `where` from (loss, slope) with the trial `step`; all (slots,)."""
        origin = torch.stack([loss, slope])
        self.step = torch.where(where, step, self.step)
        self.origin = torch.where(where, origin, self.origin)
        self.low = torch.where(where, torch.cat([torch.zeros_like(step).unsqueeze(0), origin]), self.low)
        self.high = self.high.masked_fill(where, torch.inf)
        self.count = self.count.masked_fill(where, 0)
        self.confirming = self.confirming & ~where

    def advance(self, loss: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Take in loss and slope (slots,) at the trials; move these on where neither of the returned is True.

        Returns
        -------
        accepted, failed : (slots,) bool. A search fails that finds nothing in 20 evaluations, or on an interval as
            short as rounding errors, not even a lower point
        """
        finite = torch.isfinite(loss) & torch.isfinite(slope)
        here = torch.where(finite, torch.stack([self.step, loss, slope]), torch.inf)
        here[0] = self.step
        lower, level = self._compare(loss)
        near = finite & (lower | level) & (slope < 0)
        accepted = self.confirming | (finite & self._wolfe(slope, lower, level))
        last, self.low = self.low, torch.where(near, here, self.low)
        self.high = torch.where(near, self.high, here)
        self.count = self.count + 1
        trial, spent = self._next(last)
        spent = (spent | (self.count >= EVALUATIONS)) & ~accepted
        found = (self.low[0] > 0) & (self.low[1] < self.origin[0])
        self.confirming = spent & found
        self.step = torch.where(accepted, self.step, torch.where(self.confirming, self.low[0], trial))
        return accepted, spent & ~found

    def _compare(self, loss: Tensor) -> tuple[Tensor, Tensor]:
        """Return whether a loss has decreased sufficiently, and whether it is that of the origin but for noise."""
        start, slope = self.origin
        # A residual r carries a rounding error of the order of eps, so r^2 one of 2 r eps.
        noise = 1e-10 * start + 20 * torch.finfo(loss.dtype).eps * start.sqrt()
        return loss <= start + DECREASE * self.step * slope, loss <= start + noise

    def _wolfe(self, slope: Tensor, lower: Tensor, level: Tensor) -> Tensor:
        start = self.origin[1]
        return (slope.abs() <= -CURVATURE * start) & (lower | (level & (slope <= (2 * DECREASE - 1) * start)))

    def _next(self, last: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next trial, and whether the interval is exhausted; `last` is the low point before this one."""
        bracketed = torch.isfinite(self.high[0])
        other = torch.where(bracketed, self.high, last)
        left, right = self.low[0], self.high[0]
        width = torch.where(bracketed, right - left, 0)
        guess = torch.where(torch.isfinite(other[1]), cubic(self.low, other), left + 0.1 * width)
        inside = guess.clamp(left + 0.1 * width, right - 0.1 * width)
        beyond = guess.clamp(2 * left, 10 * left)
        short = bracketed & (width <= 50 * torch.finfo(left.dtype).eps * right)
        return torch.where(bracketed, inside, beyond), short


def cubic(one: Tensor, other: Tensor) -> Tensor:
    """Return the minimiser of the cubic through two points (3, slots) of step, loss, slope; their middle without one."""
    (a, f, p), (b, g, q) = one, other
    mean = p + q - 3 * (f - g) / (a - b)
    root = (mean * mean - p * q).sqrt() * torch.sign(b - a)
    guess = b - (b - a) * ((q + root - mean) / (q - p + 2 * root))
    return torch.where(torch.isfinite(guess), guess, (a + b) / 2)


@dataclass
class Move:
    """What one tick brought: rows (slots, parameters), zero where nothing was accepted, and masks (slots,).

    Attributes
    ----------
    step, change : of the iterates and of their gradients
    accepted : a new iterate
    ready : waits for a direction: a new iterate, the first one, or a search that has failed
    """

    step: Tensor
    change: Tensor
    accepted: Tensor
    ready: Tensor


@dataclass
class Walk:
    """Iterates of all slots, and the searches that start from them.

    Attributes
    ----------
    weights, gradient, direction, trial : rows (slots, parameters); the engine evaluates at the trials
    loss : (slots,) at the iterates
    search : along the directions
    fresh : (slots,) bool: not yet evaluated
    failures : (slots,) searches in vain since the last iterate
    settled : (slots,) bool: nowhere to go
    """

    weights: Tensor
    gradient: Tensor
    direction: Tensor
    trial: Tensor
    loss: Tensor
    search: Search
    fresh: Tensor
    failures: Tensor
    settled: Tensor

    @staticmethod
    def begin(engine: Engine) -> Walk:
        """Return walks that start from the engine's weights, before any evaluation."""
        rows = engine.layout.rows(engine.weights)
        loss, none = torch.zeros_like(rows[:, 0]), torch.zeros_like(rows[:, 0], dtype=torch.bool)
        zeros = [torch.zeros_like(rows) for _ in range(2)]
        return Walk(rows, *zeros, rows.clone(), loss, Search.idle(loss), ~none, none.long(), none.clone())

    def forget(self, engine: Engine, slot: int) -> None:
        """Let one slot start afresh from the engine's weights."""
        start = Walk.begin(engine)
        for owner, other in ((self, start), (self.search, start.search)):
            for field in fields(owner):
                mine, its = getattr(owner, field.name), getattr(other, field.name)
                if isinstance(mine, Tensor):
                    at = (slot,) if mine.shape[0] == len(self.loss) and field.name not in _POINTS else (..., slot)
                    mine[at] = its[at]

    def observe(self, engine: Engine, loss: Tensor) -> Move:
        """Evaluate the trials; write the losses of the iterates before this tick into `loss` (slots,)."""
        engine.descend(loss)
        found, gradient = loss.clone(), engine.layout.rows(engine.gradient)
        accepted, failed = self.search.advance(found, (gradient * self.direction).sum(1))
        going = ~(self.fresh | self.settled)
        accepted, failed = accepted & going, failed & going
        arrived = accepted | self.fresh
        loss.copy_(torch.where(self.fresh, found, self.loss))
        taken, where = accepted.unsqueeze(1), arrived.unsqueeze(1)
        move = Move(
            torch.where(taken, self.trial - self.weights, 0),
            torch.where(taken, gradient - self.gradient, 0),
            accepted,
            arrived | failed,
        )
        self.weights = torch.where(where, self.trial, self.weights)
        self.gradient = torch.where(where, gradient, self.gradient)
        self.loss = torch.where(arrived, found, self.loss)
        self.failures = torch.where(failed, self.failures + 1, self.failures.masked_fill(arrived, 0))
        self.settled = self.settled | (self.failures >= 2 * PATIENCE) | ~(self.gradient != 0).any(1)
        self.fresh = torch.zeros_like(self.fresh)
        return move

    def worn(self) -> Tensor:
        """Return which slots (slots,) should forget what they know of the curvature: too many searches have failed."""
        return self.failures >= PATIENCE

    def launch(self, engine: Engine, ready: Tensor, direction: Tensor, step: Tensor) -> None:
        """Begin searches in the slots `ready` along `direction` (slots, parameters) with the first trial `step`.

        After a failure the first trial is 1, 2, ... powers of four shorter, or the next search would be the same.
        """
        ready = ready & ~self.settled
        self.direction = torch.where(ready.unsqueeze(1), direction, self.direction)
        slope = (self.direction * self.gradient).sum(1)
        self.search.begin(ready, self.loss, slope, torch.ldexp(step, -2 * self.failures))
        trial = self.weights + self.search.step.unsqueeze(1) * self.direction
        self.trial = torch.where(self.settled.unsqueeze(1), self.weights, trial)
        engine.layout.fill(engine.weights, self.trial)


_POINTS = ("origin", "low", "high")  # slots last
