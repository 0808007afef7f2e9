"""A figure for a paper: the sup-norm error against the number of parameters, with its range over the replicates.

python examples/figure.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

import hpcsweep

matplotlib.use("Agg")
from matplotlib import pyplot

STUDY = {
    "title": "Error against parameters",
    "grid": [
        {
            "target": ["runge"],
            "dimension": [1],
            "width": [4, 8, 16],
            "depth": [2],
            "samples": [100],
            "optimizer": ["adam", "adam+ssbroyden"],
            "replicate": 3,
        }
    ],
    "training": {"steps": 200, "learning_rate": 0.01},
    "sup_norm": {"certificate": "off"},
}


def main(folder: Path) -> None:
    """Run the study and draw its figure, as PDF and PNG."""
    summary = hpcsweep.run(hpcsweep.Study.from_dict(STUDY), folder / "figure.h5")
    results = hpcsweep.unstacked(hpcsweep.read(summary.store))
    figure, axes = pyplot.subplots(figsize=(3.4, 2.6), layout="constrained")  # in inches, one column wide
    for method in results["optimizer"].values:
        errors = results["sup_lower"].sel(optimizer=method)  # (width, replicate)
        parameters = results["parameters"].sel(optimizer=method).isel(replicate=0)
        axes.fill_between(parameters, errors.min("replicate"), errors.max("replicate"), alpha=0.2, linewidth=0)
        axes.plot(parameters, errors.median("replicate"), marker="o", markersize=3, label=method)
    axes.set(xscale="log", yscale="log", xlabel="parameters", ylabel="sup-norm error")
    axes.set_xticks(parameters.values, [f"{count:.0f}" for count in parameters.values])
    axes.set_xticks([], minor=True)
    axes.legend(frameon=False)
    for kind in ("pdf", "png"):
        figure.savefig(folder / f"error.{kind}", dpi=300)
        print(folder / f"error.{kind}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "results"))
