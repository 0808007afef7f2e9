"""Merging: what shards have finished, in one store."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from hpcsweep.errors import StoreError
from hpcsweep.store import journal, layout, links, opening, verifying, weights, write_errors
from hpcsweep.store.lease import Lease
from hpcsweep.store.reading import opened, read_cells, read_runs
from hpcsweep.study.cells import Cells


def merge(path: str | Path, shards: Iterable[str | Path]) -> tuple[int, int]:
    """Copy the finished rows of shards by key into the main file; harmless twice. Returns (new rows, finished rows).

    Raises `StoreError` if a file is no store, of another study, or damaged, or if a live run holds the main file.
    """
    path = links.own(Path(path))
    with (
        Lease(path, opening.last_lease(path)) as lease,
        write_errors.explained(f"The stores cannot be merged into {path}", KeyError),
    ):
        parts = [links.own(Path(shard)) for shard in shards]
        present = list(dict.fromkeys([*([path] if path.exists() else []), *parts]))
        opening.sweep(path)
        for file in present:
            _complete(file, path)
            verifying.require(file)
        before = _finished(path) if path.exists() else 0
        runs = {(run.host, run.job, run.started): run for file in present[::-1] for run in read_runs(file)[::-1]}
        keep_weights = any(weights.path_of(file).exists() for file in present)
        title, text = opening.identity(present[0])
        launches = list(runs.values())[::-1]
        opening.replace(path, _united(present), title, text, launches, present, keep_weights, lease)
        return _finished(path) - before, _finished(path)


def _complete(file: Path, main: Path) -> None:
    """Make the changes that a measurement of a store, whose lease nobody holds, was cut off in."""
    if journal.path_of(file).exists():
        with contextlib.nullcontext() if file == main else Lease(file):
            journal.replay(file)


def _united(files: list[Path]) -> Cells:
    """Return the cells of several stores of one study."""
    title, _ = opening.identity(files[0])
    parts = [read_cells(file) for file in files]
    for file, cells in zip(files, parts, strict=True):
        if (opening.identity(file)[0], cells.seed, cells.precision) != (title, parts[0].seed, parts[0].precision):
            raise StoreError(f"{file} contains another study than {files[0]}: its title, seed or precision differs.")
    return replace(parts[0].union(*parts[1:]), whole=max(cells.whole for cells in parts))


def _finished(path: Path) -> int:
    with opened(path) as file:
        return int(np.isin(file["status"][:], (layout.DONE, layout.DIVERGED, layout.OUT_OF_BUDGET)).sum())
