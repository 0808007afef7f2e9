"""How often |error| fell where: exact counts in bins of equal relative width, for quantiles of any number of points.

A bin is the highest bits of a key (`error_keys`): the exponent of |error| and the first five bits of its significand.
Its upper edge is at most 1 + 2^-5 times its lower one, from 2^-1022 up; below, it is 2^-1027 above it.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections import Counter
from fractions import Fraction

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.screening.error_keys import INFINITY_KEY, NAN_KEY, SIGNIFICAND_BITS, value_of

RESOLUTION_BITS = 5
_SHIFT = SIGNIFICAND_BITS - RESOLUTION_BITS
BINS = (NAN_KEY >> _SHIFT) + 1

Histogram = tuple[tuple[int, int], ...]  # (bin, count > 0), ascending


def bins(keys: Tensor, out: Tensor | None = None) -> Tensor:
    """Return the bin of each canonical key, int64 of the same shape."""
    return torch.bitwise_right_shift(keys, _SHIFT, out=out)


def sparse(counts: Tensor) -> Histogram:
    """Return the bins of a table (BINS,) that hold anything."""
    held = counts.nonzero()[:, 0]
    return tuple(zip(held.tolist(), counts[held].tolist(), strict=True))


def add(a: Histogram, b: Histogram) -> Histogram:
    """Return the histogram of both; exact, so that any order gives the same."""
    return tuple(sorted((Counter(dict(a)) + Counter(dict(b))).items())) if a and b else a or b


def quantile(histogram: Histogram, share: float) -> float:
    """Return an upper bound of |error| at a share of the points: the upper edge of the bin in which it ends.

    At least share * points have |error| at most that, and it is at most 1 + 2^-5 times the smallest number of which
    this is true, numpy's quantile by the method "inverted_cdf". The share is taken for the decimal number that it
    prints as, so that 0.2 of 5 points is one point. Infinity and NaN count as
    larger than every number, in this order, and are returned where the share reaches into them; NaN for no points.
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"a share of the points lies between 0 and 1, not {share}")
    if not histogram:
        return math.nan
    totals = list(itertools.accumulate(count for _, count in histogram))
    rank = max(1, math.ceil(Fraction(repr(float(share))) * totals[-1]))
    key = histogram[bisect.bisect_left(totals, rank)][0] << _SHIFT
    return value_of(key if key >= INFINITY_KEY else key + (1 << _SHIFT))
