"""Lower bounds that are proved: the error at the best points that a search knows, enclosed.

A search ranks points by float64 evaluations. Where their rounding errors are not small against the error itself, the
ranking is one of rounding errors; more points are then evaluated in double-double, all over the domain and nearer and
nearer to the best of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.affine import NoEnclosure
from hpcsweep.approx.supnorm.certificate.enclosure.difference import Difference, Domain
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.arithmetic import lower_ends
from hpcsweep.bracket import Bracket

NOISE = 1e-3  # share of the error from which on its rounding decides which point is the worst
_SAME = 1e-12  # by less than this share of it, no end is preferred to that of the first place
_STEPS, _AROUND = 16, 64  # how often the best place is looked around, and at how many points
_ULPS = 4  # by how much points are moved to see rounding errors


@dataclass(frozen=True)
class LowerEnd:
    """What is known from below.

    Parameters
    ----------
    bracket: the largest proved lower end, and its place.
    rounding: the largest rounding error of float64 evaluations of the error that was seen; an estimate.
    reason: why the bracket says what was evaluated, not what is proved; empty if it is proved.
    """

    bracket: Bracket
    rounding: float
    reason: str = ""


def lower_end(difference: Difference, places: Tensor, others: Callable[[], Tensor], domain: Domain) -> LowerEnd:
    """Return the largest lower end of |target - approximant| at some places (places, dimension), or found from there.

    Parameters
    ----------
    places: where errors are large, the first one preferred where others are larger by rounding alone; all errors are
        finite.
    others: gives places all over the domain, (points, dimension), where the evaluations say nothing.
    """
    places = torch.clamp(places, *torch.tensor(domain, dtype=torch.float64).T)  # those of a store may be anywhere
    try:
        if not difference.is_ours and _contradicted(difference, places):
            return _evaluated(difference, places, domain, "an evaluation contradicts it")
        bracket, rounding = _largest(difference, places)
        if rounding > NOISE * bracket.lower or not bracket.lower:
            bracket, rounding = _searched(difference, torch.cat([places, others()]), domain)
        if not bracket.lower and difference.evaluated(places).any():
            return _evaluated(difference, places, domain, "nothing but 0 is proved of these numbers")
    except NoEnclosure as missing:
        return _evaluated(difference, places, domain, str(missing))
    return LowerEnd(bracket, rounding)


def _contradicted(difference: Difference, places: Tensor) -> bool:
    """Return whether an evaluation passes what affine forms, where they have rules, prove with its rounding errors."""
    with contextlib.suppress(NoEnclosure):
        return difference.contradicted(places)
    return False


def _largest(difference: Difference, places: Tensor) -> tuple[Bracket, float]:
    """Return the largest lower end, its place, and the largest rounding error of an evaluation that is finite."""
    error = difference.at(places)
    ends = lower_ends(error)
    best = int(ends.argmax())
    best = 0 if float(ends[0]) >= (1.0 - _SAME) * float(ends[best]) else best
    off = (difference.evaluated(places) - error.leading).abs()
    known = off[(off + error.radius).isfinite()]
    return Bracket(float(ends[best]), where=tuple(places[best].tolist())), float(known.max()) if len(known) else 0.0


def _searched(difference: Difference, places: Tensor, domain: Domain) -> tuple[Bracket, float]:
    """Return the same of places and of ever smaller neighbourhoods of the best one; repeatable."""
    best, rounding = _largest(difference, places)
    low, high = torch.tensor(domain, dtype=torch.float64).T
    generator = torch.Generator().manual_seed(0)
    for step in range(_STEPS):
        shares = torch.rand(_AROUND, len(low), dtype=torch.float64, generator=generator) - 0.5
        center = torch.tensor(best.where, dtype=torch.float64)
        around = torch.clamp(center + shares * ((high - low) * 2.0**-step), low, high)
        nearby, _ = _largest(difference, around)
        best = max(best, nearby, key=lambda bracket: bracket.lower)
    return best, rounding


def _evaluated(difference: Difference, places: Tensor, domain: Domain, reason: str) -> LowerEnd:
    """Return the largest error as evaluated, and by how much it changes when its place is moved by a few ulps."""
    errors = difference.evaluated(places).abs()
    best = int(errors.argmax())
    low, high = torch.tensor(domain, dtype=torch.float64).T
    moves = torch.arange(-_ULPS, _ULPS + 1, dtype=torch.float64)[:, None] * 2.0**-52
    again = difference.evaluated(torch.clamp(places[best] * (1.0 + moves), low, high)).abs()
    off = (again - errors[best]).abs()
    rounding = float(off[off.isfinite()].max()) if off.isfinite().any() else 0.0
    return LowerEnd(Bracket(float(errors[best]), where=tuple(places[best].tolist())), rounding, reason)
