#!/usr/bin/env python
"""How long and how much memory `report` takes for a store of 10^5 cells with random results, made by the store's own
functions; every twentieth has pictures beside the store.

Prints one JSON line per figure; `floor` is the figure demanded (an upper limit here). --quick takes 10^4 cells.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.config import Cell
from hpcsweep.store import layout
from hpcsweep.store.reading import Run
from hpcsweep.store.store import Record, Store
from hpcsweep.study.expansion import expand
from hpcsweep.study.parsing import parse

STUDY = """
title = "A large study"
[[grid]]
target = ["exp_cos", "runge"]
dimension = [1, 2, 4]
width = [4, 8, 16, 32]
depth = [1, 2]
samples = [50, 100, 200, 400, 800, 1600, 3200]
optimizer = ["adam", "sgd", "adam+ssbroyden"]
replicate = {replicates}
"""
BATCH, PICTURED = 2000, 20


def main() -> None:
    """Make the store, report it in a process of its own, tell what that took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10^4 cells")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        count = fill(Path(folder) / "results.h5", STUDY.format(replicates=10 if quick else 100))
        start = time.perf_counter()
        command = [sys.executable, "-m", "hpcsweep", "report", str(Path(folder) / "results.h5")]
        subprocess.run(command, check=True, capture_output=True)
        seconds = time.perf_counter() - start
        page = (Path(folder) / "results-report" / "index.html").stat().st_size / 2**20
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    memory = used.ru_maxrss / 2**20
    for name, value, unit, floor in (
        ("cells", count, "cells", None),
        ("report_seconds", round(seconds, 1), "s", None if quick else 60),
        ("report_core_seconds", round(used.ru_utime + used.ru_stime, 1), "s", None),
        ("report_memory", round(memory, 3), "GiB", None if quick else 2),
        ("page_size", round(page, 1), "MiB", None),
    ):
        print(json.dumps({"name": name, "value": value, "unit": unit, "floor": floor}))


def fill(path: Path, text: str) -> int:
    """Write a store of a study whose cells are all done; return how many there are."""
    study = parse(text, Catalogue())
    random = np.random.default_rng(0)
    run = Run("host", "", 1, "cpu", "versions", time.time())
    with contextlib.closing(Store.open(path, study, expand(study, Catalogue()), run)) as store:
        store.predict(random.lognormal(0, 1, len(store.cells)))
        for start in range(0, len(store.cells), BATCH):
            rows = range(start, min(start + BATCH, len(store.cells)))
            store.put(rows, [record(store.cells.cell(row), random, row % PICTURED == 0) for row in rows])
        return len(store.cells)


def record(cell: Cell, random: np.random.Generator, pictured: bool) -> Record:
    """Return a cell that is done, its error near a power law of weights and samples."""
    sup = float(10 / cell.parameters**0.8 / cell.samples ** (1 / cell.dimension) * random.lognormal(0, 0.4))
    values = {
        **{
            "sup_lower": sup,
            "sup_upper": sup * 1.01,
            "certificate": 1,
            "sup_where": random.uniform(-1, 1, cell.dimension),
        },
        **{"sup_uniform": 0.9 * sup, "boundary": int(random.random() < 0.3), "sample_distance": random.random() / 50},
        **{"l2_error": sup / random.uniform(3, 30), "train_rmse": sup / 50, "points": 2**16, "steps": 3000},
        **{"train_seconds": random.lognormal(0, 1), "eval_seconds": random.lognormal(-1, 1)},
    }
    if not pictured:
        return Record("done", values, np.ones(cell.parameters))
    line, zoom = (np.stack([np.linspace(-1, 1, n), np.zeros(n), np.full(n, sup)]) for n in (layout.SLICE, layout.ZOOM))
    raster = np.full((layout.RASTER, layout.RASTER), sup) if cell.dimension == 2 else None
    return Record("done", values, np.ones(cell.parameters), line, zoom, raster)


if __name__ == "__main__":
    main()
