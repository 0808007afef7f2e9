"""Cells that belong to no study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpcsweep.approx import models, plugins
from hpcsweep.config import Cell, OptimizerConfig


def cell(
    target: Mapping[str, Any],
    model: Mapping[str, Any],
    samples: int,
    optimizer: OptimizerConfig,
    replicate: int = 0,
    dimension: int = 1,
    folder: Path = Path("."),
) -> Cell:
    """Return a cell in float64, with the random streams of its replicate."""
    return Cell(
        key=f"{replicate:032x}",
        target=plugins.complete(target, folder),
        dimension=dimension,
        model=models.resolve(model, folder),
        samples=samples,
        optimizer=optimizer,
        replicate=replicate,
        precision="float64",
        parameters=0,
        seed=0,
    )
