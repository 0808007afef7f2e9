"""The steps of climbs in tensors, for devices; `kernels.climbs` has the same in loops, for processors."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.points.pointset import Domain
from hpcsweep.approx.supnorm.screening.error_keys import canonical

MEMORY = 5
REACH = 0.05  # first step, in half sides of the domain
LONGEST = 0.5  # longest step of a coordinate, likewise
SHORTER = 0.35  # factor after a step that was no better
SHORTEST = 1e-3  # of a remembered direction; a shorter one is given up
_ROUNDOFF = 2.0**-53


@dataclass(frozen=True, eq=False)
class Box:
    """The domain as tensors (dimension,) on a device: steps are measured in half sides."""

    low: Tensor
    high: Tensor
    half: Tensor

    @classmethod
    def of(cls, domain: Domain, device: torch.device) -> Box:
        """Return the box of ((low, high), ...)."""
        low, high = torch.tensor(domain, dtype=torch.float64).to(device).T
        return cls(low, high, high / 2 - low / 2)

    def clamp(self, places: Tensor) -> Tensor:
        """Return the nearest places within the box, (places, dimension)."""
        return torch.minimum(torch.maximum(places, self.low), self.high)

    def free(self, places: Tensor, slopes: Tensor) -> Tensor:
        """Say which coordinates may follow their slopes, (places, dimension) bool: not those that would leave."""
        return ~(((places >= self.high) & (slopes > 0)) | ((places <= self.low) & (slopes < 0)))


@dataclass(eq=False)
class Climbers:
    """The state of some climbs; the first axis of every tensor is the climb."""

    places: Tensor  # (climbs, dimension), the best so far
    values: Tensor  # (climbs,), |error| there
    slopes: Tensor  # (climbs, dimension), its gradient per half side
    positive: Tensor  # (climbs,) bool, the sign of the error there
    moves: Tensor  # (climbs, memory, dimension), differences of places per half side, the latest last
    turns: Tensor  # (climbs, memory, dimension), the slopes lost along them
    weights: Tensor  # (climbs, memory), 1 / (move . turn); 0 where nothing is remembered
    length: Tensor  # (climbs,), factor of the next step
    reach: Tensor  # (climbs,), size of a step along the slope alone
    settled: Tensor  # (climbs,) bool, nothing more to gain

    def rows(self, chosen: Tensor) -> Climbers:
        """Return copies of the climbs with these numbers."""
        return Climbers(*(getattr(self, field.name)[chosen] for field in fields(self)))


def keys(values: Tensor) -> Tensor:
    """Return int64 that order |values| totally, NaN on top, as `screen` does."""
    return canonical(values.abs().view(torch.int64))


def directions(climbers: Climbers, box: Box) -> Tensor:
    """Return the next step of each climb per half side, (climbs, dimension); it goes up, to first order."""
    free = box.free(climbers.places, climbers.slopes)
    slopes = torch.where(free, climbers.slopes, 0.0)
    steepest = slopes.abs().amax(1, keepdim=True).clamp(min=1e-300)
    direction = torch.where(free, _two_loops(climbers, slopes, climbers.reach[:, None] / steepest), 0.0)
    gain = (direction * slopes).sum(1, keepdim=True)
    direction = torch.where(gain > 0, direction, climbers.reach[:, None] / steepest * slopes)
    # What promises less than a rounding error of the value is not worth a trial.
    climbers.settled |= (direction * slopes).sum(1) <= _ROUNDOFF * climbers.values
    longest = direction.abs().amax(1, keepdim=True).clamp(min=1e-300)
    moves = climbers.length[:, None] * direction * (LONGEST / longest).clamp(max=1.0)
    return torch.where(climbers.settled[:, None], 0.0, moves)


def _two_loops(climbers: Climbers, slopes: Tensor, without: Tensor) -> Tensor:
    """Return the L-BFGS direction (climbs, dimension); where nothing is remembered, `without` (climbs, 1) * slopes."""
    moves, turns, weights = climbers.moves.unbind(1), climbers.turns.unbind(1), climbers.weights.unbind(1)
    shares = []
    for move, turn, weight in zip(reversed(moves), reversed(turns), reversed(weights), strict=True):
        share = (weight * torch.linalg.vecdot(move, slopes))[:, None]
        slopes = torch.addcmul(slopes, share, turn, value=-1)
        shares.append(share)
    known = (weights[-1] != 0)[:, None]
    scale = 1 / (weights[-1] * torch.linalg.vecdot(turns[-1], turns[-1]))[:, None]
    direction = torch.where(known, scale, without) * slopes
    for move, turn, weight, share in zip(moves, turns, weights, reversed(shares), strict=True):
        back = (weight * torch.linalg.vecdot(turn, direction))[:, None]
        direction = torch.addcmul(direction, share - back, move)
    return direction


def accept(climbers: Climbers, trials: Tensor, values: Tensor, slopes: Tensor, box: Box) -> None:
    """Take over the trials (climbs, dimension) that are better, NaN and inf included; remember, lengthen or shorten."""
    positive = values >= 0
    slopes = torch.where(positive[:, None], slopes, -slopes)
    better = (keys(values) > keys(climbers.values)) & ~climbers.settled
    size = ((trials - climbers.places) / box.half).abs().amax(1)
    flipped = better & (positive != climbers.positive)  # welcome, but what is remembered is of the other sign
    _remember(climbers, trials, slopes, better & ~flipped, box)
    row = better[:, None]
    climbers.places = torch.where(row, trials, climbers.places)
    climbers.slopes = torch.where(row, slopes, climbers.slopes)
    climbers.positive = torch.where(better, positive, climbers.positive)
    climbers.values = torch.where(better, values.abs(), climbers.values)
    climbers.settled = climbers.settled | ~climbers.values.isfinite()
    _adapt(climbers, better, flipped, size)


def _adapt(climbers: Climbers, better: Tensor, flipped: Tensor, size: Tensor) -> None:
    """Lengthen the next steps after success and shorten them after failure; `size` (climbs,) is that of the last.

    A direction from memory is shortened along itself, and forgotten when that is in vain; the slope alone then goes
    on from the size that failed.
    """
    length = torch.where(better, (2 * climbers.length).clamp(max=1.0), SHORTER * climbers.length)
    lost = flipped | (length < SHORTEST)
    alone = climbers.weights[:, -1] == 0
    climbers.weights = climbers.weights.masked_fill(lost[:, None], 0.0)
    climbers.length = length.masked_fill(lost | alone, 1.0)
    climbers.reach = torch.where(better, (2 * size).clamp(max=LONGEST), climbers.reach)
    climbers.reach = torch.where((lost | alone) & ~better, SHORTER * size, climbers.reach)


def _remember(climbers: Climbers, trials: Tensor, slopes: Tensor, better: Tensor, box: Box) -> None:
    """Push the accepted steps with negative curvature into the memory."""
    move = (trials - climbers.places) / box.half  # (climbs, dimension)
    # A coordinate that did not move, held at its bound, says nothing about the curvature among the others.
    turn = torch.where(move != 0, climbers.slopes - slopes, 0.0)
    product = torch.linalg.vecdot(move, turn)
    size = torch.linalg.vector_norm(move, dim=1) * torch.linalg.vector_norm(turn, dim=1)
    fits = better & (product > 1e-12 * size)
    for name, latest in (("moves", move), ("turns", turn), ("weights", 1 / product)):
        held = getattr(climbers, name)
        pushed = torch.cat([held[:, 1:], latest[:, None]], dim=1)
        setattr(climbers, name, torch.where(fits.view(-1, *[1] * (held.ndim - 1)), pushed, held))
