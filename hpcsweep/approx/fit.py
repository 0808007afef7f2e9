"""Plain descriptions of networks -> trained networks: targets made, samples drawn, one pack trained.

A model of several stages also takes values of its target at held-out points, which are no samples: they decide which
stages stay (`hpcsweep.approx.training.stages`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hpcsweep.approx import models, plugins
from hpcsweep.approx.targets import Target
from hpcsweep.approx.training import Settings, stages, train

DTYPES = {"float64": torch.float64, "float32": torch.float32}
_HELD_OUT = 1 << 64  # added to a data seed: beyond its 64 bits, so that these points are nested in no others


@dataclass(frozen=True)
class Problem:
    """One network to train, in plain values."""

    target: Mapping[str, Any]
    dimension: int
    model: Mapping[str, Any]
    samples: int
    settings: Settings
    precision: str
    data_seed: int
    weight_seed: int
    batch_seed: int


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
    seconds: float = 0.0  # its share of the pack's time
    threads: int = 1  # processor cores that trained it


@dataclass(frozen=True)
class Checkpoints:
    """How a training saves what it has, as `training.train` takes it."""

    checkpoint: Callable[[dict[str, Any]], None]
    checkpoint_seconds: float
    resume: Mapping[str, Any] | None = None


def samples(seed: int, count: int, domain: Sequence[Sequence[float]]) -> np.ndarray:
    """Return independent uniform points of a box, (count, dimension) float64.

    Nested: the first 100 of 1000 are the 100 points of the same seed.
    """
    low, high = np.array(domain, dtype=np.float64).T
    unit = np.random.Generator(np.random.Philox(key=seed)).random((count, len(low)))
    return low + (high - low) * unit


def fit(
    problems: Sequence[Problem],
    folder: Path = Path("."),
    device: str = "cpu",
    stop: Callable[[], bool] = lambda: False,
    checkpoints: Checkpoints | None = None,
) -> list[Fitted]:
    """Train networks of equal shape (see `training.pack_key`) as one pack, in the order given.

    A target that raises, or is not finite on the samples, is the outcome "failed" of its own network only. A model of
    several stages saves nothing on its way.
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
    judges: tuple[np.ndarray, np.ndarray] | None


def _data(problem: Problem, folder: Path) -> _Data | str:
    """Return the target and its data; or why there are none."""
    try:
        target = plugins.target(problem.target, problem.dimension, folder)
        places = samples(problem.data_seed, problem.samples, target.domain)
        values = _values(target, places, "samples")
        judges = None
        if models.stages_of(problem.model) > 1:
            held = samples(problem.data_seed + _HELD_OUT, stages.held_out(problem.samples), target.domain)
            judges = held, _values(target, held, "held-out points")
    except _Unusable as reason:
        return str(reason)
    except Exception as error:  # a user's plugin may raise anything: it is this cell's outcome, not the pack's
        return f"The target raised {type(error).__name__}: {error}"
    return _Data(target, places, values, judges)


class _Unusable(Exception):
    """A target whose values cannot be learned; it says why."""


def _values(target: Target, places: np.ndarray, called: str) -> np.ndarray:
    """Return the values (points,) float64 of a target at places (points, dimension)."""
    values = target(torch.from_numpy(places))
    if values.shape != (len(places),):
        raise _Unusable(f"The target returned shape {tuple(values.shape)} for {len(places)} points of its domain.")
    values = values.detach().numpy().astype(np.float64)
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise _Unusable(f"The target is not finite at {count} of {len(places)} {called}.")
    return values


def _train(
    chosen: Sequence[tuple[Problem, _Data]],
    folder: Path,
    device: str,
    stop: Callable[[], bool],
    checkpoints: Checkpoints | None,
) -> list[Fitted]:
    """Train one pack."""
    dtype = DTYPES[chosen[0][0].precision]
    made = [models.make(problem.model, problem.dimension, data.target.domain, folder) for problem, data in chosen]
    rows = [model.init([problem.weight_seed], dtype)[0] for model, (problem, _) in zip(made, chosen, strict=True)]
    initial = torch.stack(rows).to(device)
    places, values = _stacked([(data.places, data.values) for _, data in chosen], device)
    settings = [problem.settings for problem, _ in chosen]
    seeds = [problem.batch_seed for problem, _ in chosen]
    judges = [data.judges for _, data in chosen if data.judges is not None]
    if judges:
        given = stages.Data(places, values), stages.Data(*_stacked(judges, device))
        weight_seeds = [problem.weight_seed for problem, _ in chosen]
        trained = stages.train(made, initial, *given, settings, seeds, weight_seeds, stop)
    else:
        saved = {} if checkpoints is None else vars(checkpoints)
        trained = train(made, initial, places.to(dtype), values.to(dtype), settings, seeds, stop, **saved)
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
            seconds=trained.seconds / len(chosen),
            threads=torch.get_num_threads(),
        )
        for i in range(len(chosen))
    ]


def _stacked(data: Sequence[tuple[np.ndarray, np.ndarray]], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return places (cells, points, dimension) and values (cells, points), float64, on the device."""
    places, values = zip(*data, strict=True)
    return torch.from_numpy(np.stack(places)).to(device), torch.from_numpy(np.stack(values)).to(device)
