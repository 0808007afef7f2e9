"""Cells: what a study asks for, each with its key and its random streams. `hpcsweep.study.expansion` makes them.

A cell is one point of the grid, repetition included. Its *key* is the hash of its resolved choices, so that the same
cell has the same name in every study and file. Cells are kept as columns (a study may have 10^6 of them); `Cells.cell`
makes one into an object when it is needed.

Random streams come from parts of the key, so that comparisons are paired: the samples depend on (seed, target,
dimension, replicate) and are nested, the initial weights on (seed, model but for its stages, dimension, replicate), the
minibatches on the whole cell. Nothing depends on pack, rank or order.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

Choice = dict[str, Any]
FAMILIES = ("target", "model", "optimizer")
COUNTS = ("dimension", "parameters", "samples", "replicate")
COLUMNS = ("key", *(f"{name}_id" for name in FAMILIES), *COUNTS, "width", "depth")
# Fields left out of a choice where they have this value: older keys stay what they were.
IMPLIED = {"stages": 1, "equation": "none", "sampling": "uniform", "layerwise": 0, "resample": 0}
COLUMN_OF = {"steps": "training_steps"}  # `steps` is the result: how many were done
SHAPE_FIELDS = ("name", "width", "depth", "hidden", "nodes")  # of a model: told by width, depth and samples


@dataclass(frozen=True)
class Cell:
    """One cell, with everything that a worker needs to know about it; plain values, picklable."""

    key: str
    target: Choice
    dimension: int
    model: Choice
    samples: int
    optimizer: Choice  # name and resolved training fields; batch is a number of samples or None for all
    replicate: int
    precision: str
    parameters: int
    seed: int  # of the study

    @property
    def data_seed(self) -> int:
        """Stream of the samples: the first 100 of 1000 are the 100-sample data set."""
        return data_seed(self.seed, self.target, self.dimension, self.replicate)

    @property
    def weight_seed(self) -> int:
        """Stream of the initial weights: the first stage of several begins like the network alone."""
        network = {name: value for name, value in self.model.items() if name != "stages"}
        return stream(self.seed, "weights", network, self.dimension, self.replicate)

    @property
    def batch_seed(self) -> int:
        """Stream of the minibatches."""
        return stream(self.seed, "batches", self.key)


@dataclass(frozen=True)
class Facts:
    """What is known of a target in so many variables, for those who read results."""

    smoothness: float = math.nan  # n: bounded derivatives up to n; inf: smooth, 0: continuous, -1: jumps
    domain: tuple[tuple[float, float], ...] = ()  # (low, high) per axis, () if not known
    about: str = ""  # its formula, in a line


@dataclass(frozen=True)
class Cells:
    """Cells as columns. `choices` are canonical JSON texts to which the `*_id` columns point; `labels` name them."""

    choices: list[str]
    labels: list[str]
    columns: dict[str, np.ndarray]
    precision: str
    seed: int
    extra: tuple[str, ...] = ()  # further coordinates: fields that vary or are axes of the study
    facts: Mapping[tuple[str, int], Facts] = field(default_factory=dict)  # by text of the target, and dimension

    def __len__(self) -> int:
        return len(self.columns["key"])

    @cached_property
    def resolved(self) -> list[Choice]:
        """The choices as dictionaries."""
        return [json.loads(text) for text in self.choices]

    def cell(self, i: int) -> Cell:
        """Return row `i` as an object."""
        row = {name: column[i] for name, column in self.columns.items()}
        return Cell(
            key=row["key"].decode(),
            target=self.resolved[row["target_id"]],
            dimension=int(row["dimension"]),
            model=self.resolved[row["model_id"]],
            samples=int(row["samples"]),
            optimizer=self.resolved[row["optimizer_id"]],
            replicate=int(row["replicate"]),
            precision=self.precision,
            parameters=int(row["parameters"]),
            seed=self.seed,
        )

    def __iter__(self) -> Iterator[Cell]:
        return (self.cell(i) for i in range(len(self)))

    def coordinates(self) -> dict[str, np.ndarray]:
        """Return the columns and the labels of target, model and optimizer, as they stand in a store."""
        labels = np.array([label.encode() for label in self.labels], dtype="S")
        named = {name: labels[self.columns[f"{name}_id"]] for name in FAMILIES}
        return {**{name: self.columns[name] for name in COLUMNS}, **named}

    def take(self, rows: np.ndarray) -> Cells:
        """Return the cells of these rows."""
        columns = {name: column[rows] for name, column in self.columns.items()}
        return Cells(self.choices, self.labels, columns, self.precision, self.seed, self.extra, self.facts)

    def fact_columns(self) -> dict[str, np.ndarray]:
        """Return smoothness (cells,) and the ends domain_low, domain_high (cells, axes); NaN where not known."""
        dimensions, axes = self.columns["dimension"], int(self.columns["dimension"].max(initial=1))
        code = self.columns["target_id"].astype(np.int64) * (axes + 1) + dimensions
        kinds, numbers = np.unique(code, return_inverse=True)
        table = np.full((len(kinds), 1 + 2 * axes), math.nan)
        for row, (target, dimension) in zip(table, (divmod(kind, axes + 1) for kind in kinds.tolist()), strict=True):
            known = self.facts.get((self.choices[target], dimension), Facts())
            row[0] = known.smoothness
            for axis, ends in enumerate(known.domain):
                row[[1 + axis, 1 + axes + axis]] = ends
        low, high = table[:, 1 : 1 + axes], table[:, 1 + axes :]
        return {"smoothness": table[numbers, 0], "domain_low": low[numbers], "domain_high": high[numbers]}

    def abouts(self) -> list[str]:
        """Return what is said of each choice, in a line; empty of what is no target."""
        told = {text: facts.about for (text, _), facts in self.facts.items()}
        return [told.get(text, "") for text in self.choices]

    def union(self, other: Cells) -> Cells:
        """Return these cells followed by those of `other` that are not among them."""
        other = other.take(np.flatnonzero(~np.isin(other.columns["key"], self.columns["key"])))
        if not len(other):
            return self
        if not len(self):
            return other
        number = {text: i for i, text in enumerate(self.choices)}
        new = [(text, label) for text, label in zip(other.choices, other.labels, strict=True) if text not in number]
        number |= {text: len(self.choices) + i for i, (text, _) in enumerate(new)}
        renumbered = np.array([number[text] for text in other.choices], dtype=np.int64)
        theirs = {
            **other.columns,
            **{f"{name}_id": renumbered[other.columns[f"{name}_id"]] for name in FAMILIES},
        }
        columns = {name: np.concatenate([self.columns[name], theirs[name]]) for name in COLUMNS}
        choices = self.choices + [text for text, _ in new]
        labels = self.labels + [label for _, label in new]
        facts = {**other.facts, **self.facts}
        facts |= {kind: known for kind, known in other.facts.items() if known.about and not facts[kind].about}
        return complete(choices, labels, columns, self.precision, self.seed, {*self.extra, *other.extra}, facts)


def canonical(value: object) -> str:
    """Return the canonical JSON text of plain values: sorted keys, no blanks, shortest float form."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def stream(*parts: object) -> int:
    """Return the 64-bit key of the random stream named by `parts`."""
    return int.from_bytes(hashlib.blake2b(canonical(parts).encode(), digest_size=8).digest(), "little")


