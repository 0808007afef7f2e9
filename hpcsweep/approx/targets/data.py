"""A target that is known at the rows of a data file and nowhere else."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor

from hpcsweep import sampling
from hpcsweep.approx import data_files
from hpcsweep.approx.targets.base import Target
from hpcsweep.config import DATA, TargetConfig
from hpcsweep.errors import PluginError

EXAMPLE = '{ name = "data", file = "measurements.csv", inputs = ["x", "y"], output = "u" }'


@final
class Data(Target):
    """Values at the places of a data file.

    Attributes
    ----------
    rows : all of them
    training, held_out : the numbers of the rows that networks may learn from, and of those at which errors are measured
    about : a line for those who read results
    """

    parameters: ClassVar = {"file": "", "inputs": (), "output": "", "held_out": 0.2, "seed": 0}
    smoothness = math.nan

    def __init__(self, dimension: int, config: TargetConfig, folder: str | Path) -> None:
        """Read the file, whose path is relative to `folder`; `config` is that of `complete`.

        Raises PluginError, see `data_files.read`, and for another dimension than the file has input columns.
        """
        self.allow(dimension)
        self.chosen = dict(config.options)
        self.rows = _rows(self.chosen, folder, config.code)
        self.dimension = self.rows.places.shape[1]
        if dimension != self.dimension:
            names = ", ".join(self.chosen["inputs"])
            raise PluginError(f"target data: the inputs {names} make dimension {self.dimension}, not {dimension}.")
        held_out, seed = self.chosen["held_out"], self.chosen["seed"]
        self.training, self.held_out = data_files.split(len(self.rows.values), held_out, seed)
        count = f"{len(self.held_out):,} of {len(self.rows.values):,} rows"
        values = f"from {self.rows.values.min():.4g} to {self.rows.values.max():.4g}"
        self.about = f"data {values} in {Path(self.chosen['file']).name}; {count} held out for the errors"

    @property
    def domain(self) -> tuple[tuple[float, float], ...]:
        """The bounding box of all rows."""
        places = self.rows.places
        return tuple(zip(places.min(0).tolist(), places.max(0).tolist(), strict=True))

    def __call__(self, points: Tensor) -> Tensor:
        """Return the values at rows (points, dimension), to the bit. Raises PluginError for any other point."""
        if not isinstance(points, Tensor):
            raise PluginError("target data is known at the rows of its file only: nothing can be proved of it.")
        wanted = _octets(points.detach().cpu().numpy().astype(np.float64) + 0.0)
        order, known = _index(self.rows)
        found = order[np.minimum(np.searchsorted(known, wanted), len(order) - 1)]
        if not (_octets(self.rows.places)[found] == wanted).all():
            raise PluginError("target data is known at the rows of its file only, not between them.")
        return torch.from_numpy(self.rows.values[found]).to(points)

    def drawn(self, seed: int, count: int, first: int = 0) -> np.ndarray:
        """Return places to learn from, (count, dimension): training rows, independently ordered by each seed.

        `first`: how many of the seed's rows come before them. Nested: the first 100 of 1000 are the 100 of the seed.
        """
        order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(self.training))
        return self.rows.places[self.training[order[first : first + count]]]


def places(target: Target, seed: int, count: int, kind: str) -> np.ndarray:
    """Return where a target is sampled, (count, dimension): as `sampling.places`; of data, training rows."""
    if isinstance(target, Data):
        return target.drawn(seed, count)
    return sampling.places(seed, count, target.domain, kind)


def complete(given: Mapping[str, Any], folder: str | Path) -> TargetConfig:
    """Return the configuration of data, with the digest of its rows as `code`.

    Raises PluginError for a file from which nothing can be learned, and for a wrong or a missing parameter;
    PluginChanged if a `code` is given and the rows have another digest.
    """
    for name in given:
        if name not in (*Data.parameters, "name", "code"):
            raise PluginError(Data._unknown(name))
    options = {name: given.get(name, default) for name, default in Data.parameters.items()}
    if isinstance(options["inputs"], str):
        options["inputs"] = [options["inputs"]]
    _check(options)
    options["held_out"] = float(options["held_out"])
    rows = _rows(options, folder, given.get("code", ""))
    count, held = len(rows.values), round(options["held_out"] * len(rows.values))
    if not 0 < held < count:
        raise PluginError(
            f"target data: held_out = {options['held_out']:g} leaves {count - held} of {count} rows to learn from and "
            f"{held} to measure errors at; both must be at least 1."
        )
    return TargetConfig(DATA, code=rows.digest, options=options)


def _check(options: Mapping[str, Any]) -> None:
    """Raise PluginError for a parameter of another type, or outside its limits."""
    inputs, output = options["inputs"], options["output"]
    for name in ("file", "inputs", "output"):
        if not options[name]:
            raise PluginError(f"target data: {name!r} is missing; write for example {EXAMPLE}.")
    if not isinstance(inputs, list | tuple) or not all(isinstance(name, str) for name in inputs):
        raise PluginError(f'target data: inputs must be a list of columns, such as ["x", "y"], not {inputs!r}.')
    for name in ("file", "output"):
        if not isinstance(options[name], str):
            raise PluginError(f"target data: {name} must be a text, not {options[name]!r}.")
    if len({*inputs, output}) < len(inputs) + 1:
        raise PluginError(f"target data: {', '.join(inputs)} and {output} must be different columns.")
    held_out, seed = options["held_out"], options["seed"]
    if type(held_out) not in (int, float) or not 0 < held_out < 1:
        raise PluginError(f"target data: held_out must be a share of the rows between 0 and 1, not {held_out!r}.")
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise PluginError(f"target data: seed must be an integer of at least 0 and below 2^63, not {seed!r}.")


def _rows(options: Mapping[str, Any], folder: str | Path, digest: str) -> data_files.Rows:
    return data_files.read(Path(folder) / options["file"], options["inputs"], options["output"], digest)


def _octets(array: np.ndarray) -> np.ndarray:
    """Return the bytes of each row of float64 numbers (rows, entries), as one item (rows,)."""
    return np.ascontiguousarray(array).view(f"V{8 * array.shape[1]}").ravel()


@functools.lru_cache(maxsize=4)
def _index(rows: data_files.Rows) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of rows in the order of the bytes of their places, and these bytes, (rows,) each."""
    octets = _octets(rows.places)
    order = np.argsort(octets)
    return order, octets[order]
