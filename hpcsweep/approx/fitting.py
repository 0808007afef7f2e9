"""Cells -> trained networks: one pack trained, at once or in rounds of adaptive sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx import models
from hpcsweep.approx.adaptive_sampling import worst_places
from hpcsweep.approx.isolation import said
from hpcsweep.approx.models import classical
from hpcsweep.approx.models.operators import SecondOrder
from hpcsweep.approx.supnorm.approximations import Network
from hpcsweep.approx.training import Trained, train
from hpcsweep.approx.training.record import joined
from hpcsweep.approx.training.strategies import direct, layerwise, stages
from hpcsweep.approx.training.strategies.journal import UNSAVED, Checkpoints, Journal
from hpcsweep.approx.training_data import TrainingData, Witness, data_of
from hpcsweep.config import Cell, OptimizerConfig
from hpcsweep.errors import PluginChanged, UserError
from hpcsweep.sampling import samples

DTYPES = {"float64": torch.float64, "float32": torch.float32}


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
    witness: Witness | None = None  # some of its samples and the target's values there


def fit(
    cells: Sequence[Cell],
    folder: Path = Path("."),
    device: str = "cpu",
    stop: Callable[[], bool] = lambda: False,
    checkpoints: Checkpoints = UNSAVED,
) -> list[Fitted]:
    """Train the networks of cells of equal shape (see `training.pack_key`) as one pack, in the order given.

    A target that raises, or is not finite on the samples, is the outcome "failed" of its own network only. Raises
    PluginChanged if the files of a plugin are not those that the cells were made with.

    With `resample` = r there are r + 1 rounds of equal steps (those of the last part of a chain; the parts before it
    belong to the first round), with 1, 2, ..., r + 1 shares of the samples. The first share is that of uniform
    sampling; in later rounds those points are added where the network of the round before is worst, at some distance
    of each other and of the samples (`worst_places`). Each round has the schedule to itself.

    Parameters
    ----------
    folder : of plugin files
    device : "cpu" or that of torch on which networks train
    stop : asked now and then; once it says True, the networks end as "interrupted"
    checkpoints : how to save, and what to go on from
    """
    if not cells[0].optimizer.objective.resample:
        return _learn([Round(cell) for cell in cells], folder, device, stop, checkpoints)
    journal = Journal(stop, checkpoints)

    def learned(rounds: Sequence[Round]) -> list[Fitted]:
        return journal.enter(
            lambda saved: _learn(rounds, folder, device, stop, saved), lambda fitted: [one.outcome for one in fitted]
        )

    rounds = [_first(cell) for cell in cells]
    fitted = learned(rounds)
    for number in range(1, cells[0].optimizer.objective.resample + 1):
        active = [i for i, one in enumerate(fitted) if one.outcome in ("done", "out of budget")]
        for i in list(active):
            try:
                rounds[i] = _next(cells[i], rounds[i], fitted[i], number, folder, device)
            except PluginChanged:
                raise
            except Exception as error:  # a user's target may raise anything where it is asked: this cell's outcome only
                message = str(error) if isinstance(error, UserError) else f"The target raised {said(error)}"
                fitted[i] = Fitted("failed", message, seconds=fitted[i].seconds)
                active.remove(i)
        later = learned([rounds[i] for i in active]) if active else []
        for i, one in zip(active, later, strict=True):
            fitted[i] = _following(fitted[i], one)
    return fitted


@dataclass(frozen=True)
class Round:
    """One training of a cell: the only one, or one of several.

    Attributes
    ----------
    cell : with the samples and the method of this round
    number : 0 the first
    added : places (points, dimension) that it learns from beside those of its data seed, counted among the samples
    start : initial parameters (parameters,) other than those of its weight seed
    """

    cell: Cell
    number: int = 0
    added: np.ndarray | None = None
    start: np.ndarray | None = None


def _samples(cell: Cell, number: int) -> int:
    """Return the samples of a round, 0 the first."""
    return cell.samples * (number + 1) // (cell.optimizer.objective.resample + 1)


def _share(cell: Cell, number: int) -> OptimizerConfig:
    """Return the last part of a chain for a round: equal steps, the last round has the rest."""
    part, rounds = cell.optimizer.chain[-1], cell.optimizer.objective.resample + 1
    each = part.steps // rounds
    steps = each if number < rounds - 1 else part.steps - each * (rounds - 1)
    seconds = None if part.seconds is None else part.seconds / rounds
    return replace(part, steps=steps, seconds=seconds, objective=replace(part.objective, resample=0))


def _first(cell: Cell) -> Round:
    """Return what the first round learns."""
    method = _share(cell, 0)
    if cell.optimizer.parts:
        objective = replace(cell.optimizer.objective, resample=0)
        method = replace(cell.optimizer, parts=(*cell.optimizer.parts[:-1], method), objective=objective)
    return Round(replace(cell, samples=_samples(cell, 0), optimizer=method))


def _next(cell: Cell, before: Round, fitted: Fitted, number: int, folder: Path, device: str) -> Round:
    """Return what a later round learns, after the round `before`: more places, from the parameters found."""
    count, parameters = _samples(cell, number), fitted.parameters
    assert parameters is not None  # as of all that are done
    error = Network(cell.target, cell.dimension, cell.model, parameters).error_function(folder, device)
    first = samples(cell.data_seed, _samples(cell, 0), error.domain)
    taken = np.concatenate([first, *([] if before.added is None else [before.added])])
    new = worst_places(
        error, error.domain, torch.from_numpy(taken).to(device), count - len(taken), cell.data_seed + number
    )
    added = np.concatenate([taken[len(first) :], new.cpu().numpy()])
    return Round(replace(cell, samples=count, optimizer=_share(cell, number)), number, added, parameters)


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


def _learn(
    rounds: Sequence[Round], folder: Path, device: str, stop: Callable[[], bool], checkpoints: Checkpoints
) -> list[Fitted]:
    """Let each network learn once."""
    data = [data_of(one.cell, one.added, folder) for one in rounds]
    learning = [(one, known) for one, known in zip(rounds, data, strict=True) if isinstance(known, TrainingData)]
    trained = iter(_train(learning, folder, device, stop, checkpoints) if learning else [])
    return [next(trained) if isinstance(known, TrainingData) else Fitted("failed", known) for known in data]


def _train(
    learning: Sequence[tuple[Round, TrainingData]],
    folder: Path,
    device: str,
    stop: Callable[[], bool],
    checkpoints: Checkpoints,
) -> list[Fitted]:
    """Train one pack."""
    dtype = DTYPES[learning[0][0].cell.precision]
    networks, rows = [], []
    for one, data in learning:
        cell = one.cell
        network = models.make(cell.model, cell.dimension, data.target.domain, folder)
        start = None if one.start is None else torch.tensor(one.start, dtype=dtype)
        rows.append(network.init([cell.weight_seed], dtype)[0] if start is None else start)
        networks.append(network)
    trained = _trained(learning, networks, torch.stack(rows).to(device), stop, checkpoints)
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
            witness=learning[i][1].witness,
        )
        for i in range(len(learning))
    ]


def _trained(
    learning: Sequence[tuple[Round, TrainingData]],
    networks: Sequence[models.Model],
    initial: Tensor,
    stop: Callable[[], bool],
    checkpoints: Checkpoints,
) -> Trained:
    """Train the networks of a pack from `initial` (cells, parameters) in the way that their objective asks for."""
    device, cell = str(initial.device), learning[0][0].cell
    objective = cell.optimizer.objective
    where, values = _stacked([(data.places, data.values) for _, data in learning], device)
    if classical.is_direct(cell.model):
        return direct.fit(networks, where, values, stop)
    methods = [one.cell.optimizer for one, _ in learning]
    seeds = [one.cell.batch_seed + one.number for one, _ in learning]
    weight_seeds = [one.cell.weight_seed for one, _ in learning]
    held_out = [data.held_out for _, data in learning if data.held_out is not None]
    if held_out:
        given = stages.Data(where, values), stages.Data(*_stacked(held_out, device))
        return stages.train(networks, initial, *given, methods, seeds, weight_seeds, stop, checkpoints)  # type: ignore[arg-type]
    where, values = where.to(initial), values.to(initial)
    perceptrons = [network for network in networks if isinstance(network, models.MLP)]
    if objective.layerwise:
        return layerwise.train(
            perceptrons, initial, where, values, methods, objective.layerwise, seeds, weight_seeds, stop, checkpoints
        )
    if objective.equation != "none":
        networks = [SecondOrder(network) for network in perceptrons]
    return train(networks, initial, where, values, methods, seeds, stop, **vars(checkpoints))


def _stacked(data: Sequence[tuple[np.ndarray, np.ndarray]], device: str) -> tuple[Tensor, Tensor]:
    """Return places (cells, points, dimension) and values (cells, points), float64, on the device."""
    places, values = zip(*data, strict=True)
    return torch.from_numpy(np.stack(places)).to(device), torch.from_numpy(np.stack(values)).to(device)
