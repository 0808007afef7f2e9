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
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hpcsweep import layout, tighten, weights
from hpcsweep.approx.meter import files
from hpcsweep.approx.meter.measured import conclude
from hpcsweep.approx.meter.subjects import Network, Subject
from hpcsweep.approx.meter.survey import Survey
from hpcsweep.approx.meter.tasks import planned
from hpcsweep.cluster import stopping, worker
from hpcsweep.cluster.progress import Display, Style, display
from hpcsweep.cluster.workforce import Workforce, assemble
from hpcsweep.errors import LaunchError, StoreError
from hpcsweep.rewrite import opened, read_cells, replacing
from hpcsweep.sections import SupNormSection
from hpcsweep.study import section

PIECE = 2**24  # points of a piece of screening, times networks: some seconds
MOST_PIECES = 4096
SAVE_SECONDS = 60.0
WIDE = 64  # the width that tiles are sized for where the layers are not known


@dataclass
class Conduct:
    """A survey conducted over a workforce, saved in `file` (if any) so that it can go on later."""

    survey: Survey
    folder: Path
    file: Path | None = None
    _results: list[Any] = field(default_factory=list)
    _saved: float = field(default_factory=time.monotonic)

    def run(self, workforce: Workforce, shown: Display) -> bool:
        """Do all that is left (True), or until a stop is asked for (False)."""
        while parts := self.survey.tasks(self._pieces()):
            self._results = self._results or [None] * len(parts)
            if not self._stage(parts, workforce, shown):
                self.save()
                return False
            self.survey.take(self._results)
            self._results = []
        return True

    def _pieces(self) -> int:
        points = self.survey.measurement.total * self.survey.measurement.tile * len(self.survey.subjects)
        return min(MOST_PIECES, -(-points // PIECE))

    def _stage(self, parts: Sequence[Any], workforce: Workforce, shown: Display) -> bool:
        """Do the parts that have no result yet."""
        waiting = [number for number, result in enumerate(self._results) if result is None]
        out: dict[Future[Any], int] = {}
        begun, first = time.monotonic(), len(waiting)
        while out or (waiting and not stopping.asked()):
            while waiting and workforce.free and not stopping.asked():
                number = waiting.pop(0)
                out[workforce.submit(worker.measure, parts[number], self.folder)] = number
            done, _ = wait(out, timeout=0.2, return_when=FIRST_COMPLETED)
            for future in done:
                self._results[out.pop(future)] = _result(future.result())
            left = len(waiting) + len(out)
            eta = (time.monotonic() - begun) * left / (first - left) if left < first else None
            shown.show(len(parts) - left, len(parts), eta, "stopping" if stopping.asked() else "")
            if time.monotonic() - self._saved > SAVE_SECONDS:
                self.save()
        return not waiting

    def save(self) -> None:
        """Write what is done to the file."""
        self._saved = time.monotonic()
        if self.file is not None:
            with replacing(self.file) as temporary:
                temporary.write_bytes(pickle.dumps((self.survey, self._results)))

    def resume(self) -> None:
        """Go on from the file, if there is one."""
        if self.file is not None and self.file.exists():
            self.survey, self._results = pickle.loads(self.file.read_bytes())

    def forget(self) -> None:
        """Remove the file: all is done."""
        if self.file is not None:
            self.file.unlink(missing_ok=True)


def _result(done: object) -> Any:
    if isinstance(done, worker.Failure):
        raise LaunchError(f"A part of the measurement failed: {done.message}")
    assert isinstance(done, worker.Done)
    return done.result


def options(given: Mapping[str, Any]) -> SupNormSection:
    """Return the choices of a command line as those of `[sup_norm]`. Raises `StudyError`."""
    chosen = dict(given)
    if "points" in chosen:
        chosen["points"] = list(chosen["points"])
    with contextlib.suppress(ValueError):
        chosen["certificate"] = float(chosen.get("certificate", ""))
    return section(SupNormSection, chosen, "measure")


def named(names: Mapping[str, Any], chosen: SupNormSection, style: Style, folder: Path) -> tuple[int, dict | None]:
    """Measure a network and a target by their names (see `files.files`).

    Returns the exit code and, on rank 0, what was found: sup_lower, sup_upper, where, certificate, points, seconds.
    """
    start = time.perf_counter()
    with assemble() as workforce:
        if workforce is None:
            return 0, None
        subject = files.files(**names, folder=folder)  # plugins run where their mistakes end all ranks
        dimension = len(subject.domain)
        width = max((term.width for term in subject.pair(folder, "cpu").terms), default=WIDE)
        survey = Survey([subject], planned(chosen.resolved(dimension), dimension, width))
        with contextlib.closing(display(style, sys.stderr, "parts")) as shown:
            if not Conduct(survey, folder).run(workforce, shown):
                return 75, None
        found = conclude(subject, survey.measurement, survey.states[0], folder=folder)
    return 0, {
        "sup_lower": found.lower,
        "sup_upper": found.upper,
        "where": list(found.where),
        "certificate": found.certificate,
        "points": found.points,
        "boxes": found.boxes,
        "sup_uniform": found.uniform,
        "l2_error": found.l2,
        "message": found.message,
        "seconds": time.perf_counter() - start,
    }


def stored(path: Path, chosen: SupNormSection, keys: Sequence[str], style: Style, folder: Path) -> int:
    """Measure networks of a store again, all or those of some keys, and tighten what the store says of them.

    Returns 0, or 75 if it was stopped before the end. Raises `StoreError` if nothing can be measured.
    """
    with assemble() as workforce:
        if workforce is None:
            return 0
        with contextlib.closing(display(style, sys.stderr, "parts")) as shown:
            for rows, survey in _surveys(path, chosen, keys):
                name = hashlib.blake2b(pickle.dumps((rows, survey.measurement)), digest_size=8).hexdigest()
                conduct = Conduct(survey, folder, path.with_name(f".{path.name}.measure-{name}"))
                conduct.resume()
                if not conduct.run(workforce, shown):
                    return 75
                tighten.tighten(path, _found(rows, conduct.survey, folder))
                conduct.forget()
    return 0


def _found(rows: Sequence[int], survey: Survey, folder: Path) -> dict[int, dict[str, Any]]:
    return {
        row: worker.measurement_values(conclude(subject, survey.measurement, state, layout.QUANTILES, folder))
        for row, subject, state in zip(rows, survey.subjects, survey.states, strict=True)
    }


def _surveys(path: Path, chosen: SupNormSection, keys: Sequence[str]) -> list[tuple[list[int], Survey]]:
    """Return the rows and the survey of the networks of each dimension, width and target: they share points."""
    cells = read_cells(path)
    with opened(path) as file:
        status = file["status"][:]
    known = cells.columns["key"].astype(str)
    for key in set(keys) - set(known):
        raise StoreError(f"{path} has no cell {key!r}; `status` and `report` show the keys.")
    wanted = np.isin(known, list(keys)) if keys else np.ones(len(cells), bool)
    groups: dict[tuple[Any, ...], list[tuple[int, Subject]]] = {}
    for row in np.flatnonzero(np.isin(status, (layout.DONE, layout.OUT_OF_BUDGET)) & wanted).tolist():
        cell, kept = cells.cell(row), weights.read(path, str(known[row]))
        if kept is not None:
            network = Network(cell.target, cell.dimension, cell.model, kept[0], cell.samples, cell.data_seed)
            width = max(cell.model.get("hidden", []), default=1)
            groups.setdefault((cell.dimension, width, network.group), []).append((row, network))
    if not groups:
        raise StoreError(
            f"{path} has no trained parameters to measure; they are kept unless [store] says weights = false."
        )
    return [
        (
            [row for row, _ in group],
            Survey([one for _, one in group], planned(chosen.resolved(dimension), dimension, width)),
        )
        for (dimension, width, _), group in groups.items()
    ]
