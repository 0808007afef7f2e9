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
from hpcsweep.approx.supnorm.search.climbers import (
    LONGEST,
    MEMORY,
    REACH,
    SHORTER,
    SHORTEST,
    Box,
    Climbers,
    accept,
    directions,
    keys,
)

# Signed, (points, dimension) -> (points,) float64; autograd differentiates it, or it has a `with_slopes` (see there).
Error = Callable[[Tensor], Tensor]

GROUP, _LEAST = 512, 128  # starts that are evaluated together; of fewer always 128, 256 or 512
# A value with its gradient, in values alone: 1.8 to 2.3 for compiled networks of width 16 to 512 on a CPU core, 2.0 to
# 2.8 by autograd.
GRADIENT_COST = 2.5


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


def whole(count: int) -> int:
    """Return how many places are evaluated for so many of a group."""
    size = _LEAST
    while size < count:
        size *= 2
    return size


def padded(rows: Tensor) -> Tensor:
    """Return row numbers continued to a whole group by repeating the first of them."""
    return torch.cat([rows, rows[:1].expand(whole(len(rows)) - len(rows))])


def _begin(error: Error, places: Tensor, box: Box) -> Climbers:
    """Evaluate the starts (climbs, dimension)."""
    values, slopes = value_and_slope(error, places, box.half)
    climbs, dimension = places.shape
    positive = values >= 0
    history = places.new_zeros(climbs, MEMORY, dimension)
    return Climbers(
        places=places,
        values=values.abs(),
        slopes=torch.where(positive[:, None], slopes, -slopes),
        positive=positive,
        moves=history,
        turns=history.clone(),
        weights=places.new_zeros(climbs, MEMORY),
        length=places.new_ones(climbs),
        reach=places.new_full((climbs,), REACH),
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
    way = _in_loops if climbers.places.device.type == "cpu" else _in_tensors
    return way(error, climbers, box, steps, real)


def _in_tensors(error: Error, climbers: Climbers, box: Box, steps: int, real: int) -> tuple[int, int]:
    spent = spoilt = 0
    for _ in range(steps):
        moves = directions(climbers, box)
        trials = box.clamp(climbers.places + box.half * moves)
        climbers.settled |= (trials == climbers.places).all(1)
        if climbers.settled[:real].all():
            break
        values, slopes = value_and_slope(error, trials, box.half)
        spent += real
        spoilt += int((~values.isfinite() & ~climbers.settled)[:real].sum())
        accept(climbers, trials, values, slopes, box)
    return spent, spoilt


def _in_loops(error: Error, climbers: Climbers, box: Box, steps: int, real: int) -> tuple[int, int]:
    spent, spoilt, (climbs, dimension) = 0, 0, climbers.places.shape
    names = [field.name for field in fields(climbers)]
    # contiguous: what is flattened for the kernels must not be a copy
    state = {name: getattr(climbers, name).double().contiguous().numpy() for name in names}
    sides = torch.stack([box.low, box.high, box.half]).numpy()
    trials, room = np.empty_like(state["places"]), np.empty(MEMORY + 2 * dimension)
    sizes, settled = (climbs, dimension, MEMORY), state["settled"][:real]
    for _ in range(steps):
        held = _flat(sides, *(part for name, part in state.items() if name != "positive"))
        propose: Callable[..., None] = climbs_kernels.propose[np.float64]
        propose(*sizes, LONGEST, *held, *_flat(trials), room[:MEMORY], room[MEMORY:])
        if settled.all():
            break
        values, slopes = value_and_slope(error, torch.from_numpy(trials.copy()), box.half)
        spent += real
        spoilt += int((~np.isfinite(values.numpy()[:real]) & (settled == 0.0)).sum())
        take: Callable[..., None] = climbs_kernels.accept[np.float64]
        given = _flat(sides, *state.values(), trials, values.contiguous().numpy(), slopes.contiguous().numpy())
        take(*sizes, LONGEST, SHORTER, SHORTEST, *given)
    for name, part in state.items():
        setattr(climbers, name, torch.from_numpy(part).to(getattr(climbers, name).dtype))
    return spent, spoilt


def _flat(*parts: np.ndarray) -> list[np.ndarray]:
    return [part.reshape(-1) for part in parts]
