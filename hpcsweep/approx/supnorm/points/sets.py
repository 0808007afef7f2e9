"""Index -> coordinates: the kinds of point sets, and how a study's choice becomes one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.supnorm.points.counter import BITS, random_bits
from hpcsweep.approx.supnorm.points.directions import MAXIMAL_DIMENSION, direction_numbers
from hpcsweep.approx.supnorm.points.inflation import Inflated, below, inflate
from hpcsweep.approx.supnorm.points.pointset import MAXIMAL_COUNT, Domain, Indices, PointSet, listed
from hpcsweep.errors import StudyError, unknown

_BITS = 10
_BLOCK = 2**_BITS  # Sobol points of one table, which fits into the smallest cache; and blocks of one group
# Points have indices from 0 on; at these the hash gives the random shifts.
_SOBOL_SHIFT, _INFLATED_SHIFT = -1, -4


@final
@dataclass(frozen=True, eq=False)
class Grid(PointSet):
    """The tensor grid with `side` points per axis, the first and last on the faces; axis 0 runs fastest.

    Its 1-D projections have `side` values only: it sees the boundary, and is blind to whatever lies between
    two of its hyperplanes.
    """

    side: int

    def numbers(self, indices: Indices, device: torch.device) -> Tensor:
        """Return the digits of the index in base `side`, over side - 1."""
        powers = [[self.side**axis] for axis in range(self.dimension)]
        strides = torch.tensor(powers, dtype=torch.int64, device=device)  # (dimension, 1)
        digits = listed(indices, device).div(strides, rounding_mode="floor") % self.side  # (dimension, points)
        return digits.to(torch.float64).div_(self.side - 1).mul_(2.0**BITS)


@final
@dataclass(frozen=True, eq=False)
class Sobol(PointSet):
    """Sobol's sequence in natural order with a digital shift, 53 bits deep.

    In natural order S(high 2^k + low) = S(high 2^k) ⊕ S(low): a table of the first 2^k points serves every
    aligned block by one exclusive or with its corner, and a table of corners serves 2^k blocks. The usual (Gray
    code) order has the same blocks in another order: its block b is our block b ⊕ (b >> 1), so that the first 2^k
    points are the same set.

    Parameters
    ----------
    directions: int64 array, (53, dimension), see `directions.direction_numbers`.
    shift: int64 below 2**53, (dimension,).
    """

    directions: np.ndarray
    shift: Tensor
    # Remembered for speed only, always equal to what would be computed again: tables by device, and the corners of the
    # group of blocks asked for last.
    _tables: dict[torch.device, Tensor] = field(default_factory=dict, init=False, repr=False)
    _corners: dict[torch.device, tuple[int, Tensor]] = field(default_factory=dict, init=False, repr=False)

    def numbers(self, indices: Indices, device: torch.device) -> Tensor:
        """Return the shifted points; quickest for a range of whole blocks of 1024."""
        bits = self._block(indices, device) if isinstance(indices, range) else self._scattered(indices)
        return bits.view(torch.float64).copy_(bits)  # where they are: new memory would leave the cache sooner

    def _block(self, indices: range, device: torch.device) -> Tensor:
        """Return a range of points as integers, (dimension, points)."""
        first, last = indices.start // _BLOCK, indices[-1] // _BLOCK + 1
        groups = list(self._corners_of(first, last, device))
        corners = torch.cat(groups, dim=1) if len(groups) > 1 else groups[0]  # (dimension, blocks)
        bits = (self._table(device)[:, None, :] ^ corners[:, :, None]).flatten(1)  # (dimension, blocks * _BLOCK)
        offset = indices.start - first * _BLOCK
        return bits[:, offset : offset + len(indices)]

    def _scattered(self, indices: Tensor) -> Tensor:
        """Return any points as integers, (dimension, points): bit after bit of their indices."""
        directions = torch.tensor(self.directions).to(indices.device)[:, :, None]  # (53, dimension, 1)
        bits = self.shift.to(indices.device)[:, None].repeat(1, len(indices))  # (dimension, points)
        for bit in range(int(indices.max()).bit_length() if len(indices) else 0):
            bits ^= directions[bit] * (indices >> bit & 1)
        return bits

    def _corners_of(self, first: int, last: int, device: torch.device) -> Iterator[Tensor]:
        """Yield the first points of blocks `first` to `last`, shifted, group after group, (dimension, blocks) each."""
        while first < last:
            group = first // _BLOCK
            stop = min(last, (group + 1) * _BLOCK)
            yield self._group(group, device)[:, first - group * _BLOCK : stop - group * _BLOCK]
            first = stop

    def _group(self, group: int, device: torch.device) -> Tensor:
        """Return the first points of 1024 blocks in a row, shifted, (dimension, _BLOCK)."""
        number, corners = self._corners.get(device, (-1, self.shift))
        if number != group:
            above = group * _BLOCK * _BLOCK
            chosen = [bit for bit in range(above.bit_length()) if above >> bit & 1]
            first = torch.from_numpy(np.bitwise_xor.reduce(self.directions[chosen], axis=0)) ^ self.shift
            corners = _sums(self.directions[_BITS : 2 * _BITS], first.to(device))
            self._corners[device] = group, corners
        return corners

    def _table(self, device: torch.device) -> Tensor:
        """Return the first 1024 points without shift as integers, (dimension, _BLOCK)."""
        if device not in self._tables:
            nothing = torch.zeros(self.dimension, dtype=torch.int64, device=device)
            self._tables[device] = _sums(self.directions[:_BITS], nothing)
        return self._tables[device]


def _sums(directions: np.ndarray, first: Tensor) -> Tensor:
    """Return `first` (dimension,) ⊕ all exclusive ors of rows (k, dimension), in index order: (dimension, 2**k)."""
    sums = first[:, None]
    for direction in torch.tensor(directions).to(first.device):  # (dimension,)
        sums = torch.cat((sums, sums ^ direction[:, None]), dim=1)
    return sums


@final
@dataclass(frozen=True, eq=False)
class Uniform(PointSet):
    """Independent uniform points by a hash of (seed, index, axis), see `counter.random_bits`."""

    seed: int

    def numbers(self, indices: Indices, device: torch.device) -> Tensor:
        """Return the points on the half-open cube."""
        return random_bits(self.seed, listed(indices, device), self.dimension).T.to(torch.float64).contiguous()


def make(kind: str, dimension: int, count: int, seed: int, domain: Sequence[Sequence[float]]) -> PointSet:
    """Return the point set of a kind with about `count` points.

    Parameters
    ----------
    kind: "sobol", "grid", "uniform", or "inflated": sobol points, not those of "sobol", pushed onto the boundary by
        several factors, for the largest errors alone (`inflation.Inflated`).
    count: the number asked for, at most 2**52; the result's `count` says what it became. sobol and uniform: the same
        (sobol is at its best at a power of two). grid: side**dimension with the largest side for which that is at
        most `count`, but a side of 2 at least, so that a grid may have *more* points than asked: all 2**dimension
        vertices. inflated: rounded up to 1024.
    seed: of the random shift (sobol, inflated) or the points (uniform), its low 64 bits; the grid needs none.
    domain: ``((low, high), ...)``, one pair per axis, finite.

    Raises
    ------
    StudyError: if the kind is unknown, a value out of range, or a grid would need more than 2**40 points.
    """
    if kind not in _KINDS:
        raise StudyError(unknown("points", kind, _KINDS))
    if not 1 <= count <= MAXIMAL_COUNT:
        raise StudyError(f"points: {count} points cannot be generated; ask for 1 to 2**52.")
    box = tuple((float(low), float(high)) for low, high in domain)
    if dimension < 1 or len(box) != dimension:
        raise StudyError(f"points: a domain with {len(box)} axes does not fit dimension {dimension}.")
    for low, high in box:
        if not (low < high and math.isfinite(high - low)):
            raise StudyError(f"points: ({low}, {high}) is not an axis of a domain; needed: finite, low < high.")
    return _KINDS[kind](dimension, count, seed, box)


def _grid(dimension: int, count: int, seed: int, domain: Domain) -> Grid:
    if dimension > 40:
        raise StudyError(
            f"points: a grid in dimension {dimension} has 2**{dimension} vertices alone, "
            "more than the 2**40 that are allowed; use sobol."
        )
    side = max(2, _integer_root(count, dimension))
    return Grid(dimension, side**dimension, domain, side)


def _sobol(dimension: int, count: int, seed: int, domain: Domain) -> Sobol:
    if dimension > MAXIMAL_DIMENSION:
        raise StudyError(f"points: sobol exists up to dimension {MAXIMAL_DIMENSION}; use uniform.")
    shift = _shift(seed, _SOBOL_SHIFT, dimension)
    return Sobol(dimension, count, domain, direction_numbers(dimension), shift)


def _inflated(dimension: int, count: int, seed: int, domain: Domain) -> Inflated:
    # Another shift than that of the plain set with this seed: points of factor 1 shall not be seen twice.
    base = replace(_sobol(dimension, below(count), seed, domain), shift=_shift(seed, _INFLATED_SHIFT, dimension))
    return inflate(base)


_KINDS: dict[str, Callable[[int, int, int, Domain], PointSet]] = {
    "grid": _grid,
    "inflated": _inflated,
    "sobol": _sobol,
    "uniform": lambda dimension, count, seed, domain: Uniform(dimension, count, domain, seed),
}


def _shift(seed: int, index: int, dimension: int) -> Tensor:
    """Return a random shift as 53-bit integers, (dimension,)."""
    return random_bits(seed, torch.tensor([index]), dimension)[0]


def _integer_root(number: int, degree: int) -> int:
    """Return the largest r with r**degree <= number, exactly."""
    root = round(number ** (1.0 / degree))  # within one of the truth for numbers up to 2**52
    while root**degree > number:
        root -= 1
    while (root + 1) ** degree <= number:
        root += 1
    return root
