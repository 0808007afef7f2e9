#!/usr/bin/env python
"""How many packs a second go through the driver, and how idle the ranks are: at 2 and 4 ranks, with packs of 8 cells
that do nothing or sleep for 50 ms, through driver, workforce and store, and through mpi4py.futures alone, in the same
processes; then the plans of two studies, played on 8, 128 and 1,024 ranks.

A rank is idle while it executes no pack, whatever the reason; rank 0 never works for mpi4py.futures alone. Plans are
played with predicted times multiplied by lognormal factors that spread as taken / predicted did over the packs of a
real run, made first; the `tail` goes from the first idle rank to the end. Prints one JSON line per figure; `floor` is
the figure demanded. --quick leaves out 1,024 ranks.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from json_lines import show

from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.cluster import worker
from hpcsweep.cluster.checkpoints import CheckpointDir
from hpcsweep.cluster.pricing import Pricer
from hpcsweep.cluster.progress import Display
from hpcsweep.cluster.stopping import StopRequest
from hpcsweep.cluster.sweep import Sweep
from hpcsweep.cluster.workforce import Workforce, assemble
from hpcsweep.config import Cell
from hpcsweep.store import layout
from hpcsweep.store.reading import Run, opened
from hpcsweep.store.store import Record, Store
from hpcsweep.study import plan
from hpcsweep.study.expansion import expand
from hpcsweep.study.parsing import Study, parse

MIXED = """
title = "many shapes"
[[grid]]
target = ["exp_cos", "runge"]
dimension = [1, 2, 3]
width = [8, 16, 32, 64]
depth = [1, 2]
samples = [100, 200, 300, 400, 500, 600, 700, 800, 900, 1000]
replicate = {replicates}
"""
ALIKE = """
title = "one shape"
[[grid]]
target = ["exp_cos", "runge"]
dimension = 2
width = 16
depth = 2
samples = 100
replicate = {replicates}
"""
REAL = """
title = "real"
[[grid]]
target = ["exp_cos", "runge"]
dimension = [1, 2]
width = [8, 16, 24, 32, 48]
depth = [1, 2]
samples = 100
replicate = 3
[training]
steps = 300
[sup_norm]
count = 2000
uniform = 1000
"""
PACK = 8  # cells of the packs that do nothing
SHORT = 0.05  # seconds of those that sleep
DEMANDED = 0.97  # of the ranks' time, with so many packs a rank or more:
MANY = 20

_busy: list[float] = []  # seconds that this rank spent in each pack


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="half a minute: no 1,024 ranks")
    parser.add_argument("--rank", action="store_true", help=argparse.SUPPRESS)  # be one rank of a launch of ours
    arguments = parser.parse_args()
    if arguments.rank:
        for seconds, packs in ((0.0, 400), (SHORT, 80)):
            ours(seconds, packs)
            alone(seconds, packs)
        return
    for ranks in (2, 4):
        launch(ranks)
    spread = measured_spread()
    show("spread of taken / predicted", spread, "log standard deviation")
    for text, ranks, replicates in ((MIXED, 8, 20), (ALIKE, 8, 2000), (MIXED, 128, 40), (ALIKE, 128, 30000)):
        simulated(text.format(replicates=replicates), ranks, spread)
    if not arguments.quick:
        for text, ranks, replicates in ((MIXED, 1024, 400), (ALIKE, 1024, 200000), (ALIKE, 1024, 20000)):
            simulated(text.format(replicates=replicates), ranks, spread)


# Packs that do nothing, through the real driver, workforce and store


def pretend(cells: Sequence[Cell], seconds: float, weights: bool = False) -> worker.Finished:
    """Do nothing, or sleep, and give made-up records of the usual size."""
    begun = time.perf_counter()
    if seconds:
        time.sleep(seconds)
    records: list[Record | None] = [record(cell.dimension, cell.parameters if weights else None) for cell in cells]
    if cells:
        _busy.append(time.perf_counter() - begun)
    return worker.Finished(records, seconds)


@cache
def record(dimension: int, parameters: int | None) -> Record:
    """Return a record with a value in every column, and parameters and a slice if asked."""
    values: dict[str, object] = {
        name: np.full({"axis": dimension, "checkpoint": 64, "quantile": 4}[column.dimensions[1]], 1)
        if len(column.dimensions) > 1
        else 1
        for name, column in layout.RESULTS.items()
        if name not in ("status", "message", "finished", "predicted_seconds", *layout.COUNTERS)
    }
    kept = (None, None) if parameters is None else (np.ones(parameters), np.ones((3, layout.SLICE)))
    return Record("done", {**values, "message": "nothing"}, *kept)


@dataclass
class Idlers:
    """A workforce whose packs do nothing but sleep."""

    workforce: Workforce
    seconds: float
    size: int = field(init=False)
    stop: StopRequest = field(init=False)

    def __post_init__(self) -> None:
        self.size, self.stop = self.workforce.size, self.workforce.stop

    @property
    def free(self) -> int:
        """How many have nothing to do."""
        return self.workforce.free

    def submit(self, task: Callable[..., Any], cells: Sequence[Cell], *_: object) -> Future[Any]:
        """Give somebody a pack to sleep over."""
        return self.workforce.submit(pretend, cells, self.seconds)

    def arrivals(self, timeout: float) -> list[Future[Any]]:
        """Return the packs that are done."""
        return self.workforce.arrivals(timeout)

    def stop_everyone(self) -> None:
        """Ask all ranks for an early end."""
        self.workforce.stop_everyone()


def ours(seconds: float, packs: int) -> None:
    """On every rank: run packs through `assemble` and `Sweep`; rank 0 prints what came out."""
    from mpi4py import MPI

    _busy.clear()
    elapsed = 0.0
    with assemble() as workforce:
        if workforce is not None:
            study = parse(ALIKE.format(replicates=PACK * packs // 2), Catalogue())
            with fresh_store(study) as store:
                todo = [plan.Pack(tuple(range(i, i + PACK)), 1.0, 0, 0.0) for i in range(0, PACK * packs, PACK)]
                driver = driver_of(study, store, workforce, seconds)
                driver.pricer.device  # noqa: B018  (measured when first asked for, as the plan does)
                for _ in range(workforce.size):
                    workforce.submit(pretend, [], 0.5)
                while workforce.free < workforce.size:  # until all have joined
                    workforce.arrivals(1.0)
                begun = time.perf_counter()
                assert driver.run(todo)
                elapsed = time.perf_counter() - begun
    busy = MPI.COMM_WORLD.gather(sum(_busy))
    if busy is not None:
        report("driver", seconds, packs / elapsed, 1 - np.array(busy) / elapsed)


def alone(seconds: float, packs: int) -> None:
    """On every rank: the same packs through mpi4py.futures, all submitted at once; rank 0 does no work of its own."""
    from mpi4py import MPI
    from mpi4py.futures import MPICommExecutor

    _busy.clear()
    elapsed = 0.0
    with MPICommExecutor(MPI.COMM_WORLD, root=0) as executor:
        if executor is not None:
            elapsed = timed(executor, seconds, packs)
    busy = MPI.COMM_WORLD.gather(sum(_busy))
    if busy is not None:
        report("futures alone", seconds, packs / elapsed, 1 - np.array(busy) / elapsed)


def timed(executor: Executor, seconds: float, packs: int) -> float:
    """Return the seconds from the first submission to the last result."""
    cells = expand(parse(ALIKE.format(replicates=PACK), Catalogue()), Catalogue())
    pack = [cells.cell(row) for row in range(PACK)]
    wait([executor.submit(pretend, [], 0.5) for _ in range(8)])  # until all have joined
    begun = time.perf_counter()
    left = {executor.submit(pretend, pack, seconds) for _ in range(packs)}
    while left:
        _, left = wait(left, return_when=FIRST_COMPLETED)
    return time.perf_counter() - begun


def report(name: str, seconds: float, rate: float, idle: np.ndarray) -> None:
    """Print what a launch found."""
    where = f"{name}, {len(idle)} ranks, packs of {1e3 * seconds:.0f} ms"
    show(f"{where}: rate", rate, "packs/s")
    for rank, share in enumerate(idle.tolist() if seconds else ()):
        show(f"{where}: rank {rank} idle", share, "of its time")


def launch(ranks: int) -> None:
    """Run this script under mpiexec."""
    beside = Path(sys.executable).with_name("mpiexec")
    command = [str(beside) if beside.exists() else "mpiexec", "-n", str(ranks), sys.executable, __file__, "--rank"]
    subprocess.run(command, check=True)


@contextlib.contextmanager
def fresh_store(study: Study) -> Iterator[Store]:
    """Give a new store in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run("host", "", 1, "cpu", "versions", time.time())
        with contextlib.closing(Store.open(Path(folder) / "s.h5", study, expand(study, Catalogue()), run)) as store:
            yield store


