"""Points that are inflated about the middle of the domain and clamped to it: they see its boundary.

The largest error lies on the boundary most of the time from two variables on, where points of the open cube never come.
Of points clip(s (2 u - 1)) in [-1, 1]^d every coordinate is an end with probability 1 - 1/s: faces, edges and corners
of every dimension are met, and s decides how many coordinates are on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.points.counter import BITS
from hpcsweep.approx.supnorm.points.pointset import Indices, PointSet

FACTORS = (1.0, 1.25, 2.0, 4.0)
BLOCK = 256  # indices with one factor: the smallest tile, so that no tile pays for factors that it does not show
_CYCLE = BLOCK * len(FACTORS)
_MIDDLE = 2.0 ** (BITS - 1)


@final
@dataclass(frozen=True, eq=False)
class Inflated(PointSet):
    """Another set inflated by 1, 1.25, 2 and 4, in turns of 256 indices.

    Index 1024 c + 256 f + i shows point 256 c + i of `base` by factor number f. So each factor has all of the base set
    from its first point on; had it every fourth block, Sobol points would leave gaps that no number of them closes.

    They are not spread evenly: `fair` is false. The largest error over them, its place and the k worst points mean what
    they say; a mean or a quantile over them would mean nothing, and none is made.
    """

    base: PointSet

    fair: ClassVar[bool] = False

    def numbers(self, indices: Indices, device: torch.device) -> Tensor:
        """Return the base points about the middle, times the factor, back and clamped: ends are met exactly."""
        factors = torch.tensor(FACTORS, dtype=torch.float64, device=device)
        if isinstance(indices, range):
            numbers, times = self._block(indices, factors)
        else:
            offset, block = indices % BLOCK, indices // BLOCK
            numbers = self.base.numbers(block // len(FACTORS) * BLOCK + offset, device)  # (dimension, points)
            times = factors[block % len(FACTORS)]  # (points,)
        return (numbers - _MIDDLE).mul_(times).add_(_MIDDLE).clamp_(0.0, 2.0**BITS)

    def _block(self, indices: range, factors: Tensor) -> tuple[Tensor, Tensor]:
        """Return base points (dimension, points) and factors (points,), each base point made once."""
        first, last = indices.start // _CYCLE, indices[-1] // _CYCLE + 1  # cycles
        below = self.base.numbers(range(first * BLOCK, last * BLOCK), factors.device)
        numbers = below.view(self.dimension, -1, 1, BLOCK).expand(-1, -1, len(FACTORS), -1)
        own = slice(indices.start - first * _CYCLE, indices.stop - first * _CYCLE)
        times = factors[:, None].expand(last - first, -1, BLOCK).reshape(-1)
        return numbers.reshape(self.dimension, -1)[:, own], times[own]


def below(count: int) -> int:
    """Return how many points of a base set serve `count` inflated ones."""
    return -(-count // len(FACTORS))


def inflate(base: PointSet) -> Inflated:
    """Return all of a point set by each factor, in whole cycles of 1024."""
    return Inflated(base.dimension, -(-base.count // BLOCK) * _CYCLE, base.domain, base)
