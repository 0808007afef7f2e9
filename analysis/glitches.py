#!/usr/bin/env python
"""Print the cells whose largest error stands out most from their average one, and picture them. For login nodes."""

from __future__ import annotations

import argparse
from pathlib import Path

from hpcsweep.findings import dataset, series, tables
from hpcsweep.findings.figures import pictures


def main() -> None:
    """Read a store and its shards, sort by sup / L2, print; with --pictures, draw those that have a slice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", help="results.h5")
    parser.add_argument("--most", type=int, default=10, help="cells to print")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="write a PNG of each into this folder")
    arguments = parser.parse_args()
    files = dataset.files(arguments.store)
    read = dataset.read(files)
    cells = series.table(read).cells
    worst = cells[cells["measured"]].sort_values("ratio", ascending=False, kind="stable").head(arguments.most)
    for cell in worst.itertuples():
        place = ", ".join(f"{x:.6g}" for x in read["sup_where"].values[cell.Index][: cell.dimension])
        where = "on the boundary" if cell.boundary == 1 else f"{cell.sample_distance:.2g} from the nearest sample"
        print(f"{cell.ratio:8.3g} x L2: error {cell.sup_lower:.3g} at ({place}), {where}")
        print(f"{'':10}{tables.describe(cell)}, {cell.key}")
        if arguments.pictures and (figure := pictures.picture(read, files, cell.key)) is not None:
            arguments.pictures.mkdir(parents=True, exist_ok=True)
            figure.savefig(arguments.pictures / f"{cell.key}.png", dpi=160)
    if not len(worst):
        print("No cell is measured.")


if __name__ == "__main__":
    main()
