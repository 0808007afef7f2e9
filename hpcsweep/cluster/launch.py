"""The commands `plan` and `run`: a study file in, a price or a filled store out."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from hpcsweep import __version__, layout, plan, status, weights
from hpcsweep.approx import machine
from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.cells import Cells
from hpcsweep.cluster import devices, pricing
from hpcsweep.cluster.driver import Driver
from hpcsweep.cluster.progress import Style, display
from hpcsweep.cluster.workforce import Workforce, assemble
from hpcsweep.errors import StoreError
from hpcsweep.grid import expand
from hpcsweep.rewrite import Run, size_of
from hpcsweep.store import Store
from hpcsweep.study import Study, load


def read(path: str | Path) -> tuple[Study, Cells]:
    """Read a study and multiply it out; a mistake in it is a `UserError`."""
    catalogue = Catalogue(Path(path).parent)
    study = load(path, catalogue)
    return study, expand(study, catalogue)


def price(path: str | Path, ranks: int) -> dict[str, Any]:
    """Return what a study would cost on so many ranks of devices like this one."""
    study, cells = read(path)
    pricer = pricing.Pricer(study)
    packs = plan.make(cells, np.arange(len(cells)), pricer, ranks, pricing.memory_of_rank())
    return {
        "title": study.title,
        "cells": len(cells),
        "packs": len(packs),
        "parameters": int(cells.columns["parameters"].sum()),
        "flops": sum(pack.flops for pack in packs),
        "memory_bytes": max((pack.bytes for pack in packs), default=0),
        "store_bytes": size_of(cells) + (weights.size_of(cells) if study.weights else 0),
        "ranks": ranks,
        "device": devices.here().about,
        "seconds": plan.makespan(packs, ranks),
        "rank_seconds": sum(pack.seconds for pack in packs),
        "longest_pack_seconds": max((pack.seconds for pack in packs), default=0.0),
    }


def run(path: str | Path, store: str | Path, style: Style = "auto", retry_failed: bool = False) -> int:
    """Run a study on every rank of this launch and return the exit code: 0, 1 (cells failed) or 75 (run again)."""
    with assemble() as workforce:
        if workforce is None:  # another rank than 0: its work is done
            return 0
        return _drive(path, Path(store), style, retry_failed, workforce)


def _drive(path: str | Path, store_path: Path, style: Style, retry_failed: bool, workforce: Workforce) -> int:
    study, cells = read(path)
    pricer = pricing.Pricer(study)
    memory = pricing.memory_of_rank()
    plan.make(cells, np.arange(len(cells)), pricer, workforce.size, memory)  # before anything is written
    store = Store.open(store_path, study, cells, _provenance(workforce))
    try:
        if retry_failed:
            store.forget(layout.FAILED)
        packs = plan.make(store.cells, store.pending(), pricer, workforce.size, memory)
        store.predict(plan.seconds_by_row(packs, len(store.cells)))
        shown = display(style, sys.stderr)
        try:
            Driver(pricer, store, workforce, shown).run(packs)
        finally:
            shown.close()
        code = _exit_code(store)
    except (OSError, RuntimeError) as error:  # h5py raises either
        raise StoreError(f"{store_path} cannot be written any more: {error}; free the way and run again.") from error
    finally:
        store.close()
    if style != "none":
        _report(store_path, code)
    return code


def _exit_code(store: Store) -> int:
    """Return 0 if all cells of the study are done, 1 if some failed, 75 if it is to be run again."""
    if len(store.pending()):
        return 75
    return 1 if (store.status[: store.planned] == layout.FAILED).any() else 0


def _report(path: Path, code: int) -> None:
    """Say what became of the study."""
    print("\n".join(status.lines(status.summary(path))))
    advice = {
        0: f"Look at it:  python -m hpcsweep report {path}",
        1: "Some cells failed (above); mend the cause and run the same command with --retry-failed.",
        75: "Stopped before the end; run the same command again to go on.",
    }
    print(advice[code])


def _provenance(workforce: Workforce) -> Run:
    libraries = ", ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "h5py"))
    return Run(
        host=socket.gethostname(),
        job=os.environ.get("SLURM_JOB_ID", ""),
        ranks=workforce.size,
        devices="; ".join(f"{count} x {name}" for name, count in Counter(workforce.devices).items()),
        versions=f"hpcsweep {__version__}, {machine.versions()}, {libraries}",
        started=time.time(),
    )
