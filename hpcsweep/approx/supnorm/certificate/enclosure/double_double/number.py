"""`DoubleDouble`: values at points that a user's torch code runs on as it runs on tensors and on affine forms.

Points are float64 numbers, exactly, and so are constants. What the code makes of them in REAL arithmetic lies within
`radius` of leading + trailing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, final

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.double_double.error_free import Pair
from hpcsweep.approx.supnorm.certificate.enclosure.numbers import Numbers
from hpcsweep.approx.supnorm.certificate.enclosure.rules import (
    ARITHMETICS,
    Misaligned,
    NoEnclosure,
    Rule,
)
from hpcsweep.approx.supnorm.certificate.enclosure.shapes import shared

_Rule = TypeVar("_Rule", bound=Rule)
OWN: dict[str, Rule] = {}  # in place of rules, by the first name of each


def own(*names: str) -> Callable[[_Rule], _Rule]:
    """Make the decorated function what double-doubles do in place of the rules `names`."""

    def register(function: _Rule) -> _Rule:
        OWN.update(dict.fromkeys(names, function))
        return function

    return register


def own_of_two(*names: str) -> Callable[[_Rule], _Rule]:
    """Do the same for an operation of two values, which must have the points along the same axis, the first."""

    def register(function: _Rule) -> _Rule:
        def checked(left: Any, right: Any, **options: Any) -> Any:
            return function(*meeting(left, right), **options)

        own(*names)(checked)
        return function

    return register


def meeting(*values: Any) -> tuple[Any, ...]:
    """Return double-doubles, which have the points along the first axis, and constants that are alike at all points.

    Raises
    ------
    NoEnclosure: of others, or of values with different numbers of axes
    """
    like = next(value for value in values if isinstance(value, DoubleDouble))
    for value in values:
        if isinstance(value, DoubleDouble) and value.ndim != like.ndim:
            raise NoEnclosure(f"values of shapes {tuple(like.shape)} and {tuple(value.shape)} together")
        if isinstance(value, Tensor) and value.ndim > like.ndim:
            raise Misaligned(f"shapes {tuple(like.shape)} and {tuple(value.shape)} together")
    return tuple(value if isinstance(value, DoubleDouble) else shared(value, like) for value in values)


@final
class DoubleDouble(Numbers):
    """Numbers leading + trailing +- radius. Only `+=` and its like change them, as they change a tensor.

    Parameters
    ----------
    leading, trailing: float64 tensors of one shape; |trailing| <= 2^-53 |leading|.
    radius: likewise, >= 0: a bound of the distance to the real number that is meant. Infinite or NaN where nothing is
        known, and wherever the numbers are not finite.

    Attributes
    ----------
    viewed: whether another name may stand for the same numbers, as a view of a tensor does.
    """

    __slots__ = ("leading", "radius", "trailing", "viewed")

    def __init__(self, leading: Tensor, trailing: Tensor, radius: Tensor) -> None:
        self.leading, self.trailing, self.radius = leading, trailing, radius
        self.viewed = False

    @property
    def _values(self) -> Tensor:
        return self.leading

    @property
    def pair(self) -> Pair:
        """Leading and trailing part."""
        return self.leading, self.trailing


ARITHMETICS[DoubleDouble] = OWN


def exact(values: Tensor) -> DoubleDouble:
    """Return float64 numbers as what they are, in memory of their own."""
    return DoubleDouble(values.clone(), torch.zeros_like(values), torch.zeros_like(values))
