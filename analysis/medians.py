#!/usr/bin/env python
"""Print the median sup-norm error over replicates of every setting in a store, best first. For login nodes."""

from __future__ import annotations

import argparse

from hpcsweep.findings import dataset

SETTING = ["target", "dimension", "model", "width", "depth", "samples", "optimizer"]


def main() -> None:
    """Read a store, group its finished cells, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", help="results.h5")
    parser.add_argument("--most", type=int, default=40, help="rows to print")
    arguments = parser.parse_args()
    read = dataset.read(dataset.files(arguments.store))
    setting = [*SETTING, *dataset.further_axes(read)]
    cells = read[[*setting, "sup_lower", "l2_error"]].to_dataframe()
    medians = cells.dropna(subset="sup_lower").groupby(setting, dropna=False)[["sup_lower", "l2_error"]].median()
    medians["sup / L2"] = medians["sup_lower"] / medians["l2_error"]
    print(medians.sort_values("sup_lower").head(arguments.most).to_string(float_format="{:.3g}".format))


if __name__ == "__main__":
    main()
