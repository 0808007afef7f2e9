"""What refilling and shrinking packs saves where cells stop at very different steps: one JSON line per row.

Cells learn a sine with the self-scaled Broyden method until their root mean squared error is small enough; the slowest
takes several times the steps of the median. Once they wait for free slots in a pack that also shrinks at its end, once
in a pack that only shrinks, once they train in packs one after another whose slots stay empty until the last cell is
done. The results must be the same bits. Seconds are those of one thread, the best of several runs.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time

import hpcsweep  # noqa: F401 - before torch: the code path of MKL

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from hpcsweep.approx import models
from hpcsweep.approx.training import Settings
from hpcsweep.approx.training.pack import Pack
from hpcsweep.approx.training.record import Record
from hpcsweep.approx.training.samples import Cells
from hpcsweep.approx.training.watch import Watch
from hpcsweep.approx.training.workspace import Task

HIDDEN, SAMPLES, TOLERANCE = [8, 8], 100, 1e-5


def cells_of(count: int, steps: int, optimizer: str, tolerance: float, rate: float) -> tuple[models.MLP, Cells]:
    """Return `count` networks that learn sin(2 pi x) on [-1, 1]."""
    model = models.MLP({"hidden": HIDDEN}, 1, [(-1.0, 1.0)])
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(count, SAMPLES, 1, generator=generator, dtype=torch.float64) * 2 - 1
    chosen = Settings(optimizer, steps=steps, loss_tolerance=tolerance**2, learning_rate=rate)
    values = torch.sin(2 * math.pi * points[..., 0])
    return model, Cells(model.init(range(count), torch.float64), points, values, [chosen] * count, range(count))


@torch.no_grad()
def seconds_of(model: models.MLP, cells: Cells, slots: int, packs: list[range], shrink: bool) -> tuple[float, Record]:
    """Return the seconds of processor time of training `packs` one after another, and the record."""
    record, task = Record.blank(cells.parameters), Task(model, cells)
    begun = time.process_time()
    for rows in packs:
        Pack(task, min(slots, len(rows)), record, rows, shrink).run(Watch(lambda: False, None))
    return time.process_time() - begun, record


def measure(name: str, count: int, slots: int, settings: tuple, quick: bool, floor: float | None) -> list[dict]:
    """Return the rows of one straggler case; `quick` leaves ways out."""
    model, cells = cells_of(count, *settings)
    waves = [range(start, min(start + slots, count)) for start in range(0, count, slots)]
    ways = {"empty": (waves, False)}
    if count <= slots or not quick:
        ways["shrunk"] = (waves, True)
    if count > slots:
        ways |= {} if quick else {"refilled": ([range(count)], False)}
        ways["refilled and shrunk"] = ([range(count)], True)
    best: dict[str, float] = {}
    records: dict[str, Record] = {}
    for _ in range(3 if not quick else 2 if floor else 1):
        for way, (packs, shrink) in ways.items():
            taken, records[way] = seconds_of(model, cells, slots, packs, shrink)
            best[way] = min(taken, best.get(way, math.inf))
    steps = records["empty"].steps
    for way, record in records.items():
        assert torch.equal(record.last, records["empty"].last) and np.array_equal(record.steps, steps), way
    spread = f"{name}: steps least {steps.min()}, median {int(np.median(steps))}, most {steps.max()}; mean / most"
    rows = [{"name": spread, "value": round(float(steps.mean() / steps.max()), 3), "unit": "", "floor": None}]
    rows += [{"name": f"{name}: {way}", "value": round(best[way], 2), "unit": "s", "floor": None} for way in ways]
    for way in list(ways)[1:]:
        saved = round(1 - best[way] / best["empty"], 3)
        limit = floor if way == list(ways)[-1] else None
        rows.append({"name": f"{name}: saved, {way}", "value": saved, "unit": "of the time", "floor": limit})
    return rows


def main() -> None:
    """Print the rows, and fail where one is below its floor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer cells and runs, in less than 50 seconds")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    count = 96 if quick else 192
    method = (3000, "ssbroyden", TOLERANCE, 1e-3)
    rows = measure("ssbroyden, 32 slots", count, 32, method, quick, 0.35)
    rows += measure("ssbroyden, one pack of 32", 32, 32, method, quick, None)
    rows += measure("adam, 32 slots", count, 32, (4000, "adam", 0.02, 1e-2), quick, None)
    for row in rows:
        print(json.dumps(row))
    low = [row["name"] for row in rows if row["floor"] is not None and row["value"] < row["floor"]]
    if low:
        raise SystemExit(f"below the floor: {', '.join(low)}")


if __name__ == "__main__":
    main()
