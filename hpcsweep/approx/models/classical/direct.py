"""What a family of approximants must have to be fitted without training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.models.model import Model


class Unsolvable(Exception):
    """Samples to which there is no such approximant; it says why."""


class Direct(Model):
    """A `Model` whose parameters follow from samples by a formula: no initial ones, no steps, no randomness."""

    def init(self, seeds: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return (cells, parameters) zeros: nothing is fitted yet."""
        return torch.zeros(len(seeds), self.parameters, dtype=dtype)

    @abstractmethod
    def solve(self, places: np.ndarray, values: np.ndarray) -> Tensor:
        """Return the parameters (parameters,) float64 for values (samples,) at places (samples, dimension).

        Raises
        ------
        Unsolvable : where there are none
        """

    def remark(self, samples: int) -> str:
        """Return what is worth knowing of a fit to so many samples: a sentence, or nothing."""
        return ""


def distinct(places: np.ndarray) -> None:
    """Raise `Unsolvable` if two of the places (samples, dimension) are the same."""
    _, counts = np.unique(places, axis=0, return_counts=True)
    twice = int((counts > 1).sum())
    if twice:
        raise Unsolvable(f"Several samples lie at the same place, at {twice} of {len(counts)} places.")
