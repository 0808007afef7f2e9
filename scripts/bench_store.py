#!/usr/bin/env python
"""How many rows a second the store takes, in puts of 1, 8 and 64 cells, and what rank 0 does in a run of 10^5 cells:
packs that do nothing, through the real plan, driver and store.

Its own device's share of that (made-up records) is counted too. Prints one JSON line per figure. --quick runs 10^4
cells.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench_scheduling import MIXED, PACK, driver_of, fresh_store, record
from json_lines import show

from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.cluster.pricing import Pricer
from hpcsweep.cluster.workforce import Workforce
from hpcsweep.store.store import Record
from hpcsweep.study import plan
from hpcsweep.study.cells import Cells
from hpcsweep.study.parsing import parse


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10^4 cells")
    quick = parser.parse_args().quick
    for batch in (1, PACK, 64):
        for weights in (False, True):
            storing(batch, weights)
    driving(10_000 if quick else 100_000)


def storing(batch: int, weights: bool) -> None:
    """Report rows per second of `Store.put`, consecutive ones and every third."""
    text = MIXED.format(replicates=20) + f"[store]\nweights = {str(weights).lower()}\n"
    for step in (1, 3):
        with fresh_store(parse(text, Catalogue())) as store:
            packs = [range(at, at + step * batch, step) for at in range(0, min(len(store.cells) - 200, 9000), 200)]
            jobs = [(rows, records(store.cells, rows, weights)) for rows in packs]
            begun = time.perf_counter()
            for rows, found in jobs:
                store.put(rows, found)
            seconds = time.perf_counter() - begun
        kind = "every third row" if step > 1 else "consecutive rows"
        if batch > 1 or step == 1:
            name = f"store, {batch} {kind} a put" + (", with weights" if weights else "")
            show(name, batch * len(jobs) / seconds, "rows/s")


def records(cells: Cells, rows: Sequence[int], weights: bool) -> list[Record]:
    """Return made-up records of some rows."""
    columns = cells.columns
    return [record(int(columns["dimension"][r]), int(columns["parameters"][r]) if weights else None) for r in rows]


def driving(count: int) -> None:
    """Report what rank 0 does for packs that do nothing, its own device's included, and how much of it is storing."""
    study = parse(MIXED.format(replicates=-(-count // 480)), Catalogue())
    workforce = Workforce(None, [("cpu", "")])
    with fresh_store(study) as store:
        packs = plan.make(store.cells, store.pending(), Pricer(study))
        driver = driver_of(study, store, workforce, 0.0)
        driver.pricer.device  # noqa: B018  (measured when first asked for, as the plan does)
        packs, profiled = packs[::2], packs[1::2]
        begun = time.perf_counter(), time.thread_time()
        driver.run(packs)
        elapsed, busy = time.perf_counter() - begun[0], time.thread_time() - begun[1]
        shares = profile_of(lambda: driver.run(profiled))
    workforce.close()
    name = f"driver, {len(store.cells)} cells in {len(packs) + len(profiled)} packs"
    show(f"{name}: rate", len(packs) / elapsed, "packs/s")
    show(f"{name}: rank 0", 1e3 * busy / len(packs), "ms a pack")
    show(f"{name}: share of predicted work", busy / sum(pack.seconds for pack in packs), "of one rank's time")
    for part, share in shares.items():
        show(f"{name}: {part}", share, "of rank 0")


def profile_of(work: Callable[[], object]) -> dict[str, float]:
    """Return which share of the driver's time its parts take, waiting left out."""
    profile = cProfile.Profile(time.thread_time)
    profile.runcall(work)
    found: Any = pstats.Stats(profile)
    parts = {
        ("store.py", "put"): "Store.put",
        ("store.py", "start"): "Store.start",
        ("checkpoints.py", "clear"): "checkpoints",
        ("driver.py", "_dispatch"): "_dispatch, Store.start included",
        ("sweep.py", "show"): "show",
    }
    seconds = {(Path(file).name, name): row[3] for (file, _, name), row in found.stats.items()}
    return {about: seconds.get(part, 0.0) / found.total_tt for part, about in parts.items()}


if __name__ == "__main__":
    main()
