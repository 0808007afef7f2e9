"""Local maxima of |error|, sharpened: batched projected Newton steps from the best of some climbs.

For errors with two derivatives. Coordinates at a bound that would leave are held (Bertsekas, Projected Newton methods,
SIAM J. Control Optim. 20, 1982); among the others every eigenvalue of the Hessian counts by its absolute value, and a
ridge is added, so that each step goes up to first order, from saddles too (Nocedal and Wright, Numerical Optimization,
section 3.4). Places go through `error` in groups of one shape, as those of `ascent` do.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.points.pointset import Domain
from hpcsweep.approx.supnorm.search.ascent import GROUP, Box, Climb, Error, keys, largest_first, padded, value_and_slope

STEPS = 8
_RIDGE = 1e-3  # at first, in the largest eigenvalue; a tenth after each step that was better, else ten times as much
_LONGEST = 0.5  # longest step of a coordinate, in half sides of the domain
_ROUNDOFF = 2.0**-53


@dataclass(eq=False)
class _Peaks:
    """The state of one group; the first axis of every tensor is the climb."""

    places: Tensor  # (climbs, dimension), the best so far
    values: Tensor  # (climbs,), |error| there
    slopes: Tensor  # (climbs, dimension), its gradient per half side
    bends: Tensor  # (climbs, dimension, dimension), the Hessian of the error, of either sign, per half sides
    ridge: Tensor  # (climbs,)
    settled: Tensor  # (climbs,) bool, nothing more to gain


def sharpen(error: Error, climb: Climb, domain: Domain, share: float) -> Climb:
    """Go on from the best share of the places of `climb`; nothing becomes less, and NaN and inf stay as they are.

    A place whose Hessian has a NaN or inf stays as well. An error that cannot be differentiated twice, by code that
    autograd follows, gets `climb` back as it is.

    Parameters
    ----------
    error: signed, see `ascent.ascend`.

    Returns
    -------
    Climb: of all places; a Hessian counts as one evaluation with gradient for each of its columns.
    """
    box, finite = Box.of(domain, climb.places.device), climb.values.isfinite()
    order = largest_first(climb.values.masked_fill(~finite, 0.0))
    values, places = climb.values.clone(), climb.places.clone()
    evaluations, nonfinite = climb.evaluations, climb.nonfinite
    for chosen in order[: min(-int(-share * len(order) // 1), int(finite.sum()))].split(GROUP):
        peaks = _begin(error, places[padded(chosen)], box)
        if peaks is None:
            return climb
        spent, spoilt = _advance(error, peaks, box, len(chosen))
        evaluations, nonfinite = evaluations + spent, nonfinite + spoilt
        values[chosen], places[chosen] = peaks.values[: len(chosen)], peaks.places[: len(chosen)]
    return Climb(values, places, evaluations, nonfinite)


def curvature(error: Error, places: Tensor, half: Tensor) -> Tensor | None:
    """Return Hessians of the error per half sides, (places, dimension, dimension); None where autograd has none.

    Row after row of all places at once, backwards through the gradient: 1.0 to 1.4 gradients for each, a third to a
    ninth of what forward over reverse by `torch.func` takes for networks of width 16 to 48.
    """
    with torch.enable_grad():
        variable = places.detach().clone().requires_grad_()
        values = error(variable)
        try:
            (slopes,) = torch.autograd.grad(values.sum(), variable, create_graph=True)
            rows = [
                torch.autograd.grad(slope, variable, retain_graph=True)[0]
                for slope in (slopes * half).sum(0)  # of each axis, over all places, which do not see each other
            ]
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # no graph at all, one that ends after the first derivative, or no formula for the second
            return None
    return torch.stack(rows, dim=1) * half


def _begin(error: Error, places: Tensor, box: Box) -> _Peaks | None:
    """Evaluate the places (climbs, dimension); None if there is no Hessian."""
    bends = curvature(error, places, box.half)
    if bends is None:
        return None
    values, slopes = value_and_slope(error, places, box.half)
    slopes = torch.where(values[:, None] >= 0, slopes, -slopes)
    return _Peaks(places, values.abs(), slopes, bends, torch.full_like(values, _RIDGE), ~values.isfinite())


def _advance(error: Error, peaks: _Peaks, box: Box, real: int) -> tuple[int, int]:
    """Do the steps of one group in place, of which the first `real` count; return evaluations and NaN or inf."""
    spent, spoilt = real * (1 + peaks.places.shape[1]), 0
    for step in range(STEPS):
        trials = box.clamp(peaks.places + box.half * _moves(peaks, box))
        peaks.settled |= (trials == peaks.places).all(1)
        if peaks.settled[:real].all():
            break
        values, slopes = value_and_slope(error, trials, box.half)
        spent += real
        spoilt += int((~values.isfinite() & ~peaks.settled)[:real].sum())
        better = _accept(peaks, trials, values, slopes)
        if step + 1 < STEPS and better[:real].any():
            bends = curvature(error, peaks.places, box.half)
            assert bends is not None  # it was there at the first places
            peaks.bends, spent = bends, spent + real * peaks.places.shape[1]
    return spent, spoilt


def _moves(peaks: _Peaks, box: Box) -> Tensor:
    """Return the next step of each climb per half side, (climbs, dimension); it goes up, to first order."""
    free = box.free(peaks.places, peaks.slopes)
    slopes = torch.where(free, peaks.slopes, 0.0)
    usable = peaks.bends.isfinite().flatten(1).all(1)
    among = free[:, :, None] & free[:, None, :] & usable[:, None, None]
    bends = torch.where(among, (peaks.bends + peaks.bends.mT) / 2, 0.0)
    sizes, axes = torch.linalg.eigh(bends)  # (climbs, dimension), (climbs, dimension, dimension)
    sizes = sizes.abs()
    # Where nothing bends, the ridge of the slope makes steps that are as long as they may be, and shorter in vain.
    largest = torch.maximum(sizes.amax(1, keepdim=True), slopes.abs().amax(1, keepdim=True) / _LONGEST)
    sizes = (sizes + peaks.ridge[:, None] * largest).clamp(min=1e-300)
    along = torch.linalg.vecdot(axes.mT, slopes[:, None, :])  # (climbs, dimension), the slope along each eigenvector
    moves = torch.where(free, torch.linalg.vecdot(axes, (along / sizes)[:, None, :]), 0.0)
    peaks.settled |= ~usable | ((moves * slopes).sum(1) <= _ROUNDOFF * peaks.values)
    moves = moves * (_LONGEST / moves.abs().amax(1, keepdim=True).clamp(min=1e-300)).clamp(max=1.0)
    return torch.where(peaks.settled[:, None], 0.0, moves)


def _accept(peaks: _Peaks, trials: Tensor, values: Tensor, slopes: Tensor) -> Tensor:
    """Take over the trials (climbs, dimension) that are better, NaN and inf included; return which, (climbs,) bool."""
    better = (keys(values) > keys(peaks.values)) & ~peaks.settled
    slopes = torch.where(values[:, None] >= 0, slopes, -slopes)
    peaks.places = torch.where(better[:, None], trials, peaks.places)
    peaks.slopes = torch.where(better[:, None], slopes, peaks.slopes)
    peaks.values = torch.where(better, values.abs(), peaks.values)
    peaks.ridge = torch.where(better, peaks.ridge / 10, peaks.ridge * 10)
    peaks.settled = peaks.settled | ~peaks.values.isfinite()
    return better