def data_seed(seed: int, target: Choice, dimension: int, replicate: int) -> int:
    """Return the stream of the samples of a cell: whatever its model and its method."""
    return stream(seed, "data", target, dimension, replicate)


def complete(
    choices: list[str],
    labels: list[str],
    columns: dict[str, np.ndarray],
    precision: str,
    seed: int,
    axes: set[str],
    facts: Mapping[tuple[str, int], Facts] | None = None,
) -> Cells:
    """Return cells from their basic columns, with width, depth and the further coordinates worked out."""
    resolved = [json.loads(text) for text in choices]
    hidden = [choice.get("hidden", []) for choice in resolved]
    width = np.array([max(h, default=0) for h in hidden], dtype=np.int64)
    depth = np.array([len(h) for h in hidden], dtype=np.int64)
    model = columns["model_id"]
    extra = _further_columns(resolved, columns, axes)
    everything = {**columns, "width": width[model], "depth": depth[model], **extra}
    return Cells(choices, labels, everything, precision, seed, tuple(extra), facts or {})


def _further_columns(resolved: list[Choice], columns: dict[str, np.ndarray], axes: set[str]) -> dict[str, np.ndarray]:
    """Return the fields that are axes of the study, or that vary among its choices, as columns of their own."""
    further = {}
    for family in ("model_id", "optimizer_id"):
        used = np.unique(columns[family])
        for name in sorted({key for i in used for key in resolved[i]} - {*SHAPE_FIELDS, "parts", "code"}):
            values = {i: resolved[i].get(name, IMPLIED.get(name)) for i in used.tolist()}
            # A method that does not use a field does not vary in it.
            known = {canonical(value) for i, value in values.items() if name in resolved[i] or name in IMPLIED}
            if name in axes or len(known) > 1:
                further[COLUMN_OF.get(name, name)] = _column(values, len(resolved))[columns[family]]
    return further


def _column(values: dict[int, Any], size: int) -> np.ndarray:
    """Return values by choice number as floats (NaN where there is none), or as texts where any is a text."""
    if any(isinstance(value, str | dict) for value in values.values()):
        texts = {
            i: (canonical(value) if isinstance(value, dict) else str(value)).encode() for i, value in values.items()
        }
        return np.array([texts.get(i, b"") for i in range(size)])
    numbers = {i: math.nan if value is None else float(value) for i, value in values.items()}
    return np.array([numbers.get(i, math.nan) for i in range(size)])
