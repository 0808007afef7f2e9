"""Types of numbers with limits, for the fields that a study sets: who validates a study reads the limits off them."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

LARGEST = 2**53
MOST_LISTED = 2**16  # layers, stages and variables, of which each has an entry in a list

PositiveInt = Annotated[int, Gt(0), Le(LARGEST)]
ListedInt = Annotated[int, Gt(0), Le(MOST_LISTED)]
Count = Annotated[int, Ge(0), Le(LARGEST)]
PositiveFloat = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Lt(1)]
