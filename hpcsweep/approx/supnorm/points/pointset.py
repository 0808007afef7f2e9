"""What a point set is: a pure function of the index that never exists as a whole.

Any device, any order, any rank: point i is the same bits, because all arithmetic before the last steps is on int64, and
those are single roundings. Points are made axis by axis, (dimension, points) in memory, and handed out transposed: a
target that takes a column and a network that takes all of them then read memory in order.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.points.counter import BITS

Domain = tuple[tuple[float, float], ...]
Indices = range | Tensor

MAXIMAL_COUNT = 2**52  # a tile may reach beyond the count, and indices must stay below 2**53


class _Box(NamedTuple):
    """low + step * number, at most high where rounding could leave the domain: (dimension, 1) each."""

    low: Tensor
    step: Tensor
    high: Tensor | None


@dataclass(frozen=True, eq=False)
class PointSet(ABC):
    """A function from indices to points of a box.

    A kind implements `numbers`; what maps them to the domain is the same for all. Make a set from plain values on each
    rank, which is cheap, rather than send it.

    Parameters
    ----------
    dimension: of the points.
    count: how many points the set really has.
    domain: ``((low, high), ...)``, one pair per axis.

    Class attributes
    ----------------
    fair: whether the points are spread evenly, so that means and quantiles over them speak of the domain. Of a set
        that is not fair, only the largest errors and their places mean something.
    """

    dimension: int
    count: int
    domain: Domain
    # Remembered for speed only, always equal to what would be computed again.
    _boxes: dict[torch.device, _Box] = field(default_factory=dict, init=False, repr=False)

    fair: ClassVar[bool] = True

    @abstractmethod
    def numbers(self, indices: Indices, device: torch.device) -> Tensor:
        """Return the points on the closed unit cube, times 2**53: float64, (dimension, points), new memory.

        A point must depend on its index alone, and exist beyond the end of the set too, no matter where. `indices`
        are a range of step 1 or int64 (points,) on the device.
        """

    def __call__(self, start: int, count: int, device: torch.device | str = "cpu") -> Tensor:
        """Return points `start` to `start + count` of the domain, float64, (count, dimension).

        Indices at or beyond the set's own count are allowed, so that a last tile can be computed at full shape: a
        grid begins again, the others go on.
        """
        if start < 0 or count < 1 or start + count > 2**BITS:
            raise ValueError(f"no indices from {start} to {start + count}: they run from 0 to 2**{BITS}")
        return self._placed(range(start, start + count), torch.device(device))

    def at(self, indices: Tensor) -> Tensor:
        """Return the points with these indices, int64 (points,) in any order: float64, (points, dimension).

        On the device of the indices; the same bits as in any block that contains them.
        """
        if indices.dtype != torch.int64 or indices.ndim != 1:
            raise ValueError(f"indices are int64 (points,), not {indices.dtype} {tuple(indices.shape)}")
        if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < 2**BITS:
            raise ValueError(f"no indices from {indices.min()} to {indices.max()}: they run from 0 to 2**{BITS}")
        return self._placed(indices, indices.device)

    def _placed(self, indices: Indices, device: torch.device) -> Tensor:
        low, step, high = self._box(device)
        # Two roundings, in place: a fused multiply-add would have one, on some devices only.
        points = self.numbers(indices, device).mul_(step).add_(low)  # (dimension, points)
        return (points if high is None else torch.minimum(points, high, out=points)).T

    def _box(self, device: torch.device) -> _Box:
        if device not in self._boxes:
            sides = [(low, _length(low, high) * 2.0**-BITS, high) for low, high in self.domain]
            low, step, high = torch.tensor(sides, dtype=torch.float64).to(device).T[:, :, None]
            leaves = any(low + step * 2.0**BITS > high for low, step, high in sides)
            self._boxes[device] = _Box(low, step, high if leaves else None)
        return self._boxes[device]


def _length(low: float, high: float) -> float:
    """Return high - low, rounded up where the rounded one would leave low + length below `high`."""
    length = high - low
    return length if low + length >= high else math.nextafter(length, math.inf)


def listed(indices: Indices, device: torch.device) -> Tensor:
    """Return indices as int64 (points,) on the device."""
    if isinstance(indices, range):
        return torch.arange(indices.start, indices.stop, dtype=torch.int64, device=device)
    return indices
