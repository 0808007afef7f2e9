"""By which method boxes are bounded: straight lines, with backward passes through hidden layers too, or Taylor models.

Taylor models in double-double take the place of others where the rounding errors of float64 keep a gap open.

What a bound adds to the error falls with the power p of the radius: 2 for lines, k + 1 for Taylor models of order k. A
box whose bound adds r times as much as there is room for is closed by about r^(d/p) parts of it, so that each method
can be asked for the work that it would take.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch

from hpcsweep.approx.supnorm.certificate.branching import Boxes
from hpcsweep.approx.supnorm.certificate.enclosure.difference import Difference, around
from hpcsweep.approx.supnorm.certificate.enclosure.precise.difference import PreciseDifference
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.difference import TaylorDifference, is_smooth

# By dimension: the order that a search begins with, then those that a pilot tries as well; measured.
_ORDERS = {1: (7, 5, 9), 2: (5, 4, 6), 3: (4, 3, 5), 4: (4, 3), 5: (3, 4), 6: (3,)}
HIGHEST = 10  # order of which all Taylor series have bounds
_PRECISE = {1: (9,), 2: (6, 8, 10), 3: (5, 7), 4: (4, 6), 5: (3, 4), 6: (3,)}  # the same in double-double
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
        self._models: dict[tuple[int, bool], TaylorDifference] = {}  # by order, and whether in double-double
        self._looked_at: tuple[Sequence[float], float] = (), 0.0
        smooth = isinstance(difference, Difference) and is_smooth(difference)
        usual = _ORDERS.get(len(difference._domain), ()) if smooth else ()
        self.orders = tuple(min(order + more, HIGHEST) for order in usual)
        if self.orders and not self._are_possible(self._of_order(self.orders[0])):
            self.orders = ()

    def _are_possible(self, models: TaylorDifference) -> bool:
        """Return whether models of a box can be made: a user's code that lines follow may do what models cannot."""
        try:
            models.try_code()
        except MemoryError:
            raise
        except Exception:  # of a user's code, or a defect of ours, which costs time only: lines prove as much
            return False
        return True

    @cached_property
    def fully(self) -> Difference | None:
        """Lines with full relaxation; None where there is no more to relax."""
        return self.lines.fully()

    @cached_property
    def precise(self) -> tuple[int, ...]:
        """The orders of Taylor models in double-double; () where these cannot be made."""
        orders = _PRECISE[len(self.lines._domain)] if self.orders else ()
        return orders if orders and self._are_possible(self._precise(orders[0])) else ()

    def blurred(self, where: Sequence[float], room: float) -> bool:
        """Return whether roundings of float64 take up some room at a point, and those of double-double do not."""
        if not where or not self.orders or not room > 0.0:
            return False
        if where != self._looked_at[0]:
            self._looked_at = where, self._noise(self._of_order(self.orders[0]), where)
        if self._looked_at[1] <= room or not self.precise:
            return False
        return self._noise(self._precise(self.precise[0]), where) <= room

    def _noise(self, models: TaylorDifference, where: Sequence[float]) -> float:
        centers, _ = around(torch.tensor([where], dtype=torch.float64), self.lines._domain)
        return float(models.noise(centers))

    def of(self, order: int, full: bool = False, precise: bool = False) -> Difference:
        """Return the difference by Taylor models of an order; 0: by lines; precise: by models in double-double."""
        if precise:
            return self._precise(order)
        if order == 0:
            return self.fully if full and self.fully is not None else self.lines
        return self._of_order(order)

    def _precise(self, order: int) -> TaylorDifference:
        if (order, True) not in self._models:
            self._models[order, True] = PreciseDifference(self._of_order(self.orders[0]), order)
        return self._models[order, True]

    def _of_order(self, order: int) -> TaylorDifference:
        if (order, False) not in self._models:
            self._models[order, False] = TaylorDifference(self.lines, order)
        return self._models[order, False]

    @property
    def first(self) -> list[Difference]:
        """The difference by lines, and by the models that a search begins with."""
        return [self.of(order) for order in (0, *self.orders[:1])]

    def candidates(self, precise: bool = False) -> list[tuple[int, bool]]:
        """Return what a pilot compares: (order, full) of each method."""
        if precise:
            return [(order, False) for order in self.precise]
        if self.orders:  # full relaxation pays where a network is deep, and there models pay more
            return [(0, False), *((order, False) for order in self.orders)]
        return [(0, False)] if self.fully is None else [(0, False), (0, True)]

    def cheapest(self, boxes: Boxes, level: float, precise: bool = False) -> tuple[int, bool]:
        """Return the candidate that is expected to close boxes at least cost."""

        def work(candidate: tuple[int, bool]) -> float:
            difference = self.of(*candidate, precise)
            return difference.cost() * parts(difference, boxes, level)

        return min(self.candidates(precise), key=work)


def parts(difference: Difference, boxes: Boxes, level: float) -> float:
    """Return into how many parts an open side of these boxes must be cut on the average."""
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
    return float((ratio ** (boxes.low.shape[1] / (max(difference.order, 1) + 1))).mean()) if len(ratio) else 0.0
