"""The places of the training samples: a pure function of a seed, so that they need not be stored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def samples(seed: int, count: int, domain: Sequence[Sequence[float]]) -> np.ndarray:
    """Return independent uniform points of a box, (count, dimension) float64.

    Nested: the first 100 of 1000 are the 100 points of the same seed.
    """
    low, high = np.array(domain, dtype=np.float64).T
    unit = np.random.Generator(np.random.Philox(key=seed)).random((count, len(low)))
    return low + (high - low) * unit
