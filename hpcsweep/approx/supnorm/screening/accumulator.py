"""What is kept of one network's errors while tiles stream by: memory that does not grow with their number."""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.supnorm.screening import error_keys, histogram
from hpcsweep.approx.supnorm.screening.error_keys import INFINITY_KEY, NAN_KEY, Ranked

FIXED = 1074  # every float64 is a multiple of 2**-1074
# Sums of huge errors and their squares would overflow: such a tile is first scaled by 2**-600, exactly.
_SHRINK, _HUGE = 600, 2.0**500
_HUGE_KEY = (1023 + 500) << error_keys.SIGNIFICAND_BITS  # its bit pattern


@final
class Accumulator:
    """Running counts, exact sums, a histogram and the worst points.

    Parameters
    ----------
    tile: how many errors come at a time, at most.
    worst: how many points are kept, 1 or more.
    fair: whether sums and histogram are made.

    Attributes
    ----------
    count, averaged: errors in all, and in sums and histogram.
    absolute, square: sums of |error| and its square over the finite ones, times 2**1074. Those of a tile are rounded as
        float64; tiles are added exactly.
    nans, infinities: how many errors were not finite.
    """

    def __init__(self, tile: int, worst: int, fair: bool, device: torch.device | str) -> None:
        self.count = self.averaged = self.absolute = self.square = self.nans = self.infinities = 0
        self._worst = np.empty((2, 0), dtype=np.int64)  # keys and indices, by the total order of `error_keys`
        self._others: list[np.ndarray] = []  # that may be among them
        self._kept = worst
        self._fair = fair
        if fair:
            self._counts = torch.zeros(histogram.BINS, dtype=torch.int64, device=device)
            self._ones = torch.ones((), dtype=torch.int64, device=device).expand(tile)
            # One memory for squares, and after them for bins: what is small stays in the cache.
            self._squares = torch.empty(tile, dtype=torch.float64, device=device)
            self._bins = self._squares.view(torch.int64)

    @property
    def worst(self) -> Ranked:
        """(key, index) of the worst points, by the total order of `error_keys`."""
        self._rank()
        keys, indices = self._worst.tolist()
        return tuple(zip(keys, indices, strict=True))

    @property
    def histogram(self) -> histogram.Histogram:
        """How often |error| fell where; nothing of a set that is not fair."""
        return histogram.sparse(self._counts) if self._fair else ()

    def add(self, start: int, errors: Tensor) -> None:
        """Take the errors (points,) at the indices from `start` on, no more than a tile; they are overwritten."""
        magnitudes = errors.abs_()
        patterns = magnitudes.view(torch.int64)  # (points,)
        top, shrunk = error_keys.key_of(float(magnitudes.amax())), 0  # of floats: half the time of that of integers
        if top > _HUGE_KEY:  # smaller ones, all tiles of a sound network, need none of this care
            patterns = error_keys.canonical(patterns)
            self.nans += int((patterns == NAN_KEY).sum())
            self.infinities += int((patterns == INFINITY_KEY).sum())
            magnitudes = magnitudes.masked_fill(patterns >= INFINITY_KEY, 0.0)
            shrunk = _SHRINK if magnitudes.amax() > _HUGE else 0
            magnitudes = magnitudes * 2.0**-shrunk
        self.count += len(errors)
        if self._fair:
            self._add_up(patterns, magnitudes, shrunk)
        if self._counts_among_the_worst(top, start):
            floor = int(self._worst[0, -1]) if self._worst.shape[1] == self._kept else -1
            self._others.append(error_keys.worst_of(patterns, start, self._kept, floor))
            if floor < 0 or sum(pairs.shape[1] for pairs in self._others) > error_keys.CROWD * self._kept:
                self._rank()

    def _rank(self) -> None:
        if self._others:
            self._worst = error_keys.ranked(np.concatenate([self._worst, *self._others], axis=1), self._kept)
            self._others = []

    def _add_up(self, patterns: Tensor, magnitudes: Tensor, shrunk: int) -> None:
        """Add to sums and histogram: keys and finite |error| times 2**-shrunk, (points,) each."""
        points = len(magnitudes)
        squares = torch.mul(magnitudes, magnitudes, out=self._squares[:points])
        self.absolute += _exact(float(magnitudes.sum())) << shrunk
        self.square += _exact(float(squares.sum())) << 2 * shrunk
        self._counts.scatter_add_(0, histogram.bins(patterns, self._bins[:points]), self._ones[:points])
        self.averaged += points

    def _counts_among_the_worst(self, top: int, start: int) -> bool:
        """Say whether a tile with this largest key may have one of the worst points; nearly all have none."""
        if self._worst.shape[1] < self._kept:
            return True
        key, index = self._worst[:, -1]
        return bool(top > key or (top == key and start < index))


def _exact(number: float) -> int:
    """Return a finite float times 2**1074, an integer."""
    numerator, denominator = number.as_integer_ratio()
    return numerator * (2**FIXED // denominator)
