"""Plain descriptions of networks -> trained networks: targets made, samples drawn, one pack trained.

A model of several stages also takes values of its target at held-out points, which are no samples: they decide which
stages stay (`hpcsweep.approx.training.strategies.stages`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx import models, plugins
from hpcsweep.approx.models import classical
from hpcsweep.approx.models.operators import SecondOrder
from hpcsweep.approx.targets import Target
from hpcsweep.approx.training import Objective, Settings, Trained, train
from hpcsweep.approx.training.strategies import direct, layerwise, poisson, stages
from hpcsweep.approx.training.strategies.journal import UNSAVED, Checkpoints
from hpcsweep.sampling import boundary, places, samples

DTYPES = {"float64": torch.float64, "float32": torch.float32}
_HELD_OUT, _BOUNDARY = 1 << 64, 2 << 64  # added to a data seed: beyond its 64 bits, so nested in no others


@dataclass(frozen=True)
class Problem:
    """One network to train, in plain values.

    `added`: places (points, dimension) that it learns from beside those of its data seed, counted among the samples.
    `start`: initial parameters (parameters,) other than those of its weight seed.
    """

    target: Mapping[str, Any]
    dimension: int
    model: Mapping[str, Any]
    samples: int
    settings: Settings
    precision: str
    data_seed: int
    weight_seed: int
    batch_seed: int
    objective: Objective = field(default_factory=Objective)
    added: np.ndarray | None = None
    start: np.ndarray | None = None


@dataclass(frozen=True)
class Fitted:
    """What became of one network. `parameters` is None where there is none (outcome "failed")."""

    outcome: str
    message: str = ""
    parameters: np.ndarray | None = None  # (parameters,) float64
    train_rmse: float = float("nan")
    steps: int = 0
    history_step: np.ndarray | None = None  # (checkpoints,) int64
    history_loss: np.ndarray | None = None  # (checkpoints,)
    seconds: float = 0.0  # of training, see `Trained`
    threads: int = 1  # processor cores that trained it


def fit(
    problems: Sequence[Problem],
    folder: Path = Path("."),
    device: str = "cpu",
    stop: Callable[[], bool] = lambda: False,
    checkpoints: Checkpoints = UNSAVED,
) -> list[Fitted]:
    """Train networks of equal shape (see `training.pack_key`) as one pack, in the order given.

    A target that raises, or is not finite on the samples, is the outcome "failed" of its own network only.
    """
    data = [_data(problem, folder) for problem in problems]
    fitted = [Fitted("failed", one) if isinstance(one, str) else None for one in data]
    good = [i for i, one in enumerate(data) if not isinstance(one, str)]
    if good:
        chosen = [(problems[i], data[i]) for i in good]
        for i, result in zip(good, _train(chosen, folder, device, stop, checkpoints), strict=True):  # type: ignore[arg-type]
            fitted[i] = result
    return [one for one in fitted if one is not None]


@dataclass(frozen=True)
class _Data:
    """What one network learns: places (points, dimension) and values (points,) of its samples, and of held-out points
    if it has several stages."""

    target: Target
    places: np.ndarray
    values: np.ndarray
    held_out: tuple[np.ndarray, np.ndarray] | None


def _data(problem: Problem, folder: Path) -> _Data | str:
    """Return the target and its data; or why there are none."""
    try:
        target = plugins.target(problem.target, problem.dimension, folder)
        where = _places(problem, target)
        values = _values(target, where, "samples")
        if problem.objective.equation != "none":
            where, values = _residual_rows(problem, target, where)
        held_out = None
        if models.stages_of(problem.model) > 1:
            held = samples(problem.data_seed + _HELD_OUT, stages.held_out(problem.samples), target.domain)
            held_out = held, _values(target, held, "held-out points")
    except _Unusable as reason:
        return str(reason)
    except Exception as error:  # a user's plugin may raise anything: it is this cell's outcome, not the pack's
        return f"The target raised {type(error).__name__}: {error}"
    return _Data(target, where, values, held_out)


def _places(problem: Problem, target: Target) -> np.ndarray:
    """Return where a network is taught, (samples, dimension): its own samples first, then those that were added."""
    own = problem.samples - (0 if problem.added is None else len(problem.added))
    first = places(problem.data_seed, own, target.domain, problem.objective.sampling)
    return first if problem.added is None else np.concatenate([first, problem.added])


def _residual_rows(problem: Problem, target: Target, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what an equation asks for (see `poisson.residual_rows`), with collocation points `inside` (samples, d)."""
    objective = problem.objective
    count = objective.boundary_points(problem.samples, problem.dimension)
    edge = boundary(problem.data_seed + _BOUNDARY, count, target.domain, objective.sampling == "grid")
    _values(target, edge, "points of the boundary")
    given = torch.from_numpy(inside), torch.from_numpy(edge)
    rows, values = poisson.residual_rows(target, *given, objective.boundary_weight)
    if not bool(torch.isfinite(values).all()):
        raise _Unusable("The second derivatives of the target are not finite at all samples.")
    return rows.numpy(), values.detach().numpy()


