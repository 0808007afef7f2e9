"""Pictures of single networks: slices and rasters stored beside the results, and training samples drawn again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import xarray

from hpcsweep import sampling
from hpcsweep.config import DATA, data_seed
from hpcsweep.findings.dataset import Files
from hpcsweep.store import weights
from hpcsweep.store.weights import Pictures

TRIES = 50  # cells that are asked for their pictures before it is concluded that none has any


def pictures(path: Files, key: str) -> Pictures:
    """Return the pictures of a cell from the first of the stores that has any."""
    stored = (weights.pictures(store, key) for store in _with_weights(path))
    return next((pictures for pictures in stored if pictures.slice is not None), Pictures())


def first(kind: str, keys: Iterable[str], path: Files, most: int) -> dict[str, Pictures]:
    """Return the first `most` of these cells that have a picture of a kind, "slice" or "raster", with all of theirs."""
    if not list(_with_weights(path)):
        return {}
    pairs = ((key, pictures(path, key)) for key in islice(keys, TRIES))
    return dict(islice((pair for pair in pairs if getattr(pair[1], kind) is not None), most))


def _with_weights(path: Files) -> Iterator[Path]:
    stores = [path] if isinstance(path, str | Path) else path
    return (Path(store) for store in stores if weights.path_of(store).exists())


def domain(cell: xarray.Dataset, stored: Pictures) -> np.ndarray | None:
    """Return the domain of a cell (a dataset without the dimension `cell`), (dimension, 2); None if not known.

    Stores of before it was stored tell it in one dimension, by the ends of the slice.
    """
    dimension = int(cell["dimension"])
    if "domain_low" in cell:
        ends = np.stack([cell["domain_low"].values, cell["domain_high"].values], axis=1)[:dimension]
        if np.isfinite(ends).all():
            return ends
    return stored.slice[0][None, [0, -1]] if dimension == 1 and stored.slice is not None else None


def samples(cell: xarray.Dataset, stored: Pictures) -> np.ndarray | None:
    """Return where a cell was trained, (samples, dimension), drawn again from their seed.

    None if its domain is not known, of data, and where training added samples that only it knew (`resample`).
    """
    box = domain(cell, stored)
    texts = cell["choice_text"].values
    target, method = (json.loads(str(texts[int(cell[name])])) for name in ("target_id", "optimizer_id"))
    if box is None or target["name"] == DATA or method.get("resample"):
        return None
    seed = data_seed(int(cell.attrs["seed"]), target, int(cell["dimension"]), int(cell["replicate"]))
    return sampling.places(seed, int(cell["samples"]), box, method.get("sampling", "uniform"))
