"""One task on one device: a pack trained (and measured, if that is small), or some tiles measured.

Everything here runs on any rank; arguments and results are plain values.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np

from hpcsweep import layout
from hpcsweep.approx.fit import Fitted, Problem, fit
from hpcsweep.approx.meter.measure import Measurement, Network, Part, combine, conclude, screen_networks, slice_of
from hpcsweep.cells import Cell
from hpcsweep.cluster import devices, stopping
from hpcsweep.cluster.pricing import settings_of
from hpcsweep.store import Record

WORTH_MEASURING = ("done", "out of budget")


@dataclass(frozen=True)
class Failure:
    """A task that raised. Told in words: an exception of a user's plugin may not exist on rank 0."""

    message: str


@dataclass(frozen=True)
class Trained:
    """A trained pack whose measurement is to be shared out as tiles; one `fitted` for each cell."""

    fitted: list[Fitted]


@dataclass(frozen=True)
class Tiles:
    """Some tiles of a measurement, done."""

    part: Part
    seconds: float


@dataclass(frozen=True)
class Finished:
    """What is stored of each cell of a pack, None for one that was interrupted; and the seconds that it all took."""

    records: list[Record | None]
    seconds: float


P = ParamSpec("P")
R = TypeVar("R")


def telling(task: Callable[P, R]) -> Callable[P, R | Failure]:
    """Let a task return a `Failure` instead of raising."""

    @functools.wraps(task)
    def guarded(*arguments: P.args, **named: P.kwargs) -> R | Failure:
        try:
            return task(*arguments, **named)
        except Exception as error:
            return Failure(f"{type(error).__name__}: {error}")

    return guarded


def problem_of(cell: Cell) -> Problem:
    """Return a cell in the words of `approx`."""
    return Problem(
        target=cell.target,
        dimension=cell.dimension,
        model=cell.model,
        samples=cell.samples,
        settings=settings_of(cell),
        precision=cell.precision,
        data_seed=cell.data_seed,
        weight_seed=cell.weight_seed,
        batch_seed=cell.batch_seed,
    )


@telling
def train_pack(cells: Sequence[Cell], measurement: Measurement, folder: Path, measure: bool) -> Trained | Finished:
    """Train a pack and, if asked, measure all its networks here."""
    device = devices.here().name
    fitted = fit([problem_of(cell) for cell in cells], folder, device, stopping.asked)
    networks = networks_of(cells, fitted)
    if networks and not measure:
        return Trained(fitted)
    if stopping.asked():  # what is not measured is not finished
        return Finished([None] * len(cells), 0.0)
    tiles = _measure(networks, measurement, range(measurement.total), folder)
    return _finished(cells, fitted, [tiles], folder)


def networks_of(cells: Sequence[Cell], fitted: Sequence[Fitted]) -> list[Network]:
    """Return the networks of a pack that are worth measuring."""
    return [
        Network(cell.target, cell.dimension, cell.model, one.parameters)
        for cell, one in zip(cells, fitted, strict=True)
        if one.outcome in WORTH_MEASURING and one.parameters is not None
    ]


@telling
def measure_tiles(networks: Sequence[Network], measurement: Measurement, tiles: range, folder: Path) -> Tiles:
    """Screen some tiles of a measurement on this rank's device."""
    return _measure(networks, measurement, tiles, folder)


def _measure(networks: Sequence[Network], measurement: Measurement, tiles: range, folder: Path) -> Tiles:
    start = time.perf_counter()
    part = screen_networks(networks, measurement, tiles, folder, devices.here().name)
    return Tiles(part, time.perf_counter() - start)


@telling
def finish_pack(cells: Sequence[Cell], fitted: Sequence[Fitted], tiles: Sequence[Tiles], folder: Path) -> Finished:
    """Put the tiles of a pack together, once all are in."""
    return _finished(cells, fitted, tiles, folder)


def _finished(cells: Sequence[Cell], fitted: Sequence[Fitted], tiles: Sequence[Tiles], folder: Path) -> Finished:
    measured = iter(combine([one.part for one in tiles]))
    seconds = sum(one.seconds for one in tiles)
    share = seconds / max(1, len(networks_of(cells, fitted)))
    records = [
        None
        if one.outcome == "interrupted"
        else _record(cell, one, next(measured) if one.outcome in WORTH_MEASURING else None, share, folder)
        for cell, one in zip(cells, fitted, strict=True)
    ]
    return Finished(records, seconds + sum(one.seconds for one in fitted))


def _record(cell: Cell, fitted: Fitted, screens: object, eval_seconds: float, folder: Path) -> Record:
    values: dict[str, object] = {
        "train_rmse": fitted.train_rmse,
        "steps": fitted.steps,
        "train_seconds": fitted.seconds,
        "message": fitted.message,
    }
    if fitted.history_step is not None and fitted.history_loss is not None:
        values |= {"history_step": fitted.history_step, "history_loss": fitted.history_loss}
    picture = None
    if screens is not None:
        found = conclude(screens)  # type: ignore[arg-type]
        values |= {
            "sup_lower": found.bracket.lower,
            "sup_upper": found.bracket.upper,
            "sup_where": found.bracket.where,
            "l2_error": found.l2,
            "l1_error": found.l1,
            "points": found.points,
            "nonfinite": found.nonfinite,
            "eval_seconds": eval_seconds,
        }
        if found.nonfinite:
            values["message"] = f"The error is NaN or infinite at {found.nonfinite} of {found.points} points."
        [network] = networks_of([cell], [fitted])
        with contextlib.suppress(Exception):  # a plugin that fails along a line costs the picture, not the result
            picture = slice_of(network, found.bracket.where, layout.SLICE, folder)
    return Record(fitted.outcome, values, _parameters(fitted), picture)


def _parameters(fitted: Fitted) -> np.ndarray | None:
    return fitted.parameters if fitted.outcome != "failed" else None
