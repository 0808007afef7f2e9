"""The command `measure`: networks of a store, or anything that can be called, measured on every rank of this launch.

What is done so far is saved beside the store now and then, and at a stop: the same command goes on there. The parts of
a measurement are fixed when it begins, so that another number of ranks may go on with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hpcsweep.approx.supnorm import files
from hpcsweep.approx.supnorm.approximations import Network
from hpcsweep.approx.supnorm.measured import finalize
from hpcsweep.approx.supnorm.survey import Survey
from hpcsweep.approx.supnorm.tasks import planned
from hpcsweep.cluster import slurm, worker
from hpcsweep.cluster.checkpoints import Saver
from hpcsweep.cluster.driver import Driver, Job, Step
from hpcsweep.cluster.options import RunOptions
from hpcsweep.cluster.pricing import places_of
from hpcsweep.cluster.progress import Display, Style, display
from hpcsweep.cluster.stopping import AGAIN
from hpcsweep.cluster.tightening import Tightening
from hpcsweep.cluster.trust import Trust
from hpcsweep.cluster.workforce import Workforce, assemble
from hpcsweep.errors import LaunchError, StoreError
from hpcsweep.store import layout, links, opening, reading, remeasured, verifying, weights, write_errors
from hpcsweep.store.lease import Lease
from hpcsweep.store.reading import opened, read_cells
from hpcsweep.study.parsing import section
from hpcsweep.study.schema import SupNormSection

PIECE = 2**24  # points of a piece of screening, times networks: some seconds
MOST_PIECES = 4096
CENTRAL = ("central_share", "central_l2_error", "central_sup_lower")  # what is told of the central part
TOGETHER = 64  # networks that are screened together, at most: each part of that carries all of them


class Measurements(Job):
    """What one command measures, one survey after the other, saved now and then so that it can go on later."""

    def __init__(self, surveys: list[Survey | None], folder: Path, saver: Saver) -> None:
        """`surveys`: those that are done are None, to be forgotten. `saver`: where they are saved."""
        super().__init__(folder, saver.every)
        self.surveys, self.saver = surveys, saver

    def resume(self) -> None:
        """Go on from what was saved, if anything was."""
        state = self.saver.load()
        if state is not None:
            self.results = state["results"]
            self.surveys[: state["done"]] = [None] * state["done"]
            for number, progress in state["begun"].items():
                survey = self.surveys[number]
                assert survey is not None
                survey.restore(progress)

    def save(self) -> None:
        """Save what is done, if that is possible."""
        self.saved = time.monotonic()
        self.saver.save(self._state())

    leave = save

    def _state(self) -> dict[str, Any]:
        left = {number: survey for number, survey in enumerate(self.surveys) if survey is not None}
        done = min(left, default=len(self.surveys))  # one after the other
        begun = {number: survey.progress() for number, survey in left.items() if survey.states}
        return {"done": done, "begun": begun, "results": self.results}

    def finish(self, number: int) -> None:
        """Forget a survey whose results are in place. Raises `StoreError` if that cannot be saved."""
        self.surveys[number] = None
        with write_errors.explained(f"{self.saver.path} cannot be saved"):
            self.saver.keep(self._state())

    def run(self, number: int, workforce: Workforce, shown: Display) -> bool:
        """Do all that is left of a survey (True), or until a stop is asked for (False)."""
        self.survey, self.over = self.surveys[number], False
        assert self.survey is not None
        self.pieces, self._stop, self._shown = _pieces(self.survey), workforce.stop, shown
        Driver(workforce, self.show).run([self])
        return self.over

    def steps(self) -> list[Step]:
        """Return what can be done now: the parts of a stage, whose time begins."""
        steps = super().steps()
        self._begun, self._first = time.monotonic(), len(steps)
        return steps

    def show(self) -> None:
        """Show how many parts of the stage are done."""
        left, total = sum(result is None for result in self.results), len(self.results)
        eta = (time.monotonic() - self._begun) * left / (self._first - left) if left < self._first else None
        if total:
            self._shown.show(total - left, total, eta, "stopping" if self._stop.asked() else "")

    def others(self) -> list[Step]:
        """Nothing is left."""
        self.over = True
        return []

    def fail(self, message: str) -> list[Step]:
        """End the command. Raises `LaunchError`."""
        raise LaunchError(f"A part of the measurement failed: {message}")

    def hang(self, steps: Sequence[Step]) -> str:
        """Save what is measured and say how many parts come to no end."""
        self.save()
        return f"{len(steps)} part(s) of the measurement do not end and are abandoned"


def _pieces(survey: Survey) -> int:
    points = survey.measurement.total * survey.measurement.tile * len(survey.approximations)
    return min(MOST_PIECES, -(-points // PIECE))


def chosen_section(choices: Mapping[str, Any]) -> SupNormSection:
    """Return the choices of a command line as those of `[sup_norm]`. Raises `StudyError`."""
    chosen = dict(choices)
    if "points" in chosen:
        chosen["points"] = list(chosen["points"])
    with contextlib.suppress(ValueError):
        chosen["certificate"] = float(chosen.get("certificate", ""))
    return section(SupNormSection, chosen, "measure")


def named(
    names: Mapping[str, Any], chosen: SupNormSection, style: Style, folder: Path, options: RunOptions
) -> tuple[int, dict | None]:
    """Measure a network and a target by their names (see `files.files`).

    Returns the exit code and, on rank 0, what was found: sup_lower, sup_upper, where, certificate, points, seconds.
    """
    start = time.perf_counter()
    with assemble(options) as workforce:
        if workforce is None:
            return 0, None
        workforce.stop.before(slurm.walltime())
        approximation = files.files(**names, folder=folder)  # plugins run where their mistakes end all ranks
        dimension = len(approximation.domain)
        width = approximation.error_function(folder, "cpu").width
        survey = Survey([approximation], planned(chosen.resolved(dimension), dimension, width))
        name = _digest([names, approximation.codes, survey.measurement])
        saver = Saver(folder / f".hpcsweep.measure-{name}", (name,))
        job = Measurements([survey], folder, saver)
        job.resume()
        with contextlib.closing(display(style, sys.stderr, "parts")) as shown:
            if not job.run(0, workforce, shown):
                return AGAIN, None
        saver.path.unlink(missing_ok=True)
        [survey] = [left for left in job.surveys if left is not None]
        measured = finalize(approximation, survey.measurement, survey.states[0], folder=folder)
    central = measured.central_share, measured.central_l2, measured.central_lower
    return 0, {
        "sup_lower": measured.lower,
        "sup_upper": measured.upper,
        "where": list(measured.where),
        "certificate": measured.certificate,
        "points": measured.points,
        "boxes": measured.boxes,
        "sup_uniform": measured.uniform,
        "l2_error": measured.l2,
        **({} if chosen.central is None else dict(zip(CENTRAL, central, strict=True))),
        "message": measured.message,
        "seconds": time.perf_counter() - start,
    }


def stored(
    path: Path,
    chosen: SupNormSection,
    keys: Sequence[str],
    style: Style,
    folder: Path | None,
    options: RunOptions,
    trust: Trust,
) -> int:
    """Measure networks of a store again, all or those of some keys, and tighten what the store says of them.

    Holds the lease of the store. Returns 0, 1 if cells have no weights, which is told, or 75 if it was stopped before
    the end. Raises `StoreError` if a run holds the store, nothing can be measured, or what is to be written cannot be
    saved first; `PluginError` for a plugin that may not be executed, or has changed.
    """
    with assemble(options) as workforce:
        if workforce is None:
            return 0
        workforce.stop.before(slurm.walltime())
        path = links.own(path)
        with opening.leased(path) as lease:
            groups, folder = _groups(path, keys), trust.folder(folder)
            configs = (config for _, networks in groups for network in networks for config in network.plugins)
            trust.require(path, configs, folder)
            code = _stored(path, chosen, groups, style, folder, workforce, lease)
    lost = [key for key in verifying.without_weights(path) if not keys or key in keys]
    if lost:
        problem = f"{len(lost)} cell(s) have no weights and are not measured: {reading.named(lost)}"
        print(f"hpcsweep: {problem}; `run` with --repair trains them again.", file=sys.stderr)
    return code or int(bool(lost))


def _stored(
    path: Path,
    chosen: SupNormSection,
    groups: Sequence[tuple[list[str], list[Network]]],
    style: Style,
    folder: Path,
    workforce: Workforce,
    lease: Lease,
) -> int:
    if chosen.central is not None:
        remeasured.require_central(path)
    surveys = [_survey(networks, chosen) for _, networks in groups]
    content = (
        [survey.measurement, [(network.target, network.model, network.parameters.tobytes()) for network in networks]]
        for survey, (_, networks) in zip(surveys, groups, strict=True)
    )
    with (
        contextlib.closing(Tightening(path, lease, _digest(content), folder)) as tightening,
        contextlib.closing(display(style, sys.stderr, "parts")) as shown,
    ):
        job = Measurements(list(surveys), folder, tightening.saver())
        job.resume()
        for number, (known, networks) in enumerate(groups):
            survey = job.surveys[number]
            if survey is None:
                continue
            if not job.run(number, workforce, shown):
                return AGAIN
            tightening.write(number, dict(zip(known, networks, strict=True)), partial(_values, known, survey, folder))
            job.finish(number)
            tightening.forget(number)
        tightening.forget()
    return 0


def _digest(things: Iterable[object]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for thing in things:
        digest.update(pickle.dumps(thing))
    return digest.hexdigest()


def _values(keys: Sequence[str], survey: Survey, folder: Path) -> dict[str, dict[str, Any]]:
    values = {}
    for key, approximation, state in zip(keys, survey.approximations, survey.states, strict=True):
        found = finalize(approximation, survey.measurement, state, layout.QUANTILES, folder)
        values[key] = {**worker.measurement_values(found), "proved": found.proved}
    return values


def _groups(path: Path, keys: Sequence[str]) -> list[tuple[list[str], list[Network]]]:
    """Return the keys and networks of each dimension, width and target: they share points; `TOGETHER` at most."""
    cells = read_cells(path)
    with opened(path) as file:
        status, seen = file["status"][:], file["sup_where"][:]
    known = cells.columns["key"].astype(str)
    for key in set(keys) - set(known):
        raise StoreError(f"{path} has no cell {key!r}; `status` and `report` show the keys.")
    chosen = np.isin(known, list(keys)) if keys else np.ones(len(cells), bool)
    rows = np.flatnonzero(np.isin(status, (layout.DONE, layout.OUT_OF_BUDGET)) & chosen).tolist()
    groups: dict[tuple[Any, ...], list[tuple[str, Network]]] = {}
    for row, parameters in zip(rows, weights.parameters(path, [str(known[row]) for row in rows]), strict=True):
        if parameters is not None:
            cell = cells.cell(row)
            place = tuple(seen[row, : cell.dimension].tolist())
            network = Network(cell.target, cell.dimension, cell.model, parameters, *places_of(cell), place)
            groups.setdefault((cell.dimension, network.width, network.group), []).append((cell.key, network))
    if not groups:
        raise StoreError(
            f"{path} has no trained parameters to measure; they are stored unless [store] weights = false."
        )
    return [
        ([key for key, _ in part], [network for _, network in part])
        for group in groups.values()
        for part in (group[start : start + TOGETHER] for start in range(0, len(group), TOGETHER))
    ]


def _survey(networks: Sequence[Network], chosen: SupNormSection) -> Survey:
    dimension = networks[0].dimension
    return Survey(networks, planned(chosen.resolved(dimension), dimension, networks[0].width))
