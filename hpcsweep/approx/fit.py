"""Plain descriptions of networks -> trained networks: targets made, samples drawn, one pack trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hpcsweep.approx import models, plugins
from hpcsweep.approx.targets import Target
from hpcsweep.approx.training import Settings, train

DTYPES = {"float64": torch.float64, "float32": torch.float32}


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
) -> list[Fitted]:
    """Train networks of equal shape (see `training.pack_key`) as one pack, in the order given.

    A target that raises, or is not finite on the samples, is the outcome "failed" of its own network only.
    """
    data = [_data(problem, folder) for problem in problems]
    fitted = [Fitted("failed", one) if isinstance(one, str) else None for one in data]
    good = [i for i, one in enumerate(data) if not isinstance(one, str)]
    if good:
        chosen = [(problems[i], data[i]) for i in good]
        for i, result in zip(good, _train(chosen, device, stop), strict=True):  # type: ignore[arg-type]
            fitted[i] = result
    return [one for one in fitted if one is not None]


def _data(problem: Problem, folder: Path) -> tuple[Target, np.ndarray, np.ndarray] | str:
    """Return the target, its samples (samples, dimension) and values (samples,); or why there are none."""
    try:
        target = plugins.target(problem.target, problem.dimension, folder)
        places = samples(problem.data_seed, problem.samples, target.domain)
        values = target(torch.from_numpy(places))
        if values.shape != (problem.samples,):
            return f"The target returned shape {tuple(values.shape)} for {problem.samples} points of its domain."
        values = values.detach().numpy().astype(np.float64)
    except Exception as error:  # a user's plugin may raise anything: it is this cell's outcome, not the pack's
        return f"The target raised {type(error).__name__}: {error}"
    if not np.isfinite(values).all():
        return f"The target is not finite at {int((~np.isfinite(values)).sum())} of {problem.samples} samples."
    return target, places, values


def _train(
    chosen: Sequence[tuple[Problem, tuple[Target, np.ndarray, np.ndarray]]], device: str, stop: Callable[[], bool]
) -> list[Fitted]:
    """Train one pack."""
    dtype = DTYPES[chosen[0][0].precision]
    made = [models.make(problem.model, problem.dimension, target.domain) for problem, (target, _, _) in chosen]
    initial = [model.init([problem.weight_seed], dtype)[0] for model, (problem, _) in zip(made, chosen, strict=True)]
    places = torch.from_numpy(np.stack([places for _, (_, places, _) in chosen]))  # (cells, samples, dimension)
    values = torch.from_numpy(np.stack([values for _, (_, _, values) in chosen]))  # (cells, samples)
    trained = train(
        made,
        torch.stack(initial).to(device),
        places.to(device, dtype),
        values.to(device, dtype),
        [problem.settings for problem, _ in chosen],
        [problem.batch_seed for problem, _ in chosen],
        stop,
    )
    parameters = trained.parameters.to("cpu", torch.float64).numpy()
    return [
        Fitted(
            outcome=trained.outcome[i],
            message=trained.message[i],
            parameters=parameters[i],
            train_rmse=float(np.sqrt(trained.loss[i])),
            steps=int(trained.steps[i]),
            history_step=trained.history_step[i],
            history_loss=trained.history_loss[i],
            seconds=trained.seconds / len(chosen),
        )
        for i in range(len(chosen))
    ]
