"""What is measured in one trial: functions in torch, and their difference by its formula in 50 digits and more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np

from hpcsweep.approx.supnorm.approximations import ErrorFunction

Real = Callable[..., Any]  # of numbers of mpmath, to such a number
DIGITS = 50
_CERTAIN = 35  # digits in which two evaluations must agree


@dataclass(frozen=True)
class Subject:
    """A target, what approximates it, and the truth about both.

    Parameters
    ----------
    functions: in torch.
    truth: target - approximant of the coordinates of a point, in the digits that mpmath works with.
    """

    functions: ErrorFunction
    truth: Real

    def error(self, point: Sequence[float]) -> mp.mpf | None:
        """Return target - approximant at a point to 35 digits; None where it is no number, or not known to so many.

        The digits grow until two evaluations agree.
        """
        before = None
        for factor in (1, 2, 4, 8, 16):
            with mp.workdps(DIGITS * factor):
                try:
                    value = self.truth(*map(mp.mpf, point))
                except (ZeroDivisionError, ValueError, OverflowError):  # a pole, log 0; exponents that no integer has
                    return None
                if isinstance(value, mp.mpc) or not mp.isfinite(value):
                    return None
                if before is not None and abs(value - before) <= abs(value) * mp.mpf(10) ** -_CERTAIN:
                    return value
            before = value
        return None


def points_of(generator: np.random.Generator, domain: Sequence[tuple[float, float]]) -> list[tuple[float, ...]]:
    """Return the centre, corners, and other points of a domain."""
    low, high = np.array(domain).T
    shares = [np.full(len(low), 0.5), *generator.integers(0, 2, (2, len(low))), *generator.uniform(size=(3, len(low)))]
    return [tuple(np.clip(low + share * (high - low), low, high).tolist()) for share in shares]
