"""The worst point of every tile, and exact sums for the means: streamed over a point set of any size.

Keys are reduced, not floats: the int64 bit pattern of a float64 >= 0 is in the same order as the number, and
with NaN made canonical it stands above infinity, where no maximum of floats would keep it. Tiles have one
shape, fixed by the study, so that every network sees the same matrix products however the work is shared; and
their sums are added as integers. Hence the same bits on 1 and on 1000 ranks, in any order.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hpcsweep.approx.meter.points import PointSet
from hpcsweep.bracket import Bracket
from hpcsweep.errors import PluginError

Function = Callable[[Tensor], Tensor]

INFINITY_KEY = 0x7FF0000000000000
NAN_KEY = 0x7FF8000000000000
_FIXED = 1074  # every float64 is a multiple of 2**-1074
# Sums of huge errors and their squares would overflow: such a tile is first scaled by 2**-600, exactly.
_SHRINK, _HUGE = 600, 2.0**500
_HUGE_KEY = (1023 + 500) << 52  # its bit pattern


@dataclass(frozen=True)
class Screen:
    """What is known of one network's errors on some points: plain numbers, small and picklable.

    Parameters
    ----------
    key: bit pattern of the largest |error|, NaN on top; -1 for no point at all.
    index, where: of the first point that has it; its coordinates, one per axis.
    absolute, square: sums of |error| and of its square over the finite ones, times 2**1074. Those of a tile
        are rounded as float64; tiles are added exactly.
    count: the number of points.
    nans, infinities: how many errors were not finite.
    """

    key: int
    index: int
    where: tuple[float, ...]
    absolute: int
    square: int
    count: int
    nans: int
    infinities: int

    @property
    def supremum(self) -> float:
        """Return the largest |error| seen; NaN if any was, 0 for no point at all."""
        return struct.unpack("<d", struct.pack("<q", self.key))[0] if self.count else 0.0

    @property
    def bracket(self) -> Bracket:
        """Return what this says of the sup-norm: from below only."""
        return Bracket(self.supremum, math.inf, self.where)

    @property
    def l1(self) -> float:
        """Return the mean of |error|, the L1 norm in the uniform probability measure.

        NaN or inf if any error was: a mean over the others would hide it.
        """
        return self._or_spoilt(lambda: self.absolute / (self.count << _FIXED))

    @property
    def l2(self) -> float:
        """Return the root of the mean square likewise, the L2 norm. Errors below 1e-162 square to nothing."""
        # By integers with 64 more bits, since the mean square of finite errors may be no finite float.
        bits = 64 + _FIXED // 2
        return self._or_spoilt(lambda: math.isqrt((self.square << 128) // self.count) / 2**bits)

    def _or_spoilt(self, mean: Callable[[], float]) -> float:
        """Return a mean where every error is finite; no points have none."""
        if self.nans or not self.count:
            return math.nan
        return math.inf if self.infinities else mean()


def empty() -> Screen:
    """Return the screen of no point, neutral in `merge`."""
    return Screen(key=-1, index=-1, where=(), absolute=0, square=0, count=0, nans=0, infinities=0)


def merge(a: Screen, b: Screen) -> Screen:
    """Return the screen of two disjoint sets of points. Associative and commutative to the bit.

    Not idempotent: points given twice count twice in the means.
    """
    worst = max(a, b, key=lambda screen: (screen.key, -screen.index))
    return Screen(
        key=worst.key,
        index=worst.index,
        where=worst.where,
        absolute=a.absolute + b.absolute,
        square=a.square + b.square,
        count=a.count + b.count,
        nans=a.nans + b.nans,
        infinities=a.infinities + b.infinities,
    )


def screen(
    points: PointSet,
    tiles: range,
    tile: int,
    target: Function,
    networks: Sequence[Function],
    device: torch.device | str = "cpu",
) -> list[Screen]:
    """Screen some tiles of a point set for all networks, points and target values computed once per tile.

    Parameters
    ----------
    tiles: which ones, within ``range(tile_count(points, tile))``; tile t begins at index t*tile.
    tile: points per tile. The last one is computed at full shape too; what exceeds the set is left out.
    target, networks: (tile, dimension) float64 -> (tile,) float64, on the device.

    Returns
    -------
    list[Screen]: one per network, in order.

    Raises
    ------
    PluginError: if the target or a network returns anything but float64 values, one per point.
    """
    if tiles and not 0 <= min(tiles) <= max(tiles) < tile_count(points, tile):
        raise ValueError(f"{tiles} leaves the {tile_count(points, tile)} tiles of {tile} points")
    screens = [empty() for _ in networks]
    for number in tiles:
        start = number * tile
        real = min(tile, points.count - start)
        places = points(start, tile, device)  # (tile, dimension)
        values = evaluate(target, places)  # (tile,)
        for i, network in enumerate(networks):
            errors = values - evaluate(network, places)  # (tile,)
            screens[i] = merge(screens[i], _summary(start, places[:real], errors[:real]))
    return screens


def tile_count(points: PointSet, tile: int) -> int:
    """Return how many tiles of `tile` points a set has, the last one perhaps not full."""
    return -(-points.count // tile)


def default_tile(width: int) -> int:
    """Return the points per tile for networks of this width on a CPU core.

    Two activations shall fit in half of an L2 cache of 2 MiB: the largest power of two of at most
    2**20 / (2 * width * 8 bytes), within [256, 4096]. Another tile costs up to seven times as much.
    """
    room = max(1, 2**20 // (2 * width * 8))
    return min(4096, max(256, 1 << (room.bit_length() - 1)))


def evaluate(function: Function, places: Tensor) -> Tensor:
    """Return a target's or network's values at some points, (points,), checked and without gradients.

    Raises
    ------
    PluginError: if they are not float64 of that shape; broadcasting would compare all points with all.
    """
    with torch.no_grad():
        values = function(places)
    if not isinstance(values, Tensor) or values.shape != places.shape[:1] or values.dtype != torch.float64:
        name = getattr(function, "__qualname__", type(function).__name__)
        got = f"{values.dtype} {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise PluginError(f"{name} returned {got} where float64 ({len(places)},) is expected.")
    return values


def _summary(start: int, places: Tensor, errors: Tensor) -> Screen:
    """Return the screen of one tile: places (points, dimension), errors (points,)."""
    magnitudes = errors.abs()
    keys = magnitudes.view(torch.int64)  # (points,)
    nans = infinities = shrunk = 0
    if int(keys.amax()) > _HUGE_KEY:  # smaller ones, all tiles of a sound network, need none of this care
        keys = keys.masked_fill(keys > INFINITY_KEY, NAN_KEY)  # NaNs differ in sign and payload
        nans, infinities = int((keys == NAN_KEY).sum()), int((keys == INFINITY_KEY).sum())
        magnitudes = magnitudes.masked_fill(keys >= INFINITY_KEY, 0.0)
        shrunk = _SHRINK if magnitudes.amax() > _HUGE else 0
        magnitudes = magnitudes * 2.0**-shrunk
    worst = int(keys.argmax())  # the first of equal ones
    return Screen(
        key=int(keys[worst]),
        index=start + worst,
        where=tuple(places[worst].tolist()),
        absolute=_exact(float(magnitudes.sum())) << shrunk,
        square=_exact(float(magnitudes.square().sum())) << 2 * shrunk,
        count=len(errors),
        nans=nans,
        infinities=infinities,
    )


def _exact(number: float) -> int:
    """Return a finite float times 2**1074, an integer."""
    numerator, denominator = number.as_integer_ratio()
    return numerator * (2**_FIXED // denominator)
