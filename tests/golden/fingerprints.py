"""What the studies under jobs/ expand to, as digests: their cells, keys, labels, columns and random streams.

None of these may ever change: results that are stored belong to keys, and seeds to what was trained with them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from hpcsweep import sampling
from hpcsweep.approx import models
from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.approx.training import streams
from hpcsweep.config import Cell
from hpcsweep.study.cells import Cells
from hpcsweep.study.expansion import expand
from hpcsweep.study.parsing import load

STUDIES = Path(__file__).parents[2] / "jobs" / "studies"
RECORDED = Path(__file__).with_name("keys.json")
MOST = 20_000  # cells of a study whose seeds are looked at, about
POINTS, DRAWS = 8, 64  # of the streams of a cell
DTYPES = {"float64": torch.float64, "float32": torch.float32}

Fingerprint = dict[str, int | str]  # by part


def studies() -> dict[str, Path]:
    """Return the studies by name, those of full size as full/NAME."""
    return {path.relative_to(STUDIES).with_suffix("").as_posix(): path for path in sorted(STUDIES.rglob("*.toml"))}


def recorded() -> dict[str, Fingerprint]:
    """Return the recorded fingerprints by the name of the study."""
    return json.loads(RECORDED.read_text())


def fingerprint(path: Path) -> Fingerprint:
    """Return what a study expands to, part by part; `every` is the distance of the rows whose seeds are taken."""
    catalogue = Catalogue(path.parent)
    cells = expand(load(path, catalogue), catalogue)
    every = -(-len(cells) // MOST)
    ends = [cells.cell(row) for row in (0, len(cells) - 1)]
    seeds = ((cell.data_seed, cell.weight_seed, cell.batch_seed) for cell in _every(cells, every))
    return {
        "cells": len(cells),
        "keys": digest(cells.columns["key"].tolist()),
        "labels": digest(cells.configs[number].label for row in _choices(cells) for number in row),
        "columns": digest(_columns(cells)),
        "every": every,
        "seeds": digest(seeds),
        "samples": digest(_samples(cell, catalogue).tobytes() for cell in ends),
        "parameters": digest(_parameters(cell, catalogue).tobytes() for cell in ends),
        "minibatches": digest(_minibatches(cell).tolist() for cell in ends),
    }


def digest(parts: Iterable[object]) -> str:
    """Return the digest of some bytes, or of values whose `repr` tells all."""
    made = hashlib.blake2b(digest_size=16)
    for part in parts:
        text = part if isinstance(part, bytes) else repr(part).encode()
        made.update(len(text).to_bytes(8, "little") + text)
    return made.hexdigest()


def _every(cells: Cells, step: int) -> Iterable[Cell]:
    return (cells.cell(row) for row in range(0, len(cells), step))


def _choices(cells: Cells) -> list[list[int]]:
    """Return the numbers (cells, 3) of the choices: target, model and optimizer."""
    numbers = [cells.columns[f"{family}_id"] for family in ("target", "model", "optimizer")]
    return np.stack(numbers, axis=1).tolist()


def _columns(cells: Cells) -> Iterable[object]:
    """Yield name and values of each coordinate that a store has of cells; numbers as they are, whatever their type."""
    for name, values in sorted({**cells.coordinates(), **cells.fact_columns()}.items()):
        yield name
        yield values.tolist()
    for name in cells.extra:
        yield name
        yield cells.columns[name].tolist()


def _domain(cell: Cell, catalogue: Catalogue) -> tuple[tuple[float, float], ...]:
    return catalogue.target_dimension(cell.target, cell.dimension)[1]


def _samples(cell: Cell, catalogue: Catalogue) -> np.ndarray:
    """Return the first sample points of a cell (points, dimension)."""
    return sampling.samples(cell.data_seed, POINTS, _domain(cell, catalogue))


def _parameters(cell: Cell, catalogue: Catalogue) -> np.ndarray:
    """Return the initial parameters of a cell (parameters,)."""
    model = models.make(cell.model, cell.dimension, _domain(cell, catalogue), catalogue.folder)
    return model.init([cell.weight_seed], DTYPES[cell.precision])[0].numpy()


def _minibatches(cell: Cell) -> np.ndarray:
    """Return the samples (draws,) that the first steps of a cell draw, one after the other, if it has minibatches."""
    return streams.integers(streams.keys([cell.batch_seed]), 0, DRAWS, cell.samples)[0].numpy()
