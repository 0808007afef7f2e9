"""A target of your own, and how well networks of two widths approximate it.

python examples/own_target.py [FOLDER]
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import ClassVar

import hpcsweep  # before torch, so that the settings for MKL and OpenMP take effect

import torch  # isort: skip


class Bump(hpcsweep.Target):
    """exp(-s |x|^2) on [-1, 1]^d."""

    parameters: ClassVar = {"sharpness": 10.0}  # the defaults; a study may say { name = "...", sharpness = 20 }
    smoothness = math.inf  # n: derivatives up to order n are bounded

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        """Return the values (points,) at points (points, dimension), computed by torch operations."""
        return torch.exp(-self.chosen["sharpness"] * torch.square(points).sum(dim=1))


def main(folder: Path) -> None:
    """Run the study and print the error of each network."""
    here = Path(__file__)
    study = hpcsweep.Study.from_dict(
        {
            "title": "A bump",
            "grid": [{"target": [f"{here.name}:Bump"], "dimension": [2], "width": [4, 16], "samples": [400]}],
            "training": {"steps": 1000, "learning_rate": 0.01},
            "sup_norm": {"certificate": "off"},
        },
        folder=here.parent,  # the folder that contains own_target.py
    )
    summary = hpcsweep.run(study, folder / "bump.h5")
    results = hpcsweep.read(summary.store)
    for width, error in zip(results["width"].values, results["sup_lower"].values, strict=True):
        print(f"width {width:2d}: the sup-norm error is at least {error:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "results"))
