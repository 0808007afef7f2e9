"""Which cells an element of a job array does: its cost-balanced share of the whole study.

All elements must agree, whatever their hosts, and a requeued one must keep its share: so it follows from the study and
the number of elements alone. Packs are planned and priced as on `REFERENCE`, a processor core written down here, in
whole multiples of `TICK`, so that sums of costs are exact in any order; they are dealt out whole, costliest first, each
to the element with least so far (`plan.share`). Two elements differ by at most the costliest of these packs. On its own
device an element packs its cells anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hpcsweep.approx.models.activations import ACTIVATIONS
from hpcsweep.approx.training.costs.costs import Device
from hpcsweep.cluster.pricing import Pricer
from hpcsweep.config import Cell
from hpcsweep.store import layout
from hpcsweep.store.reading import opened
from hpcsweep.store.shards import Shard
from hpcsweep.study import plan
from hpcsweep.study.cells import Cells
from hpcsweep.study.parsing import Study
from hpcsweep.study.plan import Cost, Pack

TICK = 2.0**-30  # seconds, of which costs here are whole multiples
REFERENCE = Device(  # about one core of a server of 2024, in float64
    kind="cpu",
    precision="float64",
    fma=4.2e-11,
    launch=1.4e-6,
    evaluation=4e-7,
    parameter=1.5e-9,
    activations={name: one.reference for name, one in ACTIVATIONS.items()},
)


def reference(study: Study) -> Callable[[Cell], Cost]:
    """Return what cells cost on the reference device, the same on every machine."""
    pricer = Pricer(study, REFERENCE)

    def price(cell: Cell) -> Cost:
        cost = pricer(cell)
        parts = ("fixed_seconds", "seconds", "alone_seconds")
        return dataclasses.replace(cost, **{name: round(getattr(cost, name) / TICK) * TICK for name in parts})

    return price


def deal(study: Study, cells: Cells, count: int) -> list[list[Pack]]:
    """Return the packs of each of `count` elements; some have none where there are fewer packs than elements."""
    return plan.share(plan.make(cells, np.arange(len(cells)), reference(study), count), count)


def rows_of(packs: list[Pack]) -> np.ndarray:
    """Return the rows of the cells in some packs, ascending."""
    return np.array(sorted(row for pack in packs for row in pack.rows), dtype=np.int64)


def cells_of(study: Study, cells: Cells, shard: Shard, store: Path, retry_failed: bool = False) -> Cells:
    """Return the cells that an element has to answer for; `cells` are all of the study, `store` is the main file."""
    packs = deal(study, cells, shard.count)[shard.number - 1]
    return cells.take(answerable(cells, packs, shard.path(store), store, retry_failed))


def answerable(cells: Cells, packs: list[Pack], own: Path, store: Path, retry_failed: bool) -> np.ndarray:
    """Return the rows of the cells of an element: its packs and what its `own` file has finished.

    What is finished in the main file `store` and not in its own is not done again.
    """
    keys, done = cells.columns["key"], finished(own)
    merged = np.setdiff1d(finished(store, failed=not retry_failed), done)
    mine = np.zeros(len(cells), dtype=bool)
    mine[rows_of(packs)] = True
    return np.flatnonzero((mine & ~np.isin(keys, merged)) | np.isin(keys, done))


def finished(path: Path, failed: bool = True) -> np.ndarray:
    """Return the keys of what is finished in a store, those that failed included or not; none if there is no store."""
    if not path.exists():
        return np.empty(0, dtype="S32")
    with opened(path) as file:
        status = file["status"][:]
        wanted = np.isin(status, layout.FINISHED) & (failed | (status != layout.FAILED))
        return file["key"][:][wanted]
