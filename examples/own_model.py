"""A model of your own, compared with a perceptron: trigonometric terms with trained frequencies.

python examples/own_model.py [FOLDER]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hpcsweep  # before torch, so that the settings for MKL and OpenMP take effect

import torch  # isort: skip


class Waves(hpcsweep.Model):
    """Terms c sin(w x + b), as many as the study's first hidden width."""

    fields = ("hidden",)  # the fields of [model] that it reads

    def __init__(self, choice: Mapping[str, Any], dimension: int) -> None:
        """`choice`: the fields of [model] named in `fields`."""
        self.dimension, self.terms = dimension, choice["hidden"][0]
        self.parameters = self.terms * (dimension + 2)

    def init(self, seeds: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Return initial parameters (networks, parameters); each row depends on its seed alone."""
        generators = [torch.Generator().manual_seed(seed % 2**63) for seed in seeds]
        rows = [torch.randn(self.parameters, generator=generator, dtype=torch.float64) for generator in generators]
        return torch.stack(rows).to(dtype)

    def apply(self, parameters: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """Return the values (points,) of the network `parameters` (parameters,) at points (points, dimension)."""
        rows = parameters.view(self.terms, self.dimension + 2)  # (w, b, c) of each term
        return rows[:, -1] @ torch.sin(rows[:, :-2] @ points.T + rows[:, -2:-1])


def main(folder: Path) -> None:
    """Run the study and print the error of each model."""
    here = Path(__file__)
    grid = {"target": ["sine"], "dimension": [1], "model": [f"{here.name}:Waves", "mlp"], "depth": [1]}
    study = hpcsweep.Study.from_dict(
        {
            "title": "Waves and perceptrons",
            "grid": [{**grid, "samples": [50], "replicate": 3}],
            "training": {"steps": 500, "learning_rate": 0.02},
            "sup_norm": {"certificate": "off"},
        },
        folder=here.parent,  # the folder that contains own_model.py
    )
    errors = hpcsweep.unstacked(hpcsweep.read(hpcsweep.run(study, folder / "waves.h5").store))["sup_lower"]
    for model in errors["model"].values:
        print(f"{model}: sup-norm error at least {float(errors.sel(model=model).median()):.2e}, median of 3 networks")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "results"))
