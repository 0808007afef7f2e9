"""The commands `plan` and `run`: a study file in, a price or a filled store out."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hpcsweep.approx import machine, own_targets
from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.cluster import devices, placement, pricing, progress, scheduling, shared_memory, shares, slurm, stopping
from hpcsweep.cluster.checkpoints import CheckpointDir
from hpcsweep.cluster.options import RunOptions
from hpcsweep.cluster.progress import Style, display
from hpcsweep.cluster.stopping import AGAIN
from hpcsweep.cluster.sweep import Sweep
from hpcsweep.cluster.workforce import Workforce, assemble
from hpcsweep.errors import PluginChanged, StoreError
from hpcsweep.store import layout, opening, status, verifying, weights, write_errors
from hpcsweep.store.reading import Run, named, read_cells
from hpcsweep.store.rewriting import size_of
from hpcsweep.store.shards import WHOLE, Shard, beside, of
from hpcsweep.store.store import Store
from hpcsweep.study import plan
from hpcsweep.study.cells import Cells
from hpcsweep.study.changing import Changed
from hpcsweep.study.expansion import expand
from hpcsweep.study.parsing import Study, parse
from hpcsweep.texts import pasteable
from hpcsweep.version import __version__

Source = str | Path | Changed | Study  # a study file, perhaps with changes, or what it says


def read(source: Source) -> tuple[Study, Cells]:
    """Read a study, or take one that has been read, and multiply it out; a mistake in it is a `UserError`."""
    source = Changed(Path(source)) if isinstance(source, str | Path) else source
    catalogue = Catalogue(source.folder)
    if isinstance(source, Study):
        return source, expand(source, catalogue)
    study = parse(source.text(), catalogue, source.folder)
    return study, expand(study, catalogue, progress.counting(study.listed, sys.stderr))


def price(source: Source, ranks: int, options: RunOptions | None = None, store: Path | None = None) -> dict[str, Any]:
    """Return what a study would cost on so many ranks of devices like the one of this process under these options.

    With a `store`, which need not be there yet, also what it has not finished; its shards count. Raises `StoreError` if
    it is of another study.
    """
    study, cells = read(source)
    device = devices.alone(RunOptions.read() if options is None else options)
    pricer = pricing.Pricer(study)
    packs = plan.make(cells, np.arange(len(cells)), pricer, ranks, pricing.memory_of_rank())
    return {
        "title": study.title,
        "cells": len(cells),
        "repeated": study.listed - len(cells),
        "packs": len(packs),
        "parameters": int(cells.columns["parameters"].sum()),
        "flops": sum(pack.flops for pack in packs),
        "memory_bytes": max((pack.bytes for pack in packs), default=0),
        "store_bytes": size_of(cells) + (weights.size_of(cells) if study.weights else 0),
        "ranks": ranks,
        "device": device.about,
        "seconds": plan.makespan(packs, ranks),
        "rank_seconds": sum(pack.seconds for pack in packs),
        "longest_pack_seconds": max((pack.seconds for pack in packs), default=0.0),
        "targets": _own_targets(study, cells),
        **({} if store is None else {"remaining": _remaining(store, study, cells, pricer, ranks)}),
    }


def _remaining(store: Path, study: Study, cells: Cells, pricer: pricing.Pricer, ranks: int) -> dict[str, Any]:
    """Return how many cells of a study are not finished in a store or a shard of it, and the seconds that they take."""
    files = [store, *parts] if (parts := beside(store)) else [store]
    done = np.concatenate([shares.finished(file) for file in files])
    if store.exists():
        opening.refuse_another(store, study, cells, read_cells(store))
    rows = np.flatnonzero(~np.isin(cells.columns["key"], done))
    packs = plan.make(cells, rows, pricer, ranks, pricing.memory_of_rank())
    return {"store": str(store), "exists": store.exists(), "cells": len(rows), "seconds": plan.makespan(packs, ranks)}


def _own_targets(study: Study, cells: Cells) -> list[dict[str, Any]]:
    """Return what is known of each target of the user's own."""
    known = (own_targets.about(target, dimension, study.folder, study.precision) for target, dimension in cells.facts)
    return [target for target in known if target is not None]


