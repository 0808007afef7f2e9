"""The worst points of a set of any size, exact sums for the means, and a histogram: streamed, tile after tile.

Keys are reduced, not floats (`error_keys`). Tiles have one shape, fixed by the study, so that all that torch computes
in them (targets, models given as torch code, sums) is the same operations however the work is shared; and their sums
and counts are added as integers. Hence the same bits on 1 and on 1000 ranks, in any order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.remembered import Forms
from hpcsweep.approx.supnorm.points import PointSet
from hpcsweep.approx.supnorm.screening import error_keys, histogram
from hpcsweep.approx.supnorm.screening.accumulator import FIXED, Accumulator
from hpcsweep.bracket import Bracket, cover
from hpcsweep.errors import PluginError

Function = Callable[[Tensor], Tensor]

_UNLIMITED = 2**63 - 1


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
    averaged: how many of the points are in sums and histogram: all, or none of sets that are not fair.
    worst: (key, index) of the largest different errors, key descending, each at its first index.
    kept: how many of them at most.
    counts: (bin, count) of |error| by the highest bits of its key, see `histogram`.
    """

    key: int
    index: int
    where: tuple[float, ...]
    absolute: int
    square: int
    count: int
    nans: int
    infinities: int
    averaged: int
    worst: error_keys.Ranked
    kept: int
    counts: histogram.Histogram

    @property
    def supremum(self) -> float:
        """Return the largest |error| seen; NaN if any was, 0 for no point at all."""
        return error_keys.value_of(self.key) if self.count else 0.0

    @property
    def bracket(self) -> Bracket:
        """Return what this says of the sup-norm: from below only."""
        return Bracket(self.supremum, math.inf, self.where)

    @property
    def l1(self) -> float:
        """Return the mean of |error|, the L1 norm in the uniform probability measure.

        NaN or inf if any error was: a mean over the others would hide it. NaN if no point may be averaged over.
        """
        return self._or_spoilt(lambda: self.absolute / (self.averaged << FIXED))

    @property
    def l2(self) -> float:
        """Return the root of the mean square likewise, the L2 norm. Errors below 1e-162 square to nothing."""
        # By integers with 64 more bits, since the mean square of finite errors may be no finite float.
        bits = 64 + FIXED // 2
        return self._or_spoilt(lambda: math.isqrt((self.square << 128) // self.averaged) / 2**bits)

    def quantile(self, share: float) -> float:
        """Return what |error| stays below at this share of the points, at most 2^-5 too large (`histogram.quantile`).

        NaN if no point may be averaged over; never above the supremum.
        """
        edge = histogram.quantile(self.counts, share)
        return min(edge, self.supremum) if edge < math.inf and not self.nans else edge

    def _or_spoilt(self, mean: Callable[[], float]) -> float:
        """Return a mean where every error is finite; no points have none."""
        if self.nans or not self.averaged:
            return math.nan
        return math.inf if self.infinities else mean()


def empty() -> Screen:
    """Return the screen of no point, neutral in `merge`."""
    return Screen(-1, -1, (), 0, 0, 0, 0, 0, averaged=0, worst=(), kept=_UNLIMITED, counts=())


def merge(a: Screen, b: Screen) -> Screen:
    """Return the screen of two disjoint parts of one point set. Associative and commutative to the bit.

    Not idempotent: points given twice count twice in the means. Of two that keep different numbers of worst points, the
    smaller number is kept: more are not known.
    """
    worst = max(a, b, key=lambda screen: (screen.key, -screen.index))
    kept = min(a.kept, b.kept)
    return Screen(
        key=worst.key,
        index=worst.index,
        where=worst.where,
        absolute=a.absolute + b.absolute,
        square=a.square + b.square,
        count=a.count + b.count,
        nans=a.nans + b.nans,
        infinities=a.infinities + b.infinities,
        averaged=a.averaged + b.averaged,
        worst=error_keys.first(a.worst + b.worst, kept),
        kept=kept,
        counts=histogram.add(a.counts, b.counts),
    )


def merge_all(screens: Iterable[Screen]) -> Screen:
    """Return the screen of disjoint parts of one point set, in any order."""
    first, *others = list(screens) or [empty()]
    return reduce(merge, others, first)


def higher(a: Bracket, b: Bracket) -> Bracket:
    """Return the higher one of two lower bounds of one supremum, a NaN above all, and its place."""
    return cover(Bracket(a.lower, where=a.where), Bracket(b.lower, where=b.where))


def candidates(screens: Sequence[Screen], sets: Sequence[PointSet], count: int, device: torch.device | str) -> Tensor:
    """Return the worst points of several sets, one screen for each: (at most count, dimension), the worst first.

    Of equal errors there is one point, of the first set that has one.
    """
    own = [np.array(screen.worst, dtype=np.int64).reshape(-1, 2) for screen in screens]
    numbers = np.repeat(np.arange(len(own)), [len(pairs) for pairs in own])
    keys, indices = np.concatenate(own).T
    order = np.lexsort((indices, numbers, -keys))
    order = order[np.append(True, keys[order][1:] != keys[order][:-1]) if len(order) else slice(0)][:count]
    places = torch.empty(len(order), sets[0].dimension, dtype=torch.float64, device=device)
    for number, points in enumerate(sets):
        ranks = np.flatnonzero(numbers[order] == number)
        places[torch.from_numpy(ranks).to(device)] = points.at(torch.from_numpy(indices[order[ranks]]).to(device))
    return places


def screen(
    points: PointSet,
    tiles: range,
    tile: int,
    target: Function,
    networks: Sequence[Function],
    device: torch.device | str = "cpu",
    *,
    worst: int = 0,
    forms: Forms | None = None,
) -> list[Screen]:
    """Screen some tiles of a point set for all networks, points and target values computed once per tile.

    Parameters
    ----------
    tiles: which ones, within ``range(tile_count(points, tile))``; tile t begins at index t*tile.
    tile: points per tile. The last one is computed at full shape too; what exceeds the set is left out.
    target, networks: (tile, dimension) float64 -> (tile,) float64, on the device.
    worst: how many of the worst points are kept, for `candidates`; of equal errors the first point alone.
    forms: what is remembered of the target, on the CPU.

    Returns
    -------
    list[Screen]: one per network, in order. Of a set that is not fair, without sums and histogram.

    Raises
    ------
    PluginError: if the target or a network returns anything but float64 values, one per point.
    """
    if tiles and not 0 <= min(tiles) <= max(tiles) < tile_count(points, tile):
        raise ValueError(f"{tiles} leaves the {tile_count(points, tile)} tiles of {tile} points")
    accumulators = [Accumulator(tile, max(1, worst), points.fair, device) for _ in networks] if tiles else []
    for number in tiles:
        start = number * tile
        real = min(tile, points.count - start)

        def made(start: int = start) -> tuple[Tensor, Tensor]:
            places = points(start, tile, device)
            return places, evaluate(target, places)

        places, values = (
            made() if forms is None else forms.tile(points, start, tile, made)
        )  # (tile, dimension), (tile,)
        for accumulator, network in zip(accumulators, networks, strict=True):
            accumulator.add(start, (values - evaluate(network, places))[:real])
    return [_finished(accumulator, points, worst, device) for accumulator in accumulators] or [
        empty() for _ in networks
    ]


def _finished(accumulator: Accumulator, points: PointSet, worst: int, device: torch.device | str) -> Screen:
    ranked = accumulator.worst
    key, index = ranked[0]
    return Screen(
        key=key,
        index=index,
        where=tuple(points(index, 1, device)[0].tolist()),
        absolute=accumulator.absolute,
        square=accumulator.square,
        count=accumulator.count,
        nans=accumulator.nans,
        infinities=accumulator.infinities,
        averaged=accumulator.averaged,
        worst=ranked[:worst],
        kept=worst,
        counts=accumulator.histogram,
    )


def tile_count(points: PointSet, tile: int) -> int:
    """Return how many tiles of `tile` points a set has, the last one perhaps not full."""
    return -(-points.count // tile)


def default_tile(width: int, device: torch.device | str = "cpu") -> int:
    """Return the points per tile for networks of this width.

    On a processor core 8192 for all: points, target values and errors of a tile stay in its cache, and the twenty steps
    of a tile, whatever its size, are spread over enough points (measured: 4096 costs up to 20 % more at widths 16 and
    64, 1024 twice as much). Compiled networks take a tile in blocks of 96 points, 192 in float32. On a GPU so many
    that two activations fill at most 2 GiB, within [2**16, 2**20]: some milliseconds of work.
    """
    if torch.device(device).type == "cpu":
        return 8192
    return min(2**20, max(2**16, 1 << (2**31 // (2 * width * 8)).bit_length() - 1))


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
