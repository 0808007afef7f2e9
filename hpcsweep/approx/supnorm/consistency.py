"""Whether a function is what the meter takes it for: one of the point alone, unchanged, and the one that is proved."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.isolation import reseeded
from hpcsweep.approx.supnorm.approximations import ErrorFunction
from hpcsweep.approx.supnorm.certificate.enclosure.difference import Difference
from hpcsweep.bracket import Bracket

POINTS = 64
SEED = 20261100  # of the points; fixed, so that a verdict can be repeated
PARTS = 24  # points of the smaller batches
TOLERANCE = 1e-10  # relative to max |f|, as the rules of targets have it
ROUNDING = 1e-9  # of the sizes of target and approximant: what an evaluation in float64 may pass a proof by
_EPSILON = 2.0**-52


def sample(domain: Sequence[Sequence[float]]) -> Tensor:
    """Return repeatable points (64, dimension) float64 of a domain."""
    low, high = torch.tensor([tuple(side) for side in domain], dtype=torch.float64).T
    generator = torch.Generator().manual_seed(SEED)
    shares = torch.rand(POINTS, len(low), dtype=torch.float64, generator=generator)
    return torch.clamp(low + (high - low) * shares, low, high)


def variation(function: Callable[[Tensor], Tensor], domain: Sequence[Sequence[float]]) -> float:
    """Return by how much values at a point change with the call, the size of the batch, or their order in it; or 0.

    Zero too for what is within 1e-10 of max |f|. Infinite where a value is a number only sometimes.
    """
    points = sample(domain)
    with torch.no_grad():
        values = function(points.clone()).clone()
        off = max(_distance(right, values) for right in _repeated(function, points))
    finite = values[values.isfinite()].abs()
    return 0.0 if off <= TOLERANCE * float(finite.max() if len(finite) else 0.0) else off


def _repeated(function: Callable[[Tensor], Tensor], points: Tensor) -> Iterator[Tensor]:
    yield function(points.clone())
    yield function(points.flip(0)).flip(0)
    yield torch.cat([function(part.clone()) for part in points.split(PARTS)])


def _distance(left: Tensor, right: Tensor) -> float:
    same = (left == right) | (left.isnan() & right.isnan())
    return float((left - right).abs().masked_fill(same, 0.0).nan_to_num(math.inf).max())


def changed(functions: ErrorFunction, places: np.ndarray, values: np.ndarray, best: Bracket) -> str:
    """Return what is other than before where functions are evaluated again, point by point; empty if nothing is.

    Parameters
    ----------
    places, values: (points, dimension) and (points,), what the target was there.
    best: the largest error that was seen, and where.
    """
    with torch.no_grad(), reseeded(SEED):
        again = torch.cat([functions.target(place[None]) for place in torch.from_numpy(places)])
        before = torch.from_numpy(values)
        largest = float(before.abs().max())
        if (off := _distance(again, before)) > ROUNDING * largest:
            count = int((~((again - before).abs() <= ROUNDING * largest)).sum())
            return f"its values at {count} of {len(places)} training points are others now, by up to {off:.2g}"
        if not best.where or not math.isfinite(best.lower):
            return ""
        where = torch.tensor([best.where], dtype=torch.float64)
        target, approximant = functions.target(where.clone()), functions.approximant(where.clone())
    off, sizes = abs(float((target - approximant).abs()) - best.lower), float(target.abs() + approximant.abs())
    if off > ROUNDING * (sizes + largest):
        return f"the error at {list(best.where)}, the largest that was seen, is another one now, by {off:.2g}"
    return ""


def agree(left: Callable[[Tensor], Tensor], right: Callable[[Tensor], Tensor], domain: Any) -> bool:
    """Return whether two functions are the same at the points of `sample`, within 1e-10 of the largest value."""
    points = sample(domain)
    with torch.no_grad():
        values = right(points.clone())
        return _distance(left(points), values) <= TOLERANCE * float(values.abs().max())


def around(places: Tensor, domain: Sequence[Sequence[float]]) -> tuple[Tensor, Tensor]:
    """Return boxes about places (points, dimension): centers and radii in unit coordinates, rounding or not."""
    low, high = torch.tensor([tuple(side) for side in domain], dtype=torch.float64).T
    middle, half = low / 2 + high / 2, high / 2 - low / 2
    centers = ((places - middle) / half).clamp(-1.0, 1.0)
    return centers, (8 * _EPSILON * (1 + middle.abs() / half)).expand_as(centers)


def contradicted(
    difference: Difference, functions: ErrorFunction, places: Tensor, seen: float = 0.0, claimed: float = math.inf
) -> bool:
    """Return whether an evaluation passes what is proved there by more than rounding.

    Parameters
    ----------
    difference: of the functions of `functions`.
    places: (points, dimension) in the domain.
    seen: an |error| that was seen at every one of them, beside what it is now.
    claimed: a bound that was proved everywhere, beside what is proved there.

    Raises
    ------
    NoEnclosure: where nothing can be proved
    """
    upper = difference.bounds(*around(places, functions.domain)).clamp(max=claimed)  # (points,)
    with torch.no_grad():
        target, approximant = functions.target(places.clone()), functions.approximant(places.clone())
    errors = (target - approximant).abs().clamp(min=seen)
    sizes = torch.maximum(target.abs(), approximant.abs())
    return bool((errors - upper > ROUNDING * sizes).any())  # never of NaN