def driver_of(study: Study, store: Store, workforce: Workforce, seconds: float) -> Sweep:
    """Return the real driver over a workforce that sleeps."""
    workers: Any = Idlers(workforce, seconds)
    return Sweep(Pricer(study), store, workers, Display(), CheckpointDir.beside(store.path))


# The plan, simulated


def measured_spread() -> float:
    """Return the standard deviation of log(taken / predicted) over the packs of a real run in this process."""
    study = parse(REAL, Catalogue())
    workforce = Workforce(None, [("cpu", "")])
    with fresh_store(study) as store:
        pricer = Pricer(study)
        packs = plan.make(store.cells, store.pending(), pricer)
        store.predict(plan.seconds_by_row(packs, len(store.cells)))
        Sweep(pricer, store, workforce, Display(), CheckpointDir.beside(store.path)).run(packs)
        with opened(store.path) as file:
            taken = file["train_seconds"][:] + file["eval_seconds"][:]
            ratios = [np.log(taken[list(pack.rows)].sum() / pack.seconds) for pack in packs]
    workforce.close()
    return float(np.std(ratios))


def simulated(text: str, ranks: int, spread: float) -> None:
    """Plan a study for so many ranks and play it with times that differ from the predicted ones."""
    study = parse(text, Catalogue())
    cells = expand(study, Catalogue())
    packs = plan.make(cells, np.arange(len(cells)), Pricer(study), ranks)
    taken = np.array([pack.seconds for pack in packs]) * np.random.default_rng(0).lognormal(0, spread, len(packs))
    free = [0.0] * ranks
    for seconds in taken.tolist():
        heapq.heapreplace(free, free[0] + seconds)
    name = f"plan of {study.title}, {len(cells)} cells, {ranks} ranks"
    many = len(packs) / ranks
    show(f"{name}: packs", many, "a rank")
    show(f"{name}: utilisation", taken.sum() / ranks / max(free), "", DEMANDED if many >= MANY else None)
    show(f"{name}: tail", max(free) - min(free), "s")
    show(f"{name}: end", max(free), "s")


if __name__ == "__main__":
    main()
