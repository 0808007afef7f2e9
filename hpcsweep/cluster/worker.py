"""One task on one device: a pack trained (and measured, if that is small), or a part of a measurement.

Everything here runs on any rank; arguments and results are plain values.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np

from hpcsweep.approx import machine, plugins
from hpcsweep.approx.fitting import Fitted, fit
from hpcsweep.approx.isolation import isolated, said
from hpcsweep.approx.supnorm import consistency
from hpcsweep.approx.supnorm.approximations import Approximation, Network
from hpcsweep.approx.supnorm.measured import Measured, finalize
from hpcsweep.approx.supnorm.measurement import Measurement
from hpcsweep.approx.supnorm.slice import raster_of, slice_of, zoom_of
from hpcsweep.approx.supnorm.survey import Survey
from hpcsweep.approx.supnorm.tasks import MeasurementTask
from hpcsweep.approx.training.strategies.journal import Checkpoints
from hpcsweep.cluster import devices
from hpcsweep.cluster.checkpoints import Saver
from hpcsweep.cluster.pricing import places_of, threads_of
from hpcsweep.cluster.stopping import StopRequest
from hpcsweep.config import Cell, Config
from hpcsweep.errors import PluginChanged, UserError
from hpcsweep.store import layout
from hpcsweep.store.store import Record

WORTH_MEASURING = ("done", "out of budget")


@dataclass(frozen=True)
class Failure:
    """A task that raised. Told in words: an exception of a user's plugin may not exist on rank 0."""

    message: str


@dataclass(frozen=True)
class Changed(Failure):
    """A task that ended because a file of a plugin has changed: what it computed is of no known state of that file."""

    plugin: tuple[str, str]  # see `PluginChanged`


@dataclass(frozen=True)
class TrainedPack:
    """A trained pack whose measurement, or the rest of it, is to be shared out; one `fitted` for each cell."""

    fitted: list[Fitted]
    survey: Survey
    training_seconds: float  # of this rank
    measuring_seconds: float  # so far
    pieces: int = 0  # into which its present stage was cut, and what came out of them; 0 and nothing at first
    results: Sequence[Any] = ()

    def progress(self) -> dict[str, Any]:
        """Return what is saved of this: all but the networks, which follow from what was trained."""
        return {**vars(self), "survey": self.survey.progress(), "results": list(self.results)}

    @staticmethod
    def restored(cells: Sequence[Cell], measurement: Measurement, progress: Mapping[str, Any]) -> TrainedPack:
        """Return the trained pack of some cells from its `progress`."""
        survey = Survey(networks_of(cells, progress["fitted"]), measurement)
        survey.restore(progress["survey"])
        return TrainedPack(**{**progress, "survey": survey})


@dataclass(frozen=True)
class Done:
    """A part of a measurement, done."""

    result: object
    seconds: float


@dataclass(frozen=True)
class Finished:
    """What is stored of each cell of a pack, nothing if it was interrupted."""

    records: list[Record]
    saving: float = 0.0  # seconds that its slowest checkpoint took


P = ParamSpec("P")
R = TypeVar("R")


def telling(task: Callable[P, R]) -> Callable[P, R | Failure]:
    """Let a task return a `Failure` instead of raising."""

    @functools.wraps(task)
    def guarded(*arguments: P.args, **named: P.kwargs) -> R | Failure:
        try:
            with isolated("a plugin ends its process"):  # what is not isolated call by call
                return task(*arguments, **named)
        except PluginChanged as error:
            return Changed(str(error), error.plugin)
        except Exception as error:
            return Failure(str(error) if isinstance(error, UserError) else said(error))

    return guarded


def plugins_of(cells: Sequence[Cell]) -> list[Config]:
    """Return the configurations of the plugins that cells need."""
    return [config for cell in cells for config in (cell.target, cell.model)]


@telling
def train_pack(
    cells: Sequence[Cell], measurement: Measurement, folder: Path, measure: bool, saver: Saver, stop: StopRequest
) -> TrainedPack | Finished:
    """Train a pack and, if asked, measure all its networks here, but for proofs that take long.

    Goes on from where the pack was saved. Asked to stop, it saves what it has; nothing of it is finished.
    """
    with plugins.unchanged(plugins_of(cells), folder):
        return _train_pack(cells, measurement, folder, measure, saver, stop)


def _train_pack(
    cells: Sequence[Cell], measurement: Measurement, folder: Path, measure: bool, saver: Saver, stop: StopRequest
) -> TrainedPack | Finished:
    saved, device = saver.load(), devices.here()  # which sets the threads of the rank, if it is the first to ask
    if saved is not None and "fitted" in saved:
        trained = TrainedPack.restored(cells, measurement, saved)
    else:
        start = time.perf_counter()
        fitted = _fit(cells, folder, saver, saved, stop)
        if any(one.outcome == "interrupted" for one in fitted):
            return Finished([], saver.slowest)
        before = sum(one.seconds for one in fitted) / min(
            threads_of(cells, device.threads), len(cells)
        )  # in earlier launches too
        took = max(time.perf_counter() - start, before)
        trained = TrainedPack(fitted, Survey(networks_of(cells, fitted), measurement), took, 0.0)
    survey, start = trained.survey, time.perf_counter()
    here = measure and not trained.pieces
    whole = survey.run(folder, device.name, stop.asked, whole=False) if here else not survey.approximations
    trained = dataclasses.replace(trained, measuring_seconds=trained.measuring_seconds + time.perf_counter() - start)
    if whole:
        return _finished(cells, trained, folder)
    if stop.asked():
        plugins.verify(plugins_of(cells), folder)
        saver.save(trained.progress())
        return Finished([], saver.slowest)
    return trained


