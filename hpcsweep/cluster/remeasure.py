"""The command `measure` with a store: its networks measured again, on every rank of this launch.

What is done so far is saved beside the store.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hpcsweep.approx.supnorm.approximations import Network
from hpcsweep.approx.supnorm.measured import finalize
from hpcsweep.approx.supnorm.measurement import planned
from hpcsweep.approx.supnorm.survey import Survey
from hpcsweep.bracket import Bracket
from hpcsweep.cluster import slurm, worker
from hpcsweep.cluster.measurements import Measurements, digest
from hpcsweep.cluster.options import RunOptions
from hpcsweep.cluster.pricing import places_of
from hpcsweep.cluster.progress import Style, display
from hpcsweep.cluster.stopping import AGAIN
from hpcsweep.cluster.tightening import Tightening
from hpcsweep.cluster.trust import Trust
from hpcsweep.cluster.workforce import Workforce, assemble
from hpcsweep.errors import StoreError
from hpcsweep.store import layout, links, opening, reading, remeasured, verifying, weights
from hpcsweep.store.lease import Lease
from hpcsweep.store.reading import opened, read_cells
from hpcsweep.store.status import SHORTEST
from hpcsweep.study.schema import SupNormSection

TOGETHER = 64  # networks that are screened together, at most: each part of that carries all of them


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
            keys = _whole(path, keys)
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
        contextlib.closing(Tightening(path, lease, digest(content), folder)) as tightening,
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
            before = tightening.brackets(known)
            tightening.write(number, dict(zip(known, networks, strict=True)), partial(_values, known, survey, folder))
            print("\n".join(_changes(before, tightening.brackets(known))), flush=True)
            job.finish(number)
            tightening.forget(number)
        tightening.forget()
    return 0


def _changes(before: Mapping[str, Bracket], after: Mapping[str, Bracket]) -> Iterator[str]:
    """Yield the old and the new bracket of each cell."""
    for key, old in before.items():
        new = after[key]
        old_ends, new_ends = (f"[{bracket.lower:.7g}, {bracket.upper:.7g}]" for bracket in (old, new))
        yield f"{key[:SHORTEST]}  {old_ends} " + ("unchanged" if new == old else f"-> {new_ends}")


def _values(keys: Sequence[str], survey: Survey, folder: Path) -> dict[str, dict[str, Any]]:
    values = {}
    for key, approximation, state in zip(keys, survey.approximations, survey.states, strict=True):
        found = finalize(approximation, survey.measurement, state, layout.QUANTILES, folder)
        values[key] = {**worker.measurement_values(found), "proved": found.proved}
    return values


def _whole(path: Path, beginnings: Sequence[str]) -> list[str]:
    """Return the keys that begin so. Raises `StoreError` for a beginning of none, or of several, which it names."""
    with opened(path) as file:
        known = file["key"][:]
    return [known[reading.row_of(known, beginning, path)].decode() for beginning in beginnings]


def _groups(path: Path, keys: Sequence[str]) -> list[tuple[list[str], list[Network]]]:
    """Return the keys and networks of each dimension, width and target: they share points; `TOGETHER` at most."""
    cells = read_cells(path)
    with opened(path) as file:
        status, seen = file["status"][:], file["sup_where"][:]
    known = cells.columns["key"].astype(str)
    chosen = np.isin(known, list(keys)) if keys else np.ones(len(cells), bool)
    data = cells.of_data() & chosen
    if data.any():
        problem = (
            f"{data.sum()} cell(s) of {path} have data for a target: their errors are the maxima over held-out rows "
            "already, and there is no function to measure them against elsewhere"
        )
        if (data == chosen).all():
            raise StoreError(f"{problem}.")
        print(f"hpcsweep: {problem}.", file=sys.stderr)
    rows = np.flatnonzero(np.isin(status, (layout.DONE, layout.OUT_OF_BUDGET)) & chosen & ~data).tolist()
    groups: dict[tuple[Any, ...], list[tuple[str, Network]]] = {}
    for row, parameters in zip(rows, weights.parameters(path, [str(known[row]) for row in rows]), strict=True):
        if parameters is not None:
            cell = cells.cell(row)
            place = tuple(seen[row, : cell.dimension].tolist())
            equation = cell.optimizer.objective.equation
            network = Network(cell.target, cell.dimension, cell.model, parameters, *places_of(cell), place, equation)
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
    return Survey(networks, planned(chosen.measured(dimension), dimension, networks[0].width))
