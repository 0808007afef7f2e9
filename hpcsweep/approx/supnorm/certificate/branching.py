"""One round of branch and bound: boxes are halved, bounded anew, cut, and looked into for larger errors.

Boxes are parts of the unit cube [-1, 1]^d with edges on the grid of 2**-51, so that centers and radii are exact. Each
has two sides: the error target - approximant is bounded from above, and so is its negative. A side at most at the
level is settled; the work is done for open sides only.

A side's bound is linear in the place plus a constant, so that it proves where in the box the error cannot exceed the
level. That part is cut off: where the error rises towards the boundary of the domain, all but a thin slab goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.difference import Difference, UpperBound

_GRID = 2.0**51  # the sum of two edges is exact, and so is half of it
_NARROW = 4 / _GRID  # an edge that is not halved
_LOOKED_INTO = 256  # boxes of a round, the worst, in which the error itself is evaluated
_KEPT = 0.5  # a box of which less is left is bounded again before it is halved
_NEARLY_LONGEST = 0.999  # what slopes contribute says little: the longest edges, by roundings
_LONG = 0.1  # what higher terms contribute says along which of these to halve
_ROUNDINGS = 4.0  # a bound so many times its roundings above an error in its box will hardly come closer
WHOLE = -1  # an axis: not to be halved before being bounded again


@dataclass(frozen=True, eq=False)
class Boxes:
    """Parts of the unit cube.

    Parameters
    ----------
    low, high: (boxes, dimension) float64, edges.
    bounds: (boxes, 2), upper bounds of the error and of its negative.
    axis: (boxes,) int8, along which to halve, or `WHOLE`.
    """

    low: np.ndarray
    high: np.ndarray
    bounds: np.ndarray
    axis: np.ndarray

    def __len__(self) -> int:
        return len(self.low)

    def __getitem__(self, chosen: np.ndarray | slice) -> Boxes:
        return Boxes(self.low[chosen], self.high[chosen], self.bounds[chosen], self.axis[chosen])

    def worst(self) -> np.ndarray:
        """Return the larger bound of each, (boxes,)."""
        return self.bounds.max(1)


def concatenated(parts: Sequence[Boxes]) -> Boxes:
    """Return the boxes of all parts, in order."""
    return Boxes(
        np.concatenate([part.low for part in parts]),
        np.concatenate([part.high for part in parts]),
        np.concatenate([part.bounds for part in parts]),
        np.concatenate([part.axis for part in parts]),
    )


def grid(dimension: int, count: int) -> Boxes:
    """Return the unit cube in count^dimension equal boxes, nothing known of them; count is a power of two."""
    edges = np.linspace(-1.0, 1.0, count + 1)
    corners = np.arange(count**dimension)[:, None] // count ** np.arange(dimension)[::-1] % count
    bounds, axis = np.full((len(corners), 2), np.inf), np.full(len(corners), WHOLE, dtype=np.int8)
    return Boxes(edges[corners], edges[corners + 1], bounds, axis)


def halves(boxes: Boxes) -> Boxes:
    """Return both halves of boxes with an axis, and the others as they are; halves inherit the bounds."""
    halved = np.flatnonzero(boxes.axis != WHOLE)
    rows, along = np.arange(len(halved)), boxes.axis[halved]
    upper = boxes[halved]
    middle = np.floor((upper.low[rows, along] + upper.high[rows, along]) / 2 * _GRID) / _GRID
    upper.low[rows, along] = middle
    lower = Boxes(boxes.low, boxes.high.copy(), boxes.bounds, boxes.axis)
    lower.high[halved, along] = middle
    return concatenated([lower, upper])


def parted(boxes: Boxes, least: int) -> Boxes:
    """Return boxes halved along their longest edges until there are as many as asked for; or too narrow for that."""
    while 0 < len(boxes) < least:
        edges = boxes.high - boxes.low
        if (edges.max(1) <= _NARROW).any():
            break
        boxes = halves(Boxes(boxes.low, boxes.high, boxes.bounds, edges.argmax(1).astype(np.int8)))
    return boxes


@dataclass(frozen=True, eq=False)
class RoundResult:
    """What a round found: open boxes, a bound for those that no work will settle, and the largest error seen.

    Attributes
    ----------
    boxes: still open
    floor: bounds |error| where it cannot be bounded more closely; 0 for nowhere
    error, where: of the points looked at, NaN above all; the point in unit coordinates, (1, dimension)
    """

    boxes: Boxes
    floor: float
    error: float
    where: Tensor


def bound(difference: Difference, boxes: Boxes, level: float) -> RoundResult:
    """Bound the open sides of boxes anew, and cut off what cannot exceed the level."""
    opened = boxes.bounds > level
    # those open above first, those open below last: the boxes of either side are a slice
    boxes = boxes[np.argsort(opened[:, 1].astype(np.int8) - opened[:, 0], kind="stable")]
    sides = slice(0, int(opened[:, 0].sum())), slice(len(boxes) - int(opened[:, 1].sum()), len(boxes))
    low, high, bounds = (torch.from_numpy(part) for part in (boxes.low, boxes.high, boxes.bounds.copy()))
    upper_bounds = difference.upper_bounds((low + high) / 2, (high - low) / 2, *sides, level)
    by_slopes = upper_bounds[0].share is None
    remaining = _Remaining.nothing(low, _NEARLY_LONGEST if by_slopes else _LONG)
    for column, (side, bound) in enumerate(zip(sides, upper_bounds, strict=True)):
        bounds[side, column] = torch.minimum(bounds[side, column], bound.least())
        remaining.add(side, *_cut(low[side], high[side], bounds[side, column], bound, level), bound)
    worst = bounds.amax(1)  # (boxes,)
    points, errors, settled = _evaluate_inside(difference, low, high, worst, remaining)
    axis, narrow = _axis(low, high, remaining)
    settled |= narrow & (worst > level)
    floor = float(worst[settled].amax()) if settled.any() else 0.0
    open_boxes = ((worst > level) & ~settled).numpy()
    still_open = Boxes(
        remaining.low.numpy()[open_boxes],
        remaining.high.numpy()[open_boxes],
        bounds.numpy()[open_boxes],
        axis.numpy()[open_boxes],
    )
    worst_point = int(errors.argmax())  # the first NaN, if there is one
    return RoundResult(still_open, floor, float(errors[worst_point]), points[worst_point : worst_point + 1])


@dataclass(frozen=True, eq=False)
class _Remaining:
    """What is left of boxes after cutting, the hull of both sides; (boxes, dimension) each, and (boxes,).

    low, high: edges, infinite and inverted where nothing is left. share: what each axis contributes to the bound.
    tilt: the slopes of the side with the larger noise; noise: roundings in the bound. shortest: the edge, relative to
    the longest one, along which a box may be halved.
    """

    low: Tensor
    high: Tensor
    share: Tensor
    tilt: Tensor
    noise: Tensor
    shortest: float

    @classmethod
    def nothing(cls, like: Tensor, shortest: float) -> _Remaining:
        """Return the hull of nothing, for boxes (boxes, dimension)."""
        low, high = torch.full_like(like, torch.inf), torch.full_like(like, -torch.inf)
        return cls(low, high, torch.zeros_like(like), torch.zeros_like(like), like.new_zeros(len(like)), shortest)

    def add(self, side: slice, low: Tensor, high: Tensor, bound: UpperBound) -> None:
        """Add what is left of one side."""
        self.low[side] = torch.minimum(self.low[side], low)
        self.high[side] = torch.maximum(self.high[side], high)
        share = bound.slopes.abs() if bound.share is None else bound.share
        self.share[side] = torch.maximum(self.share[side], share)
        self.tilt[side] = torch.where(low <= high, bound.slopes, self.tilt[side])
        self.noise[side] = torch.maximum(self.noise[side], bound.noise)


def _cut(low: Tensor, high: Tensor, bounds: Tensor, bound: UpperBound, level: float) -> tuple[Tensor, Tensor]:
    """Return the edges (boxes, dimension) of what may exceed the level; infinite and inverted where nothing may.

    On the axis with slope s the bound falls by |s| per radius, from the edge where its own top is on: beyond
    (top - level) / |s| radii it is at most the level, wherever the other coordinates are. An older bound may lie below
    that top; it has no slope, so that it settles whole boxes or nothing.
    """
    # The quotient, inflated, and one step of the grid more than its rounding cover all roundings.
    steps = ((bound.top() - level).unsqueeze(1) / bound.slopes.abs()).mul_(1 + 1e-12)
    depth = steps.mul_((high - low) / 2).nan_to_num_(torch.inf, torch.inf)  # (boxes, dimension)
    rises = bound.slopes >= 0
    from_high = ((high - depth).mul_(_GRID).floor_() - 1).mul_(1 / _GRID)
    from_low = ((low + depth).mul_(_GRID).ceil_() + 1).mul_(1 / _GRID)
    settled = (bounds <= level).unsqueeze(1)
    left = torch.where(rises, torch.maximum(low, from_high), low).masked_fill_(settled, torch.inf)
    right = torch.where(rises, high, torch.minimum(high, from_low)).masked_fill_(settled, -torch.inf)
    return left, right


def _evaluate_inside(
    difference: Difference, low: Tensor, high: Tensor, worst: Tensor, remaining: _Remaining
) -> tuple[Tensor, Tensor, Tensor]:
    """Evaluate the error at the center and in the worst corner of the worst boxes.

    Returns
    -------
    unit points (points, dimension), errors (points,), and for each box whether its bound is as close as it gets.
    """
    chosen = torch.from_numpy(np.argsort(-worst.numpy(), kind="stable")[:_LOOKED_INTO].copy())
    corners = torch.where(remaining.tilt >= 0, high, low)[chosen]
    points = torch.cat([(low + high)[chosen] / 2, corners])
    errors = difference.errors(points)
    best = errors.view(2, -1).amax(0)
    settled = torch.zeros(len(worst), dtype=torch.bool)
    # not where all is infinite: smaller boxes may be better
    settled[chosen] = (worst[chosen] - best <= _ROUNDINGS * remaining.noise[chosen]) & worst[chosen].isfinite()
    return points, errors, settled


def _axis(low: Tensor, high: Tensor, remaining: _Remaining) -> tuple[Tensor, Tensor]:
    """Return the axis (boxes,) along which to halve what is left, or `WHOLE`; and where it is too narrow for that.

    Of the edges that are long enough that which contributes most.
    """
    edges = remaining.high - remaining.low
    longest = edges.amax(1, keepdim=True)
    axis = (remaining.share + 1e-300).masked_fill_(edges < remaining.shortest * longest, 0.0).argmax(1)
    kept = (edges / (high - low)).prod(1)
    return axis.masked_fill_(kept < _KEPT, WHOLE).to(torch.int8), longest[:, 0] <= _NARROW
