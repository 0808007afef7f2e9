"""The worst points of a screen -> the largest |error| that can be found near them, and elsewhere, within a budget.

An estimate from below: no search can see a spike of codimension two or more that none of its points meets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.dense import Dense
from hpcsweep.approx.supnorm.points.pointset import Domain
from hpcsweep.approx.supnorm.screening.screen import evaluate
from hpcsweep.approx.supnorm.search.ascent import GROUP, Error, ascend, largest_first
from hpcsweep.approx.supnorm.search.kinks import PROJECTIONS, kink_points
from hpcsweep.approx.supnorm.search.starts import boundary, gaps
from hpcsweep.bracket import Bracket

STEPS, AGAIN = 20, 0.1  # iterations of every climb, and the share of the best that do as many again
KEPT = 32  # places at which the error is enclosed
_EXTRAS = 4  # points on the boundary and in gaps that are tried for one start


@dataclass(frozen=True)
class Refined:
    """The largest |error| found, in plain values.

    Parameters
    ----------
    value: NaN or inf where one was met.
    where: its place; () where there was no place to look at.
    values, gradients: how often the error was evaluated alone, and with its gradient.
    nonfinite: how many of these errors were NaN or inf.
    best: the places of the largest errors, at most `KEPT`, each once.
    """

    value: float
    where: tuple[float, ...]
    values: int
    gradients: int
    nonfinite: int
    best: tuple[tuple[float, ...], ...] = ()

    @property
    def bracket(self) -> Bracket:
        """Return what this says of the sup-norm: from below only."""
        return Bracket(self.value, math.inf, self.where)


def refine(
    error: Error,
    candidates: Tensor,
    domain: Domain,
    *,
    terms: Sequence[Dense],
    samples: Tensor | None,
    starts: int,
    kinks: int,
    seed: int,
) -> Refined:
    """Climb from the best of some candidates, kinks, places on the boundary and places far from the samples.

    Parameters
    ----------
    error: signed, differentiable, see `ascent.ascend`.
    candidates: (candidates, dimension) float64, the worst points of a screen, in any order.
    terms: the networks behind the error, where their layers are known; () looks for no kinks.
    samples: what the network was trained on, (samples, dimension), or None.
    starts: how many climbs. Half of them begin at candidates, if there are so many, the others anywhere.
    kinks: how many points on kinks.
    seed: of the random places.
    """
    bends = kink_points(terms, kinks, seed, domain).to(candidates)
    extras = _extras(domain, samples, _EXTRAS * starts, seed).to(candidates)
    places = torch.cat([candidates, bends, extras])
    values = _values(error, places)
    chosen = _chosen(values, len(candidates), starts)
    climb = ascend(error, places[chosen], domain, STEPS, AGAIN)
    values, places = torch.cat([values, climb.values]), torch.cat([places, climb.places])
    tried = len(values) - len(climb.values)
    order = largest_first(values)
    best = order[:1]
    return Refined(
        value=float(values[best].abs().sum()),
        where=tuple(places[best].flatten().tolist()),
        values=tried,
        gradients=climb.evaluations + PROJECTIONS * len(bends),
        nonfinite=int((~values[:tried].isfinite()).sum()) + climb.nonfinite,
        best=tuple(dict.fromkeys(tuple(place) for place in places[order[: 4 * KEPT]].tolist()))[:KEPT],
    )


def on_boundary(where: Sequence[float], domain: Domain) -> bool:
    """Say whether a place has a coordinate at a bound of its domain. Climbs reach bounds exactly."""
    return any(at in (low, high) for at, (low, high) in zip(where, domain, strict=True))


def _extras(domain: Domain, samples: Tensor | None, count: int, seed: int) -> Tensor:
    """Return places far from the samples, if any are known, and places on the boundary, (count, dimension)."""
    if samples is None or not len(samples):
        return boundary(domain, count, seed)
    far = gaps(samples, domain, count // 2, seed)
    return torch.cat([far.cpu(), boundary(domain, count - len(far), seed)])


def _values(error: Error, places: Tensor) -> Tensor:
    """Return |error| at places (places, dimension), (places,), in groups of one shape as climbs evaluate it."""
    parts = []
    for part in places.split(GROUP) if len(places) else ():
        whole = torch.cat([part, part[:1].expand(GROUP - len(part), -1)])
        parts.append(evaluate(error, whole)[: len(part)].abs())
    return torch.cat(parts) if parts else places.new_empty(0)


def _chosen(values: Tensor, candidates: int, starts: int) -> Tensor:
    """Return the numbers of at most `starts` places: half from the best candidates, then the best of all others."""
    first = largest_first(values[:candidates])
    half = first[: max(starts // 2, starts - (len(values) - candidates))]
    rest = torch.ones_like(values, dtype=torch.bool)
    rest[half] = False
    rest[:candidates] = False
    others = rest.nonzero()[:, 0]
    return torch.cat([half, others[largest_first(values[others])[: starts - len(half)]]])
