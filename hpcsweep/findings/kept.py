"""What there is to be looked at of single networks: slices and rasters kept beside the store, samples drawn again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import xarray

from hpcsweep import sampling
from hpcsweep.config import data_seed
from hpcsweep.findings.dataset import Files
from hpcsweep.store import weights
from hpcsweep.store.weights import Pictures

TRIES = 50  # cells that are asked for their pictures before it is believed that none has any


def pictures(path: Files, key: str) -> Pictures:
    """Return what is kept of a cell in the first of the stores that has any of it."""
    found = (weights.pictures(one, key) for one in _paths(path) if weights.path_of(one).exists())
    return next((one for one in found if one.slice is not None), Pictures())


def with_slice(keys: Iterable[str], path: Files, most: int) -> dict[str, Pictures]:
    """Return the first `most` of these cells that have a slice, with what is kept of them."""
    return _with("slice", keys, path, most)


def with_raster(keys: Iterable[str], path: Files, most: int) -> dict[str, Pictures]:
    """Return the first `most` of these cells that have a raster, with what is kept of them."""
    return _with("raster", keys, path, most)


def _with(what: str, keys: Iterable[str], path: Files, most: int) -> dict[str, Pictures]:
    if not any(weights.path_of(one).exists() for one in _paths(path)):
        return {}
    kept = ((key, pictures(path, key)) for key in islice(keys, TRIES))
    return dict(islice((pair for pair in kept if getattr(pair[1], what) is not None), most))


def _paths(path: Files) -> list[Path]:
    return [Path(path)] if isinstance(path, str | Path) else [Path(one) for one in path]


def domain(cell: xarray.Dataset, found: Pictures) -> np.ndarray | None:
    """Return the domain of a cell (a dataset without the dimension `cell`), (dimension, 2); None if not known.

    Stores of before it was stored tell it in one dimension, by the ends of the slice.
    """
    dimension = int(cell["dimension"])
    if "domain_low" in cell:
        ends = np.stack([cell["domain_low"].values, cell["domain_high"].values], axis=1)[:dimension]
        if np.isfinite(ends).all():
            return ends
    return found.slice[0][None, [0, -1]] if dimension == 1 and found.slice is not None else None


def samples(cell: xarray.Dataset, found: Pictures) -> np.ndarray | None:
    """Return where a cell was trained, (samples, dimension), drawn again from their seed.

    None if its domain is not known, or where training added samples that only it knew (`resample`).
    """
    box = domain(cell, found)
    texts = cell["choice_text"].values
    target, method = (json.loads(str(texts[int(cell[name])])) for name in ("target_id", "optimizer_id"))
    if box is None or method.get("resample"):
        return None
    seed = data_seed(int(cell.attrs["seed"]), target, int(cell["dimension"]), int(cell["replicate"]))
    return sampling.places(seed, int(cell["samples"]), box, method.get("sampling", "uniform"))
