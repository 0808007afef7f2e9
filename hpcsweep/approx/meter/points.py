"""Index -> coordinates: point sets that are pure functions of the index and never exist as a whole.

Any device, any order, any rank: point i is the same bits, because all arithmetic before the last steps is on
int64. Each set lives on the unit cube and is mapped to the domain by low + (high - low) u in float64.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.meter.counter import BITS, random_bits
from hpcsweep.approx.meter.directions import MAXIMAL_DIMENSION, direction_numbers
from hpcsweep.approx.meter.korobov import generating_vector
from hpcsweep.errors import StudyError, unknown

Domain = tuple[tuple[float, float], ...]

MAXIMAL_COUNT = 2**52  # a tile may reach beyond the count, and indices must stay below 2**53
_UNIT = 2.0**-BITS
# Points have indices from 0 on; at these the hash gives the random shifts.
_SOBOL_SHIFT, _LATTICE_SHIFT = -1, -2


@dataclass(frozen=True, eq=False)
class PointSet(ABC):
    """A function from indices to points of a box.

    A kind implements `unit`; `__call__` is the same for all. Make it from plain values on each rank, which is
    cheap, rather than send it.

    Parameters
    ----------
    dimension: of the points.
    count: how many points the set really has.
    domain: ``((low, high), ...)``, one pair per axis.
    """

    dimension: int
    count: int
    domain: Domain

    @abstractmethod
    def unit(self, start: int, count: int, device: torch.device) -> Tensor:
        """Return points `start` to `start + count` on the closed unit cube, float64, (count, dimension).

        Must not depend on how a range is cut, and must answer beyond the end of the set too, no matter what.
        """

    def __call__(self, start: int, count: int, device: torch.device | str = "cpu") -> Tensor:
        """Return points `start` to `start + count` of the domain, float64, (count, dimension).

        Indices at or beyond the set's own count are allowed, so that a last tile can be computed at full
        shape: grid and lattice begin again, the others go on.
        """
        if start < 0 or count < 1 or start + count > 2**BITS:
            raise ValueError(f"no indices from {start} to {start + count}: they run from 0 to 2**{BITS}")
        sides = [(low, _length(low, high), high) for low, high in self.domain]
        low, length, high = torch.tensor(sides, dtype=torch.float64).to(device).T  # (dimension,) each
        unit = self.unit(start, count, torch.device(device))  # (count, dimension)
        return torch.minimum(low + length * unit, high)


@final
@dataclass(frozen=True, eq=False)
class Grid(PointSet):
    """The tensor grid with `side` points per axis, the first and last on the faces; axis 0 runs fastest.

    Its 1-D projections have `side` values only: it sees the boundary, and is blind to whatever lies between
    two of its hyperplanes.
    """

    side: int

    def unit(self, start: int, count: int, device: torch.device) -> Tensor:
        """Return the digits of the index in base `side`, over side - 1."""
        powers = [self.side**axis for axis in range(self.dimension)]
        strides = torch.tensor(powers, dtype=torch.int64, device=device)  # (dimension,)
        indices = _indices(start, count, device)[:, None]  # (count, 1)
        digits = indices.div(strides, rounding_mode="floor") % self.side  # (count, dimension)
        return digits.to(torch.float64) / (self.side - 1)


@final
@dataclass(frozen=True, eq=False)
class Sobol(PointSet):
    """Sobol's sequence in natural order with a digital shift, 53 bits deep.

    In natural order S(high 2^k + low) = S(high 2^k) ⊕ S(low): a table of the first 2^k points serves every
    aligned block by one exclusive or. The usual (Gray code) order has the same blocks in another order: its
    block b is our block b ⊕ (b >> 1), so that the first 2^k points are the same set.

    Parameters
    ----------
    directions: int64 array, (53, dimension), see `directions.direction_numbers`.
    shift: int64 below 2**53, (dimension,).
    """

    directions: np.ndarray
    shift: Tensor
    # Tables by (bits, device): remembered for speed only, always equal to what would be computed again.
    _tables: dict[tuple[int, torch.device], Tensor] = field(default_factory=dict, init=False, repr=False)

    def unit(self, start: int, count: int, device: torch.device) -> Tensor:
        """Return the shifted points; quickest where `count` is a power of two and divides `start`."""
        bits = (count - 1).bit_length()
        first, last = start >> bits, (start + count - 1) >> bits  # one block if aligned, else two at most
        table = self._table(bits, device)
        blocks = [table ^ self._corner(block << bits).to(device) for block in range(first, last + 1)]
        offset = start - (first << bits)
        return torch.cat(blocks)[offset : offset + count].to(torch.float64) * _UNIT

    def _corner(self, index: int) -> Tensor:
        """Return one point as integers, shifted, (dimension,)."""
        chosen = [bit for bit in range(index.bit_length()) if index >> bit & 1]
        return torch.from_numpy(np.bitwise_xor.reduce(self.directions[chosen], axis=0)) ^ self.shift

    def _table(self, bits: int, device: torch.device) -> Tensor:
        """Return the first 2**bits points without shift as integers, (2**bits, dimension)."""
        if (bits, device) not in self._tables:
            table = torch.zeros(1, self.dimension, dtype=torch.int64, device=device)
            for direction in torch.tensor(self.directions[:bits]).to(device):
                table = torch.cat((table, table ^ direction))
            self._tables[bits, device] = table
        return self._tables[bits, device]


@final
@dataclass(frozen=True, eq=False)
class Lattice(PointSet):
    """The shifted rank-1 lattice of N = 2^m points: frac(i z / N + shift), in 53-bit integers.

    Only the whole set is uniform; a part of it covers a part of the cube.

    Parameters
    ----------
    vector: the generating vector z, int64, (dimension,).
    shift: int64 below 2**53, (dimension,).
    """

    vector: Tensor
    shift: Tensor

    def unit(self, start: int, count: int, device: torch.device) -> Tensor:
        """Return the points; products that leave int64 wrap, which is exact modulo a power of two."""
        indices = _indices(start, count, device)[:, None]  # (count, 1)
        multiples = (indices * self.vector.to(device)) & (self.count - 1)  # (count, dimension)
        spread = multiples * (2**BITS // self.count) + self.shift.to(device)
        return (spread & (2**BITS - 1)).to(torch.float64) * _UNIT


@final
@dataclass(frozen=True, eq=False)
class Uniform(PointSet):
    """Independent uniform points by a hash of (seed, index, axis), see `counter.random_bits`."""

    seed: int

    def unit(self, start: int, count: int, device: torch.device) -> Tensor:
        """Return the points on the half-open cube."""
        bits = random_bits(self.seed, _indices(start, count, device), self.dimension)
        return bits.to(torch.float64) * _UNIT


def make(kind: str, dimension: int, count: int, seed: int, domain: Sequence[Sequence[float]]) -> PointSet:
    """Return the point set of a kind with about `count` points.

    Parameters
    ----------
    kind: "sobol", "grid", "lattice" or "uniform".
    count: the number asked for, at most 2**52; the result's `count` says what it became. sobol and uniform:
        the same (sobol is at its best at a power of two). lattice: rounded up to a power of two. grid:
        side**dimension with the largest side for which that is at most `count`, but a side of 2 at least, so
        that a grid may have *more* points than asked: all 2**dimension vertices.
    seed: of the random shift (sobol, lattice) or the points (uniform), its low 64 bits; the grid needs none.
    domain: ``((low, high), ...)``, one pair per axis, finite.

    Raises
    ------
    StudyError: if the kind is unknown, a value out of range, or a grid would need more than 2**40 points.
    """
    if kind not in _KINDS:
        raise StudyError(unknown("points", kind, _KINDS))
    if not 1 <= count <= MAXIMAL_COUNT:
        raise StudyError(f"points: {count} points cannot be had; ask for 1 to 2**52.")
    box = tuple((float(low), float(high)) for low, high in domain)
    if dimension < 1 or len(box) != dimension:
        raise StudyError(f"points: a domain with {len(box)} axes does not fit dimension {dimension}.")
    for low, high in box:
        if not (low < high and math.isfinite(high - low)):
            raise StudyError(f"points: ({low}, {high}) is no axis of a domain; low < high, both finite.")
    return _KINDS[kind](dimension, count, seed, box)


def _grid(dimension: int, count: int, seed: int, domain: Domain) -> Grid:
    if dimension > 40:
        raise StudyError(
            f"points: a grid in dimension {dimension} has 2**{dimension} vertices alone, "
            "more than the 2**40 that are allowed; take sobol."
        )
    side = max(2, _integer_root(count, dimension))
    return Grid(dimension, side**dimension, domain, side)


def _sobol(dimension: int, count: int, seed: int, domain: Domain) -> Sobol:
    if dimension > MAXIMAL_DIMENSION:
        raise StudyError(f"points: sobol ends at dimension {MAXIMAL_DIMENSION}; take uniform.")
    shift = _shift(seed, _SOBOL_SHIFT, dimension)
    return Sobol(dimension, count, domain, direction_numbers(dimension), shift)


def _lattice(dimension: int, count: int, seed: int, domain: Domain) -> Lattice:
    exponent = (count - 1).bit_length()
    vector = torch.tensor(generating_vector(dimension, exponent), dtype=torch.int64)
    shift = _shift(seed, _LATTICE_SHIFT, dimension)
    return Lattice(dimension, 1 << exponent, domain, vector, shift)


def _uniform(dimension: int, count: int, seed: int, domain: Domain) -> Uniform:
    return Uniform(dimension, count, domain, seed)


_KINDS: dict[str, Callable[[int, int, int, Domain], PointSet]] = {
    "grid": _grid,
    "lattice": _lattice,
    "sobol": _sobol,
    "uniform": _uniform,
}


def _shift(seed: int, index: int, dimension: int) -> Tensor:
    """Return a random shift as 53-bit integers, (dimension,)."""
    return random_bits(seed, torch.tensor([index]), dimension)[0]


def _length(low: float, high: float) -> float:
    """Return high - low, rounded up where the rounded one would leave low + length below `high`."""
    length = high - low
    return length if low + length >= high else math.nextafter(length, math.inf)


def _indices(start: int, count: int, device: torch.device) -> Tensor:
    return torch.arange(start, start + count, dtype=torch.int64, device=device)


def _integer_root(number: int, degree: int) -> int:
    """Return the largest r with r**degree <= number, exactly."""
    root = round(number ** (1.0 / degree))  # within one of the truth for numbers up to 2**52
    while root**degree > number:
        root -= 1
    while (root + 1) ** degree <= number:
        root += 1
    return root
