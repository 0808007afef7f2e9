"""What a family of approximants must have to be fitted without training."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor


class Unsolvable(Exception):
    """Samples to which there is no such approximant; it says why."""


@runtime_checkable
class Direct(Protocol):
    """A `Model` whose parameters follow from samples by a formula: no initial ones, no steps, no randomness."""

    def solve(self, places: np.ndarray, values: np.ndarray) -> Tensor:
        """Return the parameters (parameters,) float64 for values (samples,) at places (samples, dimension).

        Raises
        ------
        Unsolvable : where there are none
        """
        ...

    def remark(self, samples: int) -> str:
        """Return what is worth knowing of a fit to so many samples: a sentence, or nothing."""
        ...


def distinct(places: np.ndarray) -> None:
    """Raise `Unsolvable` if two of the places (samples, dimension) are the same."""
    _, counts = np.unique(places, axis=0, return_counts=True)
    twice = int((counts > 1).sum())
    if twice:
        raise Unsolvable(f"Several samples lie at the same place, at {twice} of {len(counts)} places.")
