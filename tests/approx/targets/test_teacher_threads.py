"""Teachers drawn through torch's global generator: one at a time."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import torch

from hpcsweep.approx.targets import REGISTRY


def test_teachers_made_in_several_threads_are_the_same() -> None:
    """They pass through torch's global generator, so that drawing must be one at a time."""
    points = torch.linspace(-0.5, 0.5, 9, dtype=torch.float64).reshape(-1, 1)

    def value(index: int) -> list[float]:
        return REGISTRY["berner_teacher"](1, index=index)(points).tolist()

    expected = [value(index) for index in range(40)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that a missing lock shows
    try:
        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(value, range(40))) == expected
    finally:
        sys.setswitchinterval(interval)
