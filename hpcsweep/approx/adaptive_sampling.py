"""Adaptive sampling: some samples, a training, more samples where the error is largest, the training goes on.

Lu, Meng, Mao and Karniadakis, "DeepXDE" (SIAM Review 63, 2021), section 2.8, with the error of the network itself for
the residual of an equation. Where to add is found as the meter finds its maxima: many points are screened, and the
worst of them climb. So the target is evaluated at far more points than the network learns from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx import fitting as fitting
from hpcsweep.approx.fitting import Fitted, Problem
from hpcsweep.approx.supnorm.approximations import Network
from hpcsweep.approx.supnorm.points.pointset import Domain
from hpcsweep.approx.supnorm.screening.screen import evaluate
from hpcsweep.approx.supnorm.search.ascent import Error, ascend, largest_first
from hpcsweep.approx.supnorm.search.starts import boundary, nearest, spread
from hpcsweep.approx.training import Settings
from hpcsweep.approx.training.record import joined
from hpcsweep.approx.training.strategies.journal import UNSAVED, Checkpoints, Journal
from hpcsweep.sampling import samples

_SCREENED = 12  # 2^(12 + d) points, at most 2^16
_FACES = 8  # one point on the boundary for so many inside
_CLIMBS, _STEPS = 2, 10  # starts for each point that is wanted, and iterations of each
_TILE = 4096  # points evaluated at once


def fit(
    problems: Sequence[Problem],
    folder: Path = Path("."),
    device: str = "cpu",
    stop: Callable[[], bool] = lambda: False,
    checkpoints: Checkpoints = UNSAVED,
) -> list[Fitted]:
    """Train networks of equal shape as one pack, as `fitting.fit` does, in rounds where their objective says so.

    With `resample` = r there are r + 1 rounds of equal steps (those of the last part of a chain; the parts before it
    belong to the first round), with 1, 2, ..., r + 1 shares of the samples. The first share is that of uniform
    sampling; in later rounds those points are added where the network of the round before is worst, at some distance
    of each other and of the samples (`worst_places`). Each round has the schedule to itself.
    """
    if not problems[0].objective.resample:
        return fitting.fit(problems, folder, device, stop, checkpoints)
    journal = Journal(stop, checkpoints)

    def learned(some: Sequence[Problem]) -> list[Fitted]:
        return journal.enter(
            lambda saved: fitting.fit(some, folder, device, stop, saved), lambda found: [one.outcome for one in found]
        )

    learning = [_first(problem) for problem in problems]
    found = learned(learning)
    for number in range(1, problems[0].objective.resample + 1):
        going = [i for i, one in enumerate(found) if one.outcome in ("done", "out of budget")]
        for i in list(going):
            try:
                learning[i] = _next(problems[i], learning[i], found[i], number, folder, device)
            except Exception as error:  # a user's target may raise anything where it is asked: this cell's outcome only
                told = f"The target raised {type(error).__name__}: {error}"
                found[i] = Fitted("failed", told, seconds=found[i].seconds)
                going.remove(i)
        later = learned([learning[i] for i in going]) if going else []
        for i, one in zip(going, later, strict=True):
            found[i] = _following(found[i], one)
    return found


def _count(problem: Problem, number: int) -> int:
    """Return the samples of a round, 0 the first."""
    return problem.samples * (number + 1) // (problem.objective.resample + 1)


def _share(settings: Settings, number: int, rounds: int) -> Settings:
    """Return the settings of one optimizer for a round of `rounds`: equal steps, the last round has the rest."""
    each = settings.steps // rounds
    steps = each if number < rounds - 1 else settings.steps - each * (rounds - 1)
    return replace(settings, steps=steps, seconds=None if settings.seconds is None else settings.seconds / rounds)


def _first(problem: Problem) -> Problem:
    """Return what the first round learns."""
    rounds, settings = problem.objective.resample + 1, problem.settings
    first = _share(settings.chain[-1], 0, rounds)
    if settings.parts:
        parts = (*settings.parts[:-1], first)
        first = replace(settings, parts=parts, steps=sum(part.steps for part in parts))
    return replace(
        problem, samples=_count(problem, 0), settings=first, objective=replace(problem.objective, resample=0)
    )


def _next(problem: Problem, before: Problem, found: Fitted, number: int, folder: Path, device: str) -> Problem:
    """Return what a later round learns, after `before` was learned so: more places, from the parameters found."""
    wanted = _count(problem, number) - before.samples
    parameters = found.parameters
    assert parameters is not None  # as of all that are done
    error = Network(problem.target, problem.dimension, problem.model, parameters).error_function(folder, device)
    first = samples(problem.data_seed, _count(problem, 0), error.domain)
    taken = np.concatenate([first, *([] if before.added is None else [before.added])])
    new = worst_places(error, error.domain, torch.from_numpy(taken).to(device), wanted, problem.data_seed + number)
    return replace(
        before,
        samples=before.samples + wanted,
        added=np.concatenate([taken[len(first) :], new.cpu().numpy()]),
        start=parameters,
        settings=_share(problem.settings.chain[-1], number, problem.objective.resample + 1),
        batch_seed=problem.batch_seed + number,
    )


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


def _following(one: Fitted, other: Fitted) -> Fitted:
    """Return a training that went on from another, as one: steps, histories and seconds of both."""
    if other.history_step is None or one.history_step is None:  # the target failed at a new place
        return replace(other, seconds=one.seconds)
    histories = (one.history_step, one.history_loss), (other.history_step, other.history_loss)
    steps, losses = joined(*histories, one.steps)  # type: ignore[arg-type]
    told = " ".join(filter(None, [one.message, other.message]))
    return replace(
        other,
        message=told,
        steps=one.steps + other.steps,
        history_step=steps,
        history_loss=losses,
        seconds=one.seconds + other.seconds,
    )
