"""Stores with known values, made as a run makes them."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hpcsweep.config import Cell, ModelConfig, TargetConfig
from hpcsweep.store.layout import SLICE
from hpcsweep.store.reading import Run
from hpcsweep.store.store import Record, Store
from hpcsweep.study import expansion, parsing
from hpcsweep.study.cells import Cells

RUN = Run("node017", "4821", 2, "2 x GPU", "hpcsweep 0.1", 1_750_000_000.0)
Records = Callable[[Cell], Record | None]
Maker = Callable[..., Path]  # (text, records=record, name="results.h5") -> store


class Names:
    """Every name is right: findings need no torch, and neither do their tests."""

    options: ClassVar[dict[str, Any]] = {}
    target, model = TargetConfig.of, ModelConfig.of

    def target_dimension(self, target: TargetConfig, dimension: int, *_: object) -> tuple[float, tuple, str]:
        return target.get("smoothness", np.nan), ((-1.0, 1.0),) * dimension, f"{target.name} of x."

    def sized(self, model: ModelConfig, dimension: int, samples: int) -> ModelConfig:
        return model

    def parameters(self, model: ModelConfig, dimension: int) -> int:
        widths = [dimension, *model.hidden, 1]
        return sum((inputs + 1) * outputs for inputs, outputs in itertools.pairwise(widths))

    def optimizer(self, name: str) -> list[dict[str, Any]]:
        return [{"name": name, "learning_rate": None}]

    def check_compatible(self, *configs: Any) -> None:
        pass

    training = objective = check_compatible


def error(cell: Cell) -> float:
    """Return the sup-norm error that the stores hold: known, and different for every cell of a grid."""
    gain = {"adam": 1.0, "sgd": 3.0, "soap": 2.0}[cell.optimizer["name"]]
    size = len(cell.target["name"]) * cell.dimension
    return gain * size * (1 + cell.replicate) ** 2 / (cell.parameters * cell.samples)


def record(cell: Cell, **changes: Any) -> Record:
    """Return a measured cell: the L2 error is a fifth of the sup-norm error, the slice a bump at the maximum."""
    sup = error(cell)
    values = {"sup_lower": sup, "sup_upper": np.inf, "sup_where": [0.3] * cell.dimension, "l2_error": sup / 5}
    further = {"train_rmse": sup / 10, "points": 2**15, "nonfinite": 0, "steps": 100, "train_seconds": 2.0}
    positions = np.linspace(-1, 1, SLICE)
    target = np.sin(5 * positions)
    line = np.stack([positions, target, target + sup * np.exp(-((positions - 0.3) ** 2) / 0.01)])
    outcome = changes.pop("status", "done")
    return Record(outcome, {**values, **further, **changes}, np.zeros(cell.parameters), line)


def cells_of(text: str) -> tuple[parsing.Study, Cells]:
    """Return a study and its cells."""
    parsed = parsing.parse(text, Names())
    return parsed, expansion.expand(parsed, Names())


STUDY = """
title = "Weights & <samples>"
[[grid]]
target    = ["bumps", "wave"]
dimension = [1, 2]
width     = [4, 8, 16]
depth     = [1]
samples   = [10, 100]
optimizer = ["adam", "sgd"]
replicate = 3
"""


SCALING = """
title = "Scaling"
[[grid]]
target = ["bumps", "wave"]
dimension = [1, 2]
width = [4, 8, 16, 32]
depth = 1
samples = [10, 100, 1000]
activation = "relu"
optimizer = ["adam", "sgd"]
replicate = 3
"""
LEVEL = {"adam": 1.0, "sgd": 20.0}


def known(cell: Cell, **changes: Any) -> Record:
    """error = level / (parameters samples^(1 / d)) in the median; later replicates have a little more, and fall slower.

    L2 falls half as fast.
    """
    level = LEVEL[cell.optimizer["name"]] * (1 + 0.1 * cell.replicate)
    level *= (cell.parameters * cell.samples) ** (0.01 * (cell.replicate - 1))
    sup = level / (cell.parameters * cell.samples ** (1 / cell.dimension))
    return record(cell, sup_lower=sup, l2_error=math.sqrt(sup), train_seconds=cell.parameters * 1e-3, **changes)


def make(path: Path, text: str, records: Records = record) -> Path:
    """Write a store; `records` turns a cell into what is stored of it, or None where it is pending."""
    parsed, cells = cells_of(text)
    finished = {row: result for row, cell in enumerate(cells) if (result := records(cell)) is not None}
    with contextlib.closing(Store.open(path, parsed, cells, RUN)) as store:
        store.put(list(finished), list(finished.values()))
    return path