def _fit(cells: Sequence[Cell], folder: Path, saver: Saver, state: Any, stop: StopRequest) -> list[Fitted]:
    def save(progress: Any) -> None:
        plugins.verify(plugins_of(cells), folder)  # or a later launch would go on from what is mixed
        saver.save(progress)

    saved, device = Checkpoints(save, saver.every, state), devices.here()
    with machine.threads(threads_of(cells, device.threads)):
        return fit(cells, folder, device.name, stop.asked, saved)


def networks_of(cells: Sequence[Cell], fitted: Sequence[Fitted]) -> list[Network]:
    """Return the networks of a pack that are worth measuring."""
    return [
        Network(
            *(cell.target, cell.dimension, cell.model, one.parameters, *places_of(cell)),
            equation=cell.optimizer.objective.equation,
        )
        for cell, one in zip(cells, fitted, strict=True)
        if one.parameters is not None and _worth_measuring(one)
    ]


def _worth_measuring(fitted: Fitted) -> bool:
    return fitted.outcome in WORTH_MEASURING and fitted.parameters is not None


@telling
def measure(task: MeasurementTask, folder: Path) -> Done:
    """Do a part of a measurement on this rank's device."""
    start = time.perf_counter()
    with plugins.unchanged(task.plugins, folder):
        result = task.run(folder, devices.here().name)
    return Done(result, time.perf_counter() - start)


@telling
def finish_pack(cells: Sequence[Cell], trained: TrainedPack, folder: Path) -> Finished:
    """Make the records of a pack whose survey is over."""
    with plugins.unchanged(plugins_of(cells), folder):
        return _finished(cells, trained, folder)


def _finished(cells: Sequence[Cell], trained: TrainedPack, folder: Path) -> Finished:
    survey = trained.survey
    surveyed = iter(zip(survey.approximations, survey.states, strict=True))
    share = trained.measuring_seconds / max(1, len(survey.approximations))
    records: list[Record] = []
    for cell, one in zip(cells, trained.fitted, strict=True):
        measured, pictures = None, []
        if _worth_measuring(one):
            approximation, state = next(surveyed)
            measured = finalize(approximation, survey.measurement, state, layout.QUANTILES, folder)
            if change := _change(cell, one, approximation, measured, folder):
                records.append(Record("failed", {"message": change}))
                continue
            with contextlib.suppress(Exception):  # a plugin that fails along a line costs the picture, not the result
                functions = approximation.error_function(folder, "cpu")
                pictures.append(slice_of(functions, measured.bracket.where, layout.SLICE))
                pictures.append(zoom_of(functions, measured.bracket.where, layout.ZOOM))
                pictures.append(raster_of(functions, layout.RASTER))
        records.append(_record(one, measured, share, pictures))
    return Finished(records)


def _change(cell: Cell, fitted: Fitted, approximation: Approximation, measured: Measured, folder: Path) -> str:
    """Return a sentence if code of the user has other values now than it had in training and measuring."""
    code = {config.name: config.code for config in (cell.target, cell.model) if config.code}
    if not code or fitted.witness is None:
        return ""
    functions = approximation.error_function(folder, "cpu")
    try:
        change = consistency.changed(functions, *fitted.witness, measured.bracket)
    except Exception as error:
        change = f"evaluated again, {said(error)}"
    told = "the value at a point must depend on that point alone, not on the call or on the other points"
    return f"{' and '.join(code)}: {change}; {told}." if change else ""


def _record(
    fitted: Fitted,
    measured: Measured | None,
    eval_seconds: float,
    pictures: Sequence[np.ndarray | None],  # slice, zoom, raster
) -> Record:
    values: dict[str, object] = {
        "train_rmse": fitted.train_rmse,
        "steps": fitted.steps,
        "threads": fitted.threads,
        "train_seconds": fitted.seconds,
        "message": fitted.message,
    }
    if fitted.history_step is not None and fitted.history_loss is not None:
        values |= {"history_step": fitted.history_step, "history_loss": fitted.history_loss}
    if measured is not None:
        values |= {**measurement_values(measured), "eval_seconds": eval_seconds}
        values["message"] = measured.message if measured.nonfinite else fitted.message or measured.message
    return Record(fitted.outcome, values, fitted.parameters if fitted.outcome != "failed" else None, *pictures)


def measurement_values(found: Measured) -> dict[str, object]:
    """Return what is stored of a measurement, by column."""
    return {
        "sup_lower": found.bracket.lower,
        "sup_upper": found.bracket.upper,
        "solution_upper": found.solution_upper,
        "sup_where": found.bracket.where,
        "certificate": layout.CERTIFICATES.index(found.certificate),
        "boxes": found.boxes,
        "pieces": found.pieces,
        "sup_screened": found.screened,
        "sup_uniform": found.uniform,
        "uniform_volume": found.volume,
        "boundary": int(found.boundary),
        "sample_distance": found.sample_distance,
        "l2_error": found.l2,
        "l1_error": found.l1,
        "central_share": found.central_share,
        "central_l2_error": found.central_l2,
        "central_sup_lower": found.central_lower,
        "quantile_error": found.quantiles,
        "averaged": found.averaged,
        "points": found.points,
        "nonfinite": found.nonfinite,
    }