class _Unusable(Exception):
    """A target whose values cannot be learned; it says why."""


def _values(target: Target, places: np.ndarray, called: str) -> np.ndarray:
    """Return the values (points,) float64 of a target at places (points, dimension)."""
    values = target(torch.from_numpy(places))
    if values.shape != (len(places),):
        raise _Unusable(f"The target returned shape {tuple(values.shape)} for {len(places)} points of its domain.")
    learned = values.detach().numpy().astype(np.float64)
    if not np.isfinite(learned).all():
        count = int((~np.isfinite(learned)).sum())
        raise _Unusable(f"The target is not finite at {count} of {len(places)} {called}.")
    return learned


def _train(
    chosen: Sequence[tuple[Problem, _Data]],
    folder: Path,
    device: str,
    stop: Callable[[], bool],
    checkpoints: Checkpoints,
) -> list[Fitted]:
    """Train one pack."""
    dtype = DTYPES[chosen[0][0].precision]
    made = [models.make(problem.model, problem.dimension, data.target.domain, folder) for problem, data in chosen]
    rows = [_start(problem, model, dtype) for model, (problem, _) in zip(made, chosen, strict=True)]
    trained = _trained(chosen, made, torch.stack(rows).to(device), stop, checkpoints)
    parameters = trained.parameters.to("cpu", torch.float64).numpy()
    return [
        Fitted(
            outcome=trained.outcome[i],
            message=trained.message[i],
            parameters=parameters[i],
            train_rmse=float(np.sqrt(trained.mean_square[i])),
            steps=int(trained.steps[i]),
            history_step=trained.history_step[i],
            history_loss=trained.history_loss[i],
            seconds=float(trained.seconds[i]),
            threads=trained.threads,
        )
        for i in range(len(chosen))
    ]


def _start(problem: Problem, model: models.Model, dtype: torch.dtype) -> Tensor:
    """Return the initial parameters (parameters,) of a network."""
    if problem.start is not None:
        return torch.tensor(problem.start, dtype=dtype)
    return model.init([problem.weight_seed], dtype)[0]


def _trained(
    chosen: Sequence[tuple[Problem, _Data]],
    made: Sequence[models.Model],
    initial: Tensor,
    stop: Callable[[], bool],
    checkpoints: Checkpoints,
) -> Trained:
    """Train the models of a pack from `initial` (cells, parameters) in the way that their objective asks for."""
    device, objective = str(initial.device), chosen[0][0].objective
    where, values = _stacked([(data.places, data.values) for _, data in chosen], device)
    if classical.is_direct(chosen[0][0].model):
        return direct.fit(made, where, values, stop)
    settings, seeds, weight_seeds = zip(
        *((problem.settings, problem.batch_seed, problem.weight_seed) for problem, _ in chosen), strict=True
    )
    held_out = [data.held_out for _, data in chosen if data.held_out is not None]
    if held_out:
        given = stages.Data(where, values), stages.Data(*_stacked(held_out, device))
        return stages.train(made, initial, *given, settings, seeds, weight_seeds, stop, checkpoints)  # type: ignore[arg-type]
    where, values = where.to(initial), values.to(initial)
    if objective.layerwise:
        networks, steps = [model for model in made if isinstance(model, models.MLP)], objective.layerwise
        return layerwise.train(
            networks, initial, where, values, settings, steps, seeds, weight_seeds, stop, checkpoints
        )
    if objective.equation != "none":
        made = [SecondOrder(model) for model in made if isinstance(model, models.MLP)]
    return train(made, initial, where, values, settings, seeds, stop, **vars(checkpoints))


def _stacked(data: Sequence[tuple[np.ndarray, np.ndarray]], device: str) -> tuple[Tensor, Tensor]:
    """Return places (cells, points, dimension) and values (cells, points), float64, on the device."""
    places, values = zip(*data, strict=True)
    return torch.from_numpy(np.stack(places)).to(device), torch.from_numpy(np.stack(values)).to(device)
