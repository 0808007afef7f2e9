"""Cells of a study, each with its key. `hpcsweep.study.expansion` makes them.

A cell is one point of the grid, repetition included. Its *key* is the hash of its configurations, so that the same cell
has the same name in every study and file. Cells are kept as columns (a study may have 10^6 of them, and a few hundred
configurations); `Cells.cell` makes one into an object when it is needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np

from hpcsweep.config import DATA, IMPLIED, Cell, Config, ModelConfig, OptimizerConfig, TargetConfig, canonical
from hpcsweep.study.keys import KeyIndex

FAMILIES: Mapping[str, type[Config]] = {"target": TargetConfig, "model": ModelConfig, "optimizer": OptimizerConfig}
COUNTS = ("dimension", "parameters", "samples", "replicate")
COLUMNS = ("key", *(f"{name}_id" for name in FAMILIES), *COUNTS, "width", "depth")
COLUMN_OF = {"steps": "training_steps"}  # `steps` is the result: how many were done
SHAPE_FIELDS = ("name", "width", "depth", "hidden", "nodes")  # of a model: told by width, depth and samples


@dataclass(frozen=True)
class Facts:
    """What is known of a target in so many variables, for those who read results."""

    smoothness: float = math.nan  # n: bounded derivatives up to n; inf: smooth, 0: continuous, -1: jumps
    domain: tuple[tuple[float, float], ...] = ()  # (low, high) per axis, () if not known
    about: str = ""  # its formula, in a line


@dataclass(frozen=True)
class Cells:
    """Cells as columns; the `*_id` columns point to `configs`."""

    configs: Sequence[Config]
    columns: dict[str, np.ndarray]
    precision: str
    seed: int
    extra: tuple[str, ...] = ()  # further coordinates: fields that vary or are axes of the study
    facts: Mapping[tuple[Config, int], Facts] = field(default_factory=dict)  # by target and dimension
    whole: int = 0  # how many cells the study has of which these are a part; 0: not known

    def __len__(self) -> int:
        return len(self.columns["key"])

    def cell(self, i: int) -> Cell:
        """Return row `i` as an object."""
        row = {name: column[i] for name, column in self.columns.items()}
        target, model, optimizer = (self.configs[row[f"{name}_id"]] for name in FAMILIES)
        return Cell(
            key=row["key"].decode(),
            target=cast(TargetConfig, target),
            dimension=int(row["dimension"]),
            model=cast(ModelConfig, model),
            samples=int(row["samples"]),
            optimizer=cast(OptimizerConfig, optimizer),
            replicate=int(row["replicate"]),
            precision=self.precision,
            parameters=int(row["parameters"]),
            seed=self.seed,
        )

    def __iter__(self) -> Iterator[Cell]:
        return (self.cell(i) for i in range(len(self)))

    def coordinates(self) -> dict[str, np.ndarray]:
        """Return the columns and the labels of target, model and optimizer, as they stand in a store."""
        labels = np.array([config.label.encode() for config in self.configs], dtype="S")
        named = {name: labels[self.columns[f"{name}_id"]] for name in FAMILIES}
        return {**{name: self.columns[name] for name in COLUMNS}, **named}

    def take(self, rows: np.ndarray) -> Cells:
        """Return the cells of these rows."""
        return replace(self, columns={name: column[rows] for name, column in self.columns.items()})

    def fact_columns(self) -> dict[str, np.ndarray]:
        """Return smoothness (cells,) and the ends domain_low, domain_high (cells, axes); NaN where not known."""
        dimensions, axes = self.columns["dimension"], int(self.columns["dimension"].max(initial=1))
        code = self.columns["target_id"].astype(np.int64) * (axes + 1) + dimensions
        kinds, numbers = np.unique(code, return_inverse=True)
        table = np.full((len(kinds), 1 + 2 * axes), math.nan)
        for row, (target, dimension) in zip(table, (divmod(kind, axes + 1) for kind in kinds.tolist()), strict=True):
            known = self.facts.get((self.configs[target], dimension), Facts())
            row[0] = known.smoothness
            for axis, ends in enumerate(known.domain):
                row[[1 + axis, 1 + axes + axis]] = ends
        low, high = table[:, 1 : 1 + axes], table[:, 1 + axes :]
        return {"smoothness": table[numbers, 0], "domain_low": low[numbers], "domain_high": high[numbers]}

    def of_data(self) -> np.ndarray:
        """Return which cells, (cells,) bool, have rows of a file for a target."""
        return np.array([config.name == DATA for config in self.configs])[self.columns["target_id"]]

    def abouts(self) -> list[str]:
        """Return what is said of each configuration, in a line; empty of what is no target."""
        about = {target: facts.about for (target, _), facts in self.facts.items()}
        return [about.get(config, "") for config in self.configs]

    def _used(self) -> list[bool]:
        """Return which configurations a cell has."""
        ids = np.unique(np.concatenate([self.columns[f"{name}_id"] for name in FAMILIES]))
        return np.isin(np.arange(len(self.configs)), ids).tolist()

    def union(self, *others: Cells) -> Cells:
        """Return these cells followed by those of each of `others` that are not among those before."""
        ends = np.cumsum([len(self), *(len(other) for other in others)])
        first = KeyIndex(np.concatenate([cells.columns["key"] for cells in (self, *others)])).first()
        chosen = [np.flatnonzero(part) for part in np.split(first == np.arange(len(first)), ends[:-1])]
        parts = [cells.take(rows) for cells, rows in zip((self, *others), chosen, strict=True) if len(rows)]
        if len(parts) < 2:
            return replace(parts[0], whole=self.whole) if parts and len(parts[0]) > len(self) else self
        number: dict[Config, int] = {}
        configs: list[Config] = []
        for cells in parts:
            for config, used in zip(cells.configs, cells._used(), strict=True):
                if number.setdefault(config, len(configs)) == len(configs):
                    configs.append(config)
                elif used:  # only a configuration that a cell has is known to be one of a target, model or optimizer
                    configs[number[config]] = config
        ids = {f"{name}_id" for name in FAMILIES}
        numbers = [np.array([number[config] for config in cells.configs], dtype=np.int64) for cells in parts]
        renumbered = [
            {name: row[column] if name in ids else column for name, column in cells.columns.items()}
            for cells, row in zip(parts, numbers, strict=True)
        ]
        columns = {name: np.concatenate([part[name] for part in renumbered]) for name in COLUMNS}
        facts: dict[tuple[Config, int], Facts] = {}
        for cells in parts:
            facts = {**cells.facts, **facts}
            facts |= {kind: fact for kind, fact in cells.facts.items() if fact.about and not facts[kind].about}
        axes = {name for cells in parts for name in cells.extra}
        return complete(configs, columns, self.precision, self.seed, axes, facts, self.whole)


def complete(
    configs: Sequence[Config],
    columns: dict[str, np.ndarray],
    precision: str,
    seed: int,
    axes: set[str],
    facts: Mapping[tuple[Config, int], Facts],
    whole: int,
) -> Cells:
    """Return cells from their basic columns, with width, depth and the further coordinates worked out."""
    hidden = [config.get("hidden", []) for config in configs]
    width = np.array([max(h, default=0) for h in hidden], dtype=np.int64)
    depth = np.array([len(h) for h in hidden], dtype=np.int64)
    model = columns["model_id"]
    extra = _further_columns(configs, columns, axes)
    everything = {**columns, "width": width[model], "depth": depth[model], **extra}
    return Cells(configs, everything, precision, seed, tuple(extra), facts, whole)


def _further_columns(
    configs: Sequence[Config], columns: dict[str, np.ndarray], axes: set[str]
) -> dict[str, np.ndarray]:
    """Return the fields that are axes of the study, or that vary among its configurations, as columns of their own."""
    further = {}
    for family in ("model_id", "optimizer_id"):
        used = np.unique(columns[family])
        for name in sorted({key for i in used for key in configs[i]} - {*SHAPE_FIELDS, "parts", "code"}):
            values = {i: configs[i].get(name, IMPLIED.get(name)) for i in used.tolist()}
            # A method that does not use a field does not vary in it.
            known = {canonical(value) for i, value in values.items() if name in configs[i] or name in IMPLIED}
            if name in axes or (len(known) > 1 and (name != "standardise" or _chosen(name, configs, columns))):
                further[COLUMN_OF.get(name, name)] = _column(values, len(configs))[columns[family]]
    return further


def _chosen(name: str, configs: Sequence[Config], columns: dict[str, np.ndarray]) -> bool:
    """Return whether a field of models varies among those for data, or those for functions, with a default for each."""
    of_data = np.array([config.name == DATA for config in configs])[columns["target_id"]]
    kinds = (np.unique(columns["model_id"][rows]).tolist() for rows in (of_data, ~of_data))
    return any(len({configs[i][name] for i in used if name in configs[i]}) > 1 for used in kinds)


def _column(values: dict[int, Any], size: int) -> np.ndarray:
    """Return values by number of the configuration as floats (NaN where there is none), or all as texts if one is."""
    if any(isinstance(value, str | dict) for value in values.values()):
        texts = {
            i: (canonical(value) if isinstance(value, dict) else str(value)).encode() for i, value in values.items()
        }
        return np.array([texts.get(i, b"") for i in range(size)])
    numbers = {i: math.nan if value is None else float(value) for i, value in values.items()}
    return np.array([numbers.get(i, math.nan) for i in range(size)])
