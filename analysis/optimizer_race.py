#!/usr/bin/env python
"""Print which training method had reached which error after how much training, and draw it. For login nodes."""

from __future__ import annotations

import argparse

import numpy as np

from hpcsweep.findings import dataset, figures, series

COSTS = ("train_seconds", "flops")


def main() -> None:
    """Read a store and its shards; for each target and dimension, print the best medians within powers of two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", help="results.h5")
    parser.add_argument("--cost", choices=COSTS, default="train_seconds", help="default: train_seconds")
    parser.add_argument("-o", "--output", metavar="FIGURE", help="also draw it: a .png, .pdf or .svg file")
    arguments = parser.parse_args()
    read = dataset.read(dataset.files(arguments.store))
    table, cost = series.table(read), arguments.cost
    cells = table.cells[table.cells["measured"] & (table.cells[cost] > 0)]
    for (target, dimension), panel in cells.groupby(["target", "dimension"], sort=False):
        setting = ["line", "parameters", "samples"]
        medians = panel.groupby(setting)[[cost, "sup_lower"]].median().reset_index()
        steps = np.geomspace(medians[cost].min(), medians[cost].max(), 6)
        print(f"{target}, {dimension}-D: smallest median sup-norm error within {cost}")
        print(" " * 40, *(f"{step:9.2g}" for step in steps))
        for line, own in medians.groupby("line"):
            best = [own.loc[own[cost] <= step * (1 + 1e-9), "sup_lower"].min() for step in steps]
            print(f"{table.lines[line].label:40.40}", *(f"{b:9.2g}" if b == b else f"{'–':>9}" for b in best))
    if arguments.output:
        figures.optimizer_race(read, cost).savefig(arguments.output, dpi=160)


if __name__ == "__main__":
    main()
