"""What float64 arithmetic may lose: the bounds by which enclosures hold in REAL arithmetic.

Every operation on forms is computed in round-to-nearest float64, and an a-priori bound of all its rounding errors is
added to a radius. The bound of a sum of n products, gamma(n) times the sum of their absolute values, holds for any
order of summation, any blocking and with fused multiply-adds (Higham, Accuracy and Stability of Numerical Algorithms,
2nd ed., section 3.1), so that no library's matrix product need be known. It does not hold for Strassen's method,
TF32, or float64 emulated by shorter numbers: see `hpcsweep.approx.machine`.

ASSUMPTION: torch's elementary functions (exp, log, sin, tanh, sqrt, erf, ...) err by at most 4 units in the last place.
No library promises it. Measured against 50 digits on CPUs (torch 2.13, MKL and SLEEF; 6000 points per function), the
largest error is 1.7 (sigmoid, not used here) and below 0.7 for all others; NVIDIA states at most 2 for CUDA's double
precision, "from extensive but not exhaustive tests".
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

UNIT = 2.0**-53  # unit roundoff: fl(a op b) = (a op b) (1 + e), |e| <= UNIT
TINY = 1e-290  # absolute; far above whatever underflow, gradual or flushed to zero, can take from one operation
ELEMENTARY = 9  # one value of an elementary function errs as this many roundings: 4 ulp <= 8 UNIT |value|

_counted = [True]  # changed by `ignored` alone


def gamma(roundings: int) -> float:
    """Return a bound of |prod (1 + e_i)^(+-1) - 1| for so many |e_i| <= UNIT: n UNIT / (1 - n UNIT), rounded up."""
    return (roundings + 1) * UNIT / (1.0 - (roundings + 1) * UNIT) if _counted[0] else 0.0


def outward(low: Tensor, high: Tensor, roundings: int, absolute: float = TINY) -> tuple[Tensor, Tensor]:
    """Return a range whose ends were computed with so many roundings each, made certain; NaN: no end at all."""
    # An end that overflowed becomes NaN here, because low - inf and high + inf are computed.
    low = torch.sub(low, low.abs(), alpha=gamma(roundings + 1)).sub_(absolute)
    high = torch.add(high, high.abs(), alpha=gamma(roundings + 1)).add_(absolute)
    return low.nan_to_num_(-math.inf, math.inf, -math.inf), high.nan_to_num_(math.inf, math.inf, -math.inf)


@contextmanager
def ignored() -> Iterator[None]:
    """Count no rounding errors, which is UNSOUND: for the test that the fuzz test would notice."""
    _counted[0] = False
    try:
        yield
    finally:
        _counted[0] = True