def run(
    source: Source,
    store: str | Path,
    style: Style = "auto",
    retry_failed: bool = False,
    seconds: float | None = None,
    requeue: bool = False,
    shard: Shard = WHOLE,
    stuck: Callable[[], object] = lambda: None,
    options: RunOptions | None = None,
    repair: bool = False,
) -> int:
    """Run a study on every rank of this launch and return the exit code: 0, 1 (cells failed) or 75 (run again).

    Ends in time before the walltime of Slurm, and begins to stop after so many `seconds`. With `requeue`, what is left
    is put into the queue of Slurm again. A `shard` is the share of one element of an array, in a store of its own.
    With `repair`, finished cells that are damaged, or whose weights are damaged or missing, are trained again.
    Where ranks hang that were asked to stop, `stuck` is called and this process, with all ranks, ends on the spot.
    """
    options = RunOptions.read() if options is None else options  # a mistake in them is told before anything begins
    stop = stopping.here()
    if seconds is not None:
        stop.at(time.time() + seconds)
    shared_memory.remove_abandoned()
    with assemble(options, stop) as workforce:
        if workforce is None:  # another rank than 0: its work is done
            return 0
        stop.before(slurm.walltime())
        try:
            again = _Again(retry_failed, repair)
            code = _drive(source, Path(store), style, again, workforce, shard, options.checkpoint_seconds)
        except stopping.Stuck:
            if requeue:
                print(slurm.requeue(), file=sys.stderr)
            stuck()
            raise
    if requeue and code == AGAIN:
        print(slurm.requeue(), file=sys.stderr)
    return code


class _Again(NamedTuple):
    """Which finished cells are to be run again."""

    failed: bool
    damaged: bool


def _drive(
    source: Source,
    store_path: Path,
    style: Style,
    again: _Again,
    workforce: Workforce,
    shard: Shard,
    saving: float,  # seconds between two checkpoints of a pack
) -> int:
    study, cells, store_path = _share(source, shard, store_path, again.failed, style)
    pricer = pricing.Pricer(study)
    memory = pricing.memory_of_rank()
    plan.make(cells, np.arange(len(cells)), pricer, workforce.size, memory)  # before anything is written
    checkpoints = CheckpointDir.beside(store_path.resolve(), saving)
    got_on = scheduling.saved_since_launch(store_path, checkpoints)
    store = Store.open(store_path, study, cells, _provenance(workforce), got_on, again.damaged)
    try:
        checkpoints.sweep(store.finished())
        if again.failed:
            store.clear(layout.FAILED)
        scheduling.give_up(store)
        packs = scheduling.packs_in_order(store, checkpoints, pricer, workforce.size, memory)
        store.predict(plan.seconds_by_row(packs, len(store.cells)))
        with contextlib.closing(display(style, sys.stderr)) as shown:
            Sweep(pricer, store, workforce, shown, checkpoints).run(packs)
        code = _exit_code(store)
        if code == AGAIN:
            store.stopped(workforce.stop.reason)
    except PluginChanged as error:
        store.stopped(str(error))
        raise
    except OSError as error:
        raise StoreError(f"{store_path} can no longer be written: {write_errors.reason(error)}.") from error
    finally:
        store.close()
    if style != "none":
        _report(store_path, code, workforce.stop.reason)
    return code


def _share(source: Source, shard: Shard, store: Path, failed: bool, style: Style) -> tuple[Study, Cells, Path]:
    """Return a study, the cells that this launch has to answer for, and the store that it writes."""
    study, cells = read(source)
    if shard != WHOLE:
        return study, shares.cells_of(study, cells, shard, store, failed), shard.path(store)
    if style != "none" and study.listed > len(cells):
        repeated = f"{study.listed - len(cells):,} of {study.listed:,} cells"
        print(f"{repeated} are equal to earlier ones and run once", file=sys.stderr)
    return study, cells, store


def _exit_code(store: Store) -> int:
    """Return 0 if all cells of the study are done in the file, 1 if some failed, 75 if it is to be run again."""
    store.settle()
    if len(store.pending()):
        return AGAIN
    return 1 if (store.status[: store.planned] == layout.FAILED).any() else 0


def _report(path: Path, code: int, stopped: str) -> None:
    """Say what became of the study."""
    print("\n".join(status.lines(status.summary(path))))
    if lost := verifying.without_weights(path):
        print(f"{len(lost)} finished cell(s) have no weights: {named(lost)}; --repair trains them again")
    advice = {
        0: f"See the results:  python -m hpcsweep report {pasteable(path)}"
        if of(path) is None
        else "This shard is ready to be merged.",
        1: "Some cells failed (above); remove the cause and run the same command with --retry-failed.",
        AGAIN: f"Stopped before the end{f' ({stopped})' if stopped else ''}; run the same command again to continue.",
    }
    print(advice[code])


def _provenance(workforce: Workforce) -> Run:
    libraries = ", ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "numba", "h5py"))
    return Run(
        host=socket.gethostname(),
        job=os.environ.get("SLURM_JOB_ID", ""),
        ranks=workforce.size,
        devices=placement.summary(workforce.devices),
        versions=f"hpcsweep {__version__}, {machine.versions()}, {libraries}",
        started=time.time(),
    )
