#!/usr/bin/env python
"""What the store costs: rows a second that it takes; rank 0 in a run of many cells; checksums and barriers; resuming,
merging, measuring again and exporting large stores of made-up results.

Prints one JSON line per figure; `floor` is the figure demanded, a rate at least, seconds or bytes at most. Seconds
depend on the machine and on who else works there, so ratios to the same bytes copied by h5py, in the same run, stand
beside them. --quick: a tenth of the cells, or fewer, in less than a minute.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from bench_scheduling import MIXED, PACK, driver_of, fresh_store, record
from json_lines import show
from sample_stores import filled

from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.cluster.pricing import Pricer
from hpcsweep.cluster.workforce import Workforce
from hpcsweep.store import layout, shards, status, verifying
from hpcsweep.store.merging import merge
from hpcsweep.store.reading import Run, opened
from hpcsweep.store.shards import Shard
from hpcsweep.store.store import Record, Store
from hpcsweep.study import plan
from hpcsweep.study.cells import Cells
from hpcsweep.study.expansion import expand
from hpcsweep.study.parsing import Study, parse

ALIKE = """
title = "one shape"
[[grid]]
target = ["exp_cos", "runge"]
dimension = 1
width = 8
depth = 2
samples = 100
replicate = {replicates}
[store]
weights = {weights}
"""
PACK_SECONDS = 0.1  # of training, at which the store may take
SHARE = 0.15  # of the time of rank 0
MEASURED = {"points": ["sobol"], "count": 64, "uniform": 0, "certificate": "off"}  # nearly nothing


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less than a minute")
    quick = parser.parse_args().quick
    show("load of the machine before this", os.getloadavg()[0], "processes")
    for batch in (1, PACK, 64):
        for weights in (False, True):
            storing(batch, weights)
    driving(10_000 if quick else 100_000)
    settling(40 if quick else 400)
    with tempfile.TemporaryDirectory() as folder:
        large(Path(folder), 50_000 if quick else 1_000_000, full=not quick)
        merging(Path(folder), 16 if quick else 64, 1000 if quick else 10_000, full=not quick)
        measuring(Path(folder), 10_000 if quick else 100_000, full=not quick)
    show("load of the machine during this", os.getloadavg()[0], "processes")


def storing(batch: int, weights: bool) -> None:
    """Report rows per second of `Store.put`, consecutive ones and every third."""
    text = MIXED.format(replicates=20) + f"[store]\nweights = {str(weights).lower()}\n"
    for step in (1, 3):
        with fresh_store(parse(text, Catalogue())) as store:
            packs = [range(at, at + step * batch, step) for at in range(0, min(len(store.cells) - 200, 9000), 200)]
            jobs = [(rows, records(store.cells, rows, weights)) for rows in packs]
            begun = time.perf_counter()
            for rows, made_up in jobs:
                store.put(rows, made_up)
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
    statistics: Any = pstats.Stats(profile)
    parts = {
        ("store.py", "put"): "Store.put",
        ("store.py", "start"): "Store.start",
        ("checkpoints.py", "clear"): "checkpoints",
        ("driver.py", "_dispatch"): "_dispatch, Store.start included",
        ("sweep.py", "show"): "show",
    }
    seconds = {(Path(file).name, name): row[3] for (file, _, name), row in statistics.stats.items()}
    return {about: seconds.get(part, 0.0) / statistics.total_tt for part, about in parts.items()}


def settling(packs: int) -> None:
    """Report which share of rank 0's time goes into the store, barriers included, in packs of `PACK_SECONDS`."""
    study = study_of(PACK * packs, weights=True)
    with fresh_store(study) as store:
        spent = 0.0
        for start in range(0, PACK * packs, PACK):
            rows = range(start, start + PACK)
            made_up = records(store.cells, rows, True)
            begun = time.perf_counter()
            store.start(rows)
            time.sleep(PACK_SECONDS)
            store.put(rows, made_up)
            store.settle(now=False)
            spent += time.perf_counter() - begun - PACK_SECONDS
    share = spent / (spent + packs * PACK_SECONDS)
    show(f"store, packs of {PACK_SECONDS} s: barriers and checksums", share, "of rank 0", SHARE)


