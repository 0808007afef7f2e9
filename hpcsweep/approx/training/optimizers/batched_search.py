"""Line searches of all slots at once: one packed evaluation per tick serves every slot, whatever its search is at.

Each slot has a state machine of its own, so that none waits for another's bracketing. The search follows Hager and
Zhang, "A new conjugate gradient method with guaranteed descent and an efficient line search", SIAM J. Optim. 16 (2005):
the strong Wolfe conditions, or, where losses differ by no more than their rounding errors, the approximate ones (their
equation 4.1), which ask about slopes only. Points are bracketed by the signs of slopes and located by cubic
interpolation (Nocedal and Wright, "Numerical optimization", 2nd edition, equations 3.59 and 3.60).

A search is a dozen numbers per slot: they stay on the host, where numpy does them in a fraction of the time that a
tensor operation takes to start, on a processor as on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.kernels.updates.line_search import CURVATURE, DECREASE, TRIALS

_STEP, _LOSS, _SLOPE, _COUNT, _CONFIRMING = 0, 1, 2, 9, 10
_LOW, _HIGH = slice(3, 6), slice(6, 9)
_IDLE = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, np.inf, np.inf, np.inf, 0.0, 0.0)


@dataclass
class Search:
    """Where the search of each slot stands.

    Attributes
    ----------
    table : (11, slots) float64 on the CPU. Row by row: the trial step, in units of the direction; loss and slope at
        step zero; step, loss and slope of the farthest point known to be too near (descending, and no higher than the
        origin); the same of the nearest point known to be too far, infinite while there is none; evaluations so far;
        1 if the trial repeats the low point, after a search in vain, to be taken as it is
    epsilon : of the dtype in which losses are computed
    """

    table: Tensor
    epsilon: float

    @staticmethod
    def idle(slots: int, dtype: torch.dtype) -> Search:
        """Return searches that have not begun."""
        table = torch.tensor(_IDLE, dtype=torch.float64).unsqueeze(1).repeat(1, slots)
        return Search(table, torch.finfo(dtype).eps)

    @property
    def steps(self) -> np.ndarray:
        """The trial steps (slots,); of an accepted trial until the next search begins."""
        return self.table.numpy()[_STEP]

    def begin(self, where: np.ndarray, loss: np.ndarray, slope: np.ndarray, step: np.ndarray) -> None:
        """Begin anew in the slots `where` from loss and slope with the trial `step`; all (slots,)."""
        zero, far = np.zeros_like(loss), np.full_like(loss, np.inf)
        column = np.array([step, loss, slope, zero, loss, slope, far, far, far, zero, zero])
        np.copyto(self.table.numpy(), column, where=where)

    @np.errstate(all="ignore")
    def advance(self, loss: np.ndarray, slope: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take in loss and slope (slots,) at the trials; move these on where neither of the returned is True.

        Returns
        -------
        accepted, failed : (slots,) bool. A search fails that finds nothing in 20 evaluations, or until its interval is
            as short as a rounding error: not even a lower point
        """
        table = self.table.numpy()
        finite = np.isfinite(loss) & np.isfinite(slope)
        here = np.array([table[_STEP], np.where(finite, loss, np.inf), np.where(finite, slope, np.inf)])
        lower, level = self._compare(table, loss)
        near = finite & (lower | level) & (slope < 0)
        accepted = (table[_CONFIRMING] > 0) | (finite & _wolfe(table[_SLOPE], slope, lower, level))
        last = table[_LOW].copy()
        np.copyto(table[_LOW], here, where=near)
        np.copyto(table[_HIGH], here, where=~near)
        table[_COUNT] += 1
        trial, short = self._next(last, table[_LOW], table[_HIGH])
        spent = (short | (table[_COUNT] >= TRIALS)) & ~accepted
        is_lower = (table[3] > 0) & (table[4] < table[_LOSS])
        table[_CONFIRMING] = spent & is_lower
        np.copyto(table[_STEP], np.where(spent & is_lower, table[3], trial), where=~accepted)
        return accepted, spent & ~is_lower

    def _compare(self, table: np.ndarray, loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return whether a loss has decreased sufficiently, and whether it is that of the origin but for noise."""
        start = table[_LOSS]
        # A residual r carries a rounding error of some eps, so r^2 one of some 2 r eps.
        noise = 1e-10 * start + 20 * self.epsilon * np.sqrt(start)
        return loss <= start + DECREASE * table[_STEP] * table[_SLOPE], loss <= start + noise

    def _next(self, last: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the next trials, and whether intervals are exhausted; `last` are the low points of before."""
        bracketed = np.isfinite(high[0])
        other = np.where(bracketed, high, last)
        width = np.where(bracketed, high[0] - low[0], 0)
        blind = low[0] + np.where(low[0] > 0, 0.5, 0.1) * width  # beside something that is not finite
        guess = np.where(np.isfinite(other[1]), cubic(low, other), blind)
        least = np.where(bracketed, low[0] + 0.1 * width, 2 * low[0])
        most = np.where(bracketed, low[0] + 0.9 * width, 10 * low[0])
        return np.minimum(np.maximum(guess, least), most), bracketed & (width <= 50 * self.epsilon * high[0])


def _wolfe(start: np.ndarray, slope: np.ndarray, lower: np.ndarray, level: np.ndarray) -> np.ndarray:
    flat = np.abs(slope) <= -CURVATURE * start
    return flat & (lower | (level & (slope <= (2 * DECREASE - 1) * start)))


def cubic(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the minimiser of the cubic through two points, each (step, loss, slope); their middle if there is none."""
    (a, f, p), (b, g, q) = first, second
    mean = p + q - 3 * (f - g) / (a - b)
    root = np.sqrt(mean * mean - p * q) * np.sign(b - a)
    guess = b - (b - a) * ((q + root - mean) / (q - p + 2 * root))
    return np.where(np.isfinite(guess), guess, (a + b) / 2)
