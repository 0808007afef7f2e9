"""Points -> local maxima of |error| near them: batched projected L-BFGS on a box, accepted only where it is better.

Each start climbs for itself (Liu and Nocedal, On the limited memory BFGS method, Math. Programming 45, 1989, alg. 2.1;
coordinates at a bound that point outside are held, as in Bertsekas, Projected Newton methods, SIAM J. Control Optim.
20, 1982). Starts go through `error` in groups of one shape, so that the bits of a climb depend on its own start only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.kernels import climbs as climbs_kernels
from hpcsweep.approx.supnorm.points.pointset import Domain
from hpcsweep.approx.supnorm.screening.error_keys import canonical

# Signed, (points, dimension) -> (points,) float64; autograd differentiates it, or it has a `with_slopes` (see there).
Error = Callable[[Tensor], Tensor]

GROUP, _LEAST = 512, 128  # starts that are evaluated together; of fewer always 128, 256 or 512
# A value with its gradient, in values alone: 1.8 to 2.3 for compiled networks of width 16 to 512 on a CPU core, 2.0 to
# 2.8 by autograd.
GRADIENT_COST = 2.5
_MEMORY = 5
_REACH = 0.05  # first step, in half sides of the domain
_LONGEST = 0.5  # longest step of a coordinate, likewise
_SHORTER = 0.35  # factor after a step that was no better
_SHORTEST = 1e-3  # of a remembered direction; a shorter one is given up
_ROUNDOFF = 2.0**-53


@dataclass(frozen=True, eq=False)
class Climb:
    """What became of some starts.

    Parameters
    ----------
    values: the largest |error| on each way, never below that at the start; NaN or inf where the way met one. (starts,)
    places: where that was, within the domain. (starts, dimension)
    evaluations: of the error with its gradient; padding is not counted.
    nonfinite: how many of these errors were NaN or inf. A climb ends there.
    """

    values: Tensor
    places: Tensor
    evaluations: int
    nonfinite: int


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


def ascend(error: Error, starts: Tensor, domain: Domain, steps: int = 20, again: float = 0.1) -> Climb:
    """Climb from every start for `steps` iterations, and from the best share `again` of the places for as many more.

    With ``again=0`` starts have nothing to do with each other: any cut of them into multiples of `GROUP` gives, put
    together, the same bits.

    Parameters
    ----------
    error: signed; what autograd cannot differentiate, or only to NaN or inf, counts as a slope of zero.
    starts: (starts, dimension) float64; moved into the domain where they lie outside.
    domain: ``((low, high), ...)``, one pair per axis.
    """
    box = Box.of(domain, starts.device)
    starts = box.clamp(starts).contiguous()  # bits may depend on the order in memory
    evaluations = nonfinite = 0
    groups = []
    for number in range(0, len(starts), GROUP):
        rows = padded(torch.arange(number, min(number + GROUP, len(starts)), device=starts.device))
        real = min(GROUP, len(starts) - number)
        climbers = _begin(error, starts[rows], box)
        nonfinite += int((~climbers.values[:real].isfinite()).sum())
        spent, spoilt = _climb(error, climbers, box, steps, real)
        evaluations, nonfinite = evaluations + real + spent, nonfinite + spoilt
        groups.append(climbers.rows(torch.arange(real, device=starts.device)))
    if not groups:
        return Climb(starts.new_empty(0), starts, 0, 0)
    everyone = Climbers(*(torch.cat([getattr(one, field.name) for one in groups]) for field in fields(Climbers)))
    spent, spoilt = _continue(error, everyone, box, steps, again)
    return Climb(everyone.values, everyone.places, evaluations + spent, nonfinite + spoilt)


def keys(values: Tensor) -> Tensor:
    """Return int64 that order |values| totally, NaN on top, as `screen` does."""
    return canonical(values.abs().view(torch.int64))


def largest_first(values: Tensor) -> Tensor:
    """Return the numbers of values in falling order of |value|, NaN first, equal ones in the order given."""
    return torch.sort(keys(values), descending=True, stable=True).indices


def value_and_slope(error: Error, places: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """Return signed errors (places,) and their gradients per half side (places, dimension), finite ones only."""
    values, slopes = with_slopes(error, places)
    slopes = slopes * half
    return values, torch.where(slopes.isfinite(), slopes, 0.0)


def with_slopes(function: Error, places: Tensor) -> tuple[Tensor, Tensor]:
    """Return values (places,) and gradients (places, dimension): by the function's own way, if it has one, or autograd.

    What autograd cannot differentiate has a gradient of zero.
    """
    if own := getattr(function, "with_slopes", None):
        return own(places)
    with torch.enable_grad():
        variable = places.detach().clone().requires_grad_()
        values = function(variable)
        gradient = None
        if values.requires_grad:
            (gradient,) = torch.autograd.grad(values.sum(), variable, allow_unused=True)
    return values.detach(), torch.zeros_like(places) if gradient is None else gradient


def padded(rows: Tensor) -> Tensor:
    """Return row numbers continued to a whole group by repeating the first of them."""
    size = _LEAST
    while size < len(rows):
        size *= 2
    return torch.cat([rows, rows[:1].expand(size - len(rows))])


def _begin(error: Error, places: Tensor, box: Box) -> Climbers:
    """Evaluate the starts (climbs, dimension)."""
    values, slopes = value_and_slope(error, places, box.half)
    climbs, dimension = places.shape
    positive = values >= 0
    history = places.new_zeros(climbs, _MEMORY, dimension)
    return Climbers(
        places=places,
        values=values.abs(),
        slopes=torch.where(positive[:, None], slopes, -slopes),
        positive=positive,
        moves=history,
        turns=history.clone(),
        weights=places.new_zeros(climbs, _MEMORY),
        length=places.new_ones(climbs),
        reach=places.new_full((climbs,), _REACH),
        settled=~values.isfinite(),
    )


def _continue(error: Error, everyone: Climbers, box: Box, steps: int, share: float) -> tuple[int, int]:
    """Climb on from the best share of the climbs that have not settled, in place; return evaluations and NaN or inf."""
    order = largest_first(everyone.values.masked_fill(everyone.settled, -0.0))
    count = min(-int(-share * len(order) // 1), int((~everyone.settled).sum()))
    spent = spoilt = 0
    for chosen in order[:count].split(GROUP) if count else ():
        climbers = everyone.rows(padded(chosen))
        counts = _climb(error, climbers, box, steps, len(chosen))
        spent, spoilt = spent + counts[0], spoilt + counts[1]
        everyone.places[chosen] = climbers.places[: len(chosen)]
        everyone.values[chosen] = climbers.values[: len(chosen)]
    return spent, spoilt


def _climb(error: Error, climbers: Climbers, box: Box, steps: int, real: int) -> tuple[int, int]:
    """Advance one group in place, of which the first `real` count; return evaluations and how many were NaN or inf."""
    if climbers.places.device.type == "cpu":
        return _climb_compiled(error, climbers, box, steps, real)
    spent = spoilt = 0
    for _ in range(steps):
        moves = _directions(climbers, box)
        trials = box.clamp(climbers.places + box.half * moves)
        climbers.settled |= (trials == climbers.places).all(1)
        if climbers.settled[:real].all():
            break
        values, slopes = value_and_slope(error, trials, box.half)
        spent += real
        spoilt += int((~values.isfinite() & ~climbers.settled)[:real].sum())
        _accept(climbers, trials, values, slopes, box)
    return spent, spoilt


def _climb_compiled(error: Error, climbers: Climbers, box: Box, steps: int, real: int) -> tuple[int, int]:
    """Do the same by compiled loops."""
    spent, spoilt, (climbs, dimension) = 0, 0, climbers.places.shape
    state = {field.name: getattr(climbers, field.name).double().numpy() for field in fields(climbers)}
    sides = torch.stack([box.low, box.high, box.half]).numpy()
    trials, room = np.empty_like(state["places"]), np.empty(_MEMORY + 2 * dimension)
    sizes, settled = (climbs, dimension, _MEMORY), state["settled"][:real]
    for _ in range(steps):
        held = _flat(sides, *(part for name, part in state.items() if name != "positive"))
        propose: Callable[..., None] = climbs_kernels.propose[np.float64]
        propose(*sizes, _LONGEST, *held, *_flat(trials), room[:_MEMORY], room[_MEMORY:])
        if settled.all():
            break
        values, slopes = value_and_slope(error, torch.from_numpy(trials.copy()), box.half)
        spent += real
        spoilt += int((~np.isfinite(values.numpy()[:real]) & (settled == 0.0)).sum())
        accept: Callable[..., None] = climbs_kernels.accept[np.float64]
        given = _flat(sides, *state.values(), trials, values.contiguous().numpy(), slopes.contiguous().numpy())
        accept(*sizes, _LONGEST, _SHORTER, _SHORTEST, *given)
    for name, part in state.items():
        setattr(climbers, name, torch.from_numpy(part).to(getattr(climbers, name).dtype))
    return spent, spoilt


def _flat(*parts: np.ndarray) -> list[np.ndarray]:
    return [part.reshape(-1) for part in parts]


def _directions(climbers: Climbers, box: Box) -> Tensor:
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
    moves = climbers.length[:, None] * direction * (_LONGEST / longest).clamp(max=1.0)
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


def _accept(climbers: Climbers, trials: Tensor, values: Tensor, slopes: Tensor, box: Box) -> None:
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
    length = torch.where(better, (2 * climbers.length).clamp(max=1.0), _SHORTER * climbers.length)
    lost = flipped | (length < _SHORTEST)
    alone = climbers.weights[:, -1] == 0
    climbers.weights = climbers.weights.masked_fill(lost[:, None], 0.0)
    climbers.length = length.masked_fill(lost | alone, 1.0)
    climbers.reach = torch.where(better, (2 * size).clamp(max=_LONGEST), climbers.reach)
    climbers.reach = torch.where((lost | alone) & ~better, _SHORTER * size, climbers.reach)


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
