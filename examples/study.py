"""A study from Python: what it costs, its results as a dataset, and one of its networks.

python examples/study.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import hpcsweep  # before torch, so that the settings for MKL and OpenMP take effect

import torch  # isort: skip

STUDY = {
    "title": "Width and samples",
    "grid": [{"target": ["sine"], "dimension": [1], "width": [4, 16], "samples": [20, 80], "replicate": 3}],
    "training": {"steps": 100},
}


def main(folder: Path) -> None:
    """Plan and run a study, read its results, and evaluate the best network."""
    study = hpcsweep.Study.from_dict(STUDY).with_changes({"training.steps": 400, "training.learning_rate": 0.01})
    plan = study.plan(ranks=4)
    print(f"{len(study.cells())} networks, {plan['flops']:.1e} operations, {plan['seconds']:.1f} s on 4 ranks")

    summary = hpcsweep.run(study, folder / "study.h5")
    print(f"{summary.done} of {summary.cells} cells done")

    results = hpcsweep.read(summary.store)
    errors = hpcsweep.unstacked(results)["sup_upper"]  # over width, samples and replicate
    print(errors.median("replicate").to_pandas())

    best = results["sup_upper"].values.argmin()
    network = hpcsweep.network(summary.store, str(results["key"][best].item()))
    points = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]  # (points, dimension)
    largest = (network.target(points) - network(points)).abs().max().item()
    print(f"best network: error {largest:.4f} at 5 points, at most {float(results['sup_upper'][best]):.4f} everywhere")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "results"))
