"""By which method boxes are bounded: straight lines, with backward passes through hidden layers too, or Taylor models.

What a bound adds to the error falls with the power p of the radius: 2 for lines, k + 1 for Taylor models of order k. A
box whose bound adds r times as much as there is room for is closed by about r^(d/p) parts of it, so that each method
can be asked for the work that it would take.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch

from hpcsweep.approx.supnorm.certificate.branching import Boxes
from hpcsweep.approx.supnorm.certificate.enclosure.difference import Difference
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.difference import TaylorDifference, is_smooth

# By dimension: the order that a search begins with, then those that a pilot tries as well; measured.
_ORDERS = {1: (7, 5, 9), 2: (5, 4, 6), 3: (4, 3, 5), 4: (4, 3), 5: (3, 4), 6: (3,)}
HIGHEST = 10  # order of which all Taylor series have bounds
_FAR_OFF = 1e12  # times as much as there is room for: it does not matter how much more


class Methods:
    """The methods for one difference.

    Attributes
    ----------
    orders: of the Taylor models that may pay, that to begin with first; () for functions that are not smooth
    """

    def __init__(self, difference: Difference, more: int = 0) -> None:
        """`more`: by how much the orders of models are higher than usual."""
        self.lines = difference
        self._models: dict[int, TaylorDifference] = {}
        smooth = isinstance(difference, Difference) and is_smooth(difference)
        usual = _ORDERS.get(len(difference._domain), ()) if smooth else ()
        self.orders = tuple(min(order + more, HIGHEST) for order in usual)
        if self.orders and not self._are_possible():
            self.orders = ()

    def _are_possible(self) -> bool:
        """Return whether models of a box can be made: a user's code that lines follow may do what models cannot."""
        try:
            TaylorDifference(self.lines, self.orders[0]).try_code()
        except MemoryError:
            raise
        except Exception:  # of a user's code, or a defect of ours, which costs time only: lines prove as much
            return False
        return True

    @cached_property
    def fully(self) -> Difference | None:
        """Lines with full relaxation; None where there is no more to relax."""
        return self.lines.fully()

    def of(self, order: int, full: bool = False) -> Difference:
        """Return the difference by Taylor models of an order; 0: by lines."""
        if order == 0:
            return self.fully if full and self.fully is not None else self.lines
        if order not in self._models:
            self._models[order] = TaylorDifference(self.lines, order)
        return self._models[order]

    @property
    def first(self) -> list[Difference]:
        """The difference by lines, and by the models that a search begins with."""
        return [self.of(order) for order in (0, *self.orders[:1])]

    @property
    def candidates(self) -> list[tuple[int, bool]]:
        """What a pilot compares: (order, full) of each method."""
        if self.orders:  # full relaxation pays where a network is deep, and there models pay more
            return [(0, False), *((order, False) for order in self.orders)]
        return [(0, False)] if self.fully is None else [(0, False), (0, True)]

    def cheapest(self, boxes: Boxes, level: float) -> tuple[int, bool]:
        """Return the candidate that is expected to close boxes at least cost."""
        return min(self.candidates, key=lambda one: self.of(*one).cost() * parts(self.of(*one), boxes, level, one[0]))


def parts(difference: Difference, boxes: Boxes, level: float, order: int) -> float:
    """Return into how many parts an open side of these boxes must be cut on the average; order 0: of lines."""
    low, high = torch.from_numpy(boxes.low), torch.from_numpy(boxes.high)
    everything, centers = slice(0, len(boxes)), (low + high) / 2
    above, below = difference.upper_bounds(centers, (high - low) / 2, everything, everything)
    error = difference.signed(centers)
    errors = torch.stack([error, -error], 1).numpy()  # (boxes, 2)
    excess = torch.stack([above.center, below.center], 1).numpy() - errors
    with np.errstate(all="ignore"):
        ratio = np.nan_to_num(excess / (level - errors), nan=_FAR_OFF, posinf=_FAR_OFF, neginf=_FAR_OFF)
    ratio[errors >= level] = _FAR_OFF
    ratio = np.clip(ratio[boxes.bounds > level], 1.0, _FAR_OFF)
    return float((ratio ** (boxes.low.shape[1] / (max(order, 1) + 1))).mean()) if len(ratio) else 0.0