def study_of(count: int, weights: bool) -> Study:
    """Return a study of so many cells."""
    return parse(ALIKE.format(replicates=-(-count // 2), weights=str(weights).lower()), Catalogue())


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that something takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def copied(files: Sequence[Path], folder: Path) -> float:
    """Return the seconds that h5py takes to read all datasets of some files whole, and to write them into others."""
    begun = time.perf_counter()
    for number, path in enumerate(files):
        with h5py.File(path, "r", locking=False) as old, h5py.File(folder / f"copy{number}.h5", "w") as new:
            for name in old:
                new.create_dataset(name, data=old[name][:])
    seconds = time.perf_counter() - begun
    for number in range(len(files)):
        (folder / f"copy{number}.h5").unlink()
    return seconds


def large(folder: Path, count: int, full: bool) -> None:
    """Report what it takes to resume, to look at, and to export a store of which 99 % are done."""
    study = study_of(count, weights=False)
    cells = expand(study, Catalogue())
    path = filled(folder / "large.h5", study, cells, 0.99)
    before, name = path.stat().st_ino, f"{count} rows"
    naive = copied([path], folder)
    seconds = timed(lambda: Store.open(path, study, cells, Run("host", "", 1, "cpu", "", time.time())).close())
    assert path.stat().st_ino == before, "nothing was to be written anew"
    show(f"resume, {name}, 99 % done", seconds, "s", 6.0 if full else None)
    show(f"resume, {name}, 99 % done", seconds / naive, "of a copy by h5py")
    show(f"status, {name}", timed(lambda: status.everything(path)), "s")
    opening = min(timed(lambda: opened(path).__enter__().close()) for _ in range(5))
    raw = min(timed(lambda: h5py.File(path, "r", locking=False).close()) for _ in range(5))
    show(f"opening, {name}: check for foreign content", 1e3 * (opening - raw), "ms", 5.0)
    exporting(path, name)
    path.unlink()


EXPORT = """
import sys
from hpcsweep.findings.export import export
export(sys.argv[1], sys.argv[2])
print(open("/proc/self/status").read())
"""


def exporting(store: Path, name: str) -> None:
    """Report what it takes to export a store, in a process of its own."""
    table = store.with_name("table.csv")
    begun = time.perf_counter()
    said = subprocess.run([sys.executable, "-c", EXPORT, store, table], check=True, capture_output=True, text=True)
    show(f"export to CSV, {name}", time.perf_counter() - begun, "s")
    memory = dict(line.split(":", 1) for line in said.stdout.splitlines() if ":" in line)["VmHWM"]
    show(f"export to CSV, {name}: memory", 1024 * int(memory.split()[0]) / 1e9, "GB", 0.6)
    table.unlink()


def merging(folder: Path, count: int, each: int, full: bool) -> None:
    """Report what it takes to merge shards, whose cells alternate, and to prove that they may be deleted."""
    study, main = study_of(count * each, weights=False), folder / "merged.h5"
    cells = expand(study, Catalogue())
    rows = [np.arange(number, count * each, count) for number in range(count)]
    parts = [filled(Shard(count, k + 1).path(main), study, cells.take(row)) for k, row in enumerate(rows)]
    naive, name = copied(parts, folder), f"{count} shards of {each} cells"
    merged = timed(lambda: merge(main, parts))
    show(f"merge, {name}", merged, "s", 15.0 if full else None)
    show(f"merge, {name}", merged / naive, "of a copy by h5py")
    deleted = timed(lambda: shards.delete(main, parts))
    show(f"merge --delete-shards, {name}: proof and deletion", deleted, "s")
    show(f"merge --delete-shards, {name}: proof and deletion", 1e6 * deleted / (count * each), "µs a cell")
    with opened(main) as file:
        assert (file["status"][:] == layout.DONE).all() and not verifying.look(main)
    main.unlink()


def measuring(folder: Path, count: int, full: bool) -> None:
    """Report what `measure` takes before its first network, and for writing what is measured of 64."""
    from hpcsweep.cluster import remeasure
    from hpcsweep.cluster.tightening import Tightening
    from hpcsweep.store import opening
    from hpcsweep.store.lease import Lease

    study = study_of(count, weights=True)
    path, chosen = filled(folder / "measured.h5", study, expand(study, Catalogue())), remeasure.chosen_section(MEASURED)
    begun = time.perf_counter()
    with Lease(path, opening.last_lease(path)) as lease:
        verifying.require(path)
        groups = remeasure._groups(path, ())
        surveys = [remeasure._survey(networks, chosen) for _, networks in groups]
        name = remeasure._digest(remeasure._content(networks) for _, networks in groups)
        tightening = Tightening(path, lease, name, folder)
        show(f"measure, {count} networks: preparation", time.perf_counter() - begun, "s", 30.0 if full else None)
        times, sizes = [], []
        job = remeasure.Measurements(list(surveys), folder, tightening.saver())
        for number, (survey, (keys, networks)) in enumerate(zip(surveys[:5], groups[:5], strict=True)):
            survey.run(folder)
            job.save()
            sizes.append(job.saver.path.stat().st_size / 1e6)
            values = remeasure._values(keys, survey, folder)
            by_key = dict(zip(keys, networks, strict=True))
            times.append(timed(lambda n=number, k=by_key, v=values: tightening.write(n, k, lambda: v)))  # type: ignore[misc]
            job.finish(number)
        tightening.close()
    show(f"measure, {count} networks: saved state", max(sizes), "MB", 200.0)
    show(f"measure, {count} networks: writing a group of {len(groups[0][0])}", float(np.median(times)), "s")


if __name__ == "__main__":
    main()
