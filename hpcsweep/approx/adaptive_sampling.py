"""Where samples are added when they follow the error: the places where it is largest.

Lu, Meng, Mao and Karniadakis, "DeepXDE" (SIAM Review 63, 2021), section 2.8, with the error of the network itself for
the residual of an equation. Where to add is found as the meter finds its maxima: many points are screened, and the
worst of them climb. So the target is evaluated at far more points than the network learns from.
`hpcsweep.approx.fitting` trains in rounds on what is found here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.points.pointset import Domain
from hpcsweep.approx.supnorm.screening.screen import evaluate
from hpcsweep.approx.supnorm.search.ascent import Error, ascend, largest_first
from hpcsweep.approx.supnorm.search.starts import boundary, nearest, spread

_SCREENED = 12  # 2^(12 + d) points, at most 2^16
_FACES = 8  # one point on the boundary for so many inside
_CLIMBS, _STEPS = 2, 10  # starts for each point that is wanted, and iterations of each
_TILE = 4096  # points evaluated at once


def worst_places(error: Error, domain: Domain, taken: Tensor, count: int, seed: int) -> Tensor:
    """Return `count` places (count, dimension) of a box where |error| is largest, at a distance from each other.

    Screened points, the worst distinct ones of them, and where those climb to. Any two places, and those that are
    `taken` (places, dimension), are at least n^(-1/d) half sides apart, n the number of both: about half the distance
    of neighbours on a grid. Where that leaves too few, half as much, and so on.

    Parameters
    ----------
    error : signed, (points, dimension) -> (points,) float64, differentiable
    seed : of the points that are screened
    """
    dimension = len(domain)
    size = 1 << min(_SCREENED + dimension, 16)
    places = torch.cat([spread(domain, size, seed), boundary(domain, size // _FACES, seed)]).to(taken)
    low, high = torch.tensor(domain, dtype=torch.float64).to(taken).T
    half = high / 2 - low / 2
    apart = (len(taken) + count) ** (-1 / dimension)
    order = _worst_first(torch.cat([evaluate(error, part).abs() for part in places.split(_TILE)]))
    starts = places[order][_distinct(places[order] / half, taken[:0], _CLIMBS * count, apart)]
    climb = ascend(error, starts, domain, _STEPS, again=0)
    tops = climb.places[_worst_first(climb.values)]
    everything = torch.cat([tops, places[order]])
    return everything[_distinct(everything / half, taken / half, count, apart)]


def _worst_first(values: Tensor) -> Tensor:
    """Return the numbers of values from the largest on; those that are not finite come last."""
    return largest_first(values.masked_fill(~values.isfinite(), 0.0))


def _distinct(places: Tensor, taken: Tensor, count: int, apart: float) -> Tensor:
    """Return the numbers of the first `count` places (places, dimension) that keep their distance, or of all."""
    free = nearest(places, taken)
    chosen: list[int] = []
    count = min(count, len(places))
    while len(chosen) < count:
        open_ = (free >= apart).nonzero()[:, 0]
        if not len(open_):
            apart /= 2
            continue
        chosen.append(int(open_[0]))
        free = torch.minimum(free, torch.linalg.vector_norm(places - places[chosen[-1]], dim=1))
        free[chosen[-1]] = -1.0
    return torch.tensor(chosen, dtype=torch.int64, device=places.device)
