"""Subsets of a grid: random cells, or a Latin hypercube, in which every value of every axis appears equally often.

A subset follows from the axes, their values and a seed; neither the order in which axes and values are listed nor the
rest of the study matters. The cells that are chosen are those of the full grid, with the same keys.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from pydantic import model_validator

from hpcsweep.config.base import stream
from hpcsweep.config.limits import LARGEST, PositiveInt
from hpcsweep.errors import StudyError
from hpcsweep.study.schema import Section

REPAIRS = 200  # rounds of exchanges that make the cells of a Latin hypercube different


class SubsetSection(Section):
    """`subset` of a grid: how many of its cells, and how they are chosen."""

    latin_hypercube: PositiveInt | None = None  # cells such that every value of each axis appears equally often, +-1
    random: PositiveInt | None = None  # independently chosen cells; those of a smaller number are among them
    seed: int = 0

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.latin_hypercube is None) == (self.random is None):
            raise ValueError("must have either latin_hypercube or random, a number of cells")
        return self

    @property
    def count(self) -> int:
        """The number of cells."""
        return self.latin_hypercube or self.random or 0

    def rows(self, axes: Mapping[str, Sequence[Any]], where: str) -> np.ndarray:
        """Return the chosen cells, (count,) ascending numbers in the Cartesian product of the axes, the last fastest.

        Raises `StudyError` if the grid has fewer cells.
        """
        sizes = [len(values) for values in axes.values()]
        cells = math.prod(sizes)
        if self.count > cells:
            raise StudyError(f"{where}: asks for {self.count:,} cells of a grid that has {cells:,}; lower the number.")
        if cells > LARGEST:
            raise StudyError(f"{where}: the grid has {cells:,} cells, more than 2^53, of which no subset is taken.")
        names = sorted(axes)
        own = [len(axes[name]) for name in names]
        if self.random is not None:
            chosen = np.stack(np.unravel_index(_different(self.count, cells, self.seed), own), axis=1)
        else:
            chosen = latin_hypercube(self.count, own, names, self.seed)
        for column, name in enumerate(names):
            texts = [json.dumps(value, sort_keys=True, default=str) for value in axes[name]]
            chosen[:, column] = np.array(sorted(range(len(texts)), key=texts.__getitem__))[chosen[:, column]]
        places = [chosen[:, names.index(name)] for name in axes]
        return np.sort(np.ravel_multi_index(places, sizes))


def latin_hypercube(count: int, sizes: Sequence[int], names: Sequence[str], seed: int) -> np.ndarray:
    """Return different rows (count, axes) of integers, column k in [0, sizes[k]), all equally often, at most one apart.

    Columns are independent random arrangements as far as rows remain different. `count` is at most the product of
    `sizes`; of more than half of all rows, the others are drawn and left out, since what is left is balanced too.
    """
    cells = math.prod(sizes)
    if 2 * count > cells:
        others = latin_hypercube(cells - count, sizes, names, seed)
        left = np.ones(cells, bool)
        left[np.ravel_multi_index(others.T, sizes)] = False
        return np.stack(np.unravel_index(np.flatnonzero(left), sizes), axis=1)
    rows = np.empty((count, len(sizes)), np.int64)
    for column, (size, name) in enumerate(zip(sizes, names, strict=True)):
        values = _shuffled(size, seed, name, "values")
        rows[:, column] = values[np.arange(count) % size][_shuffled(count, seed, name, "rows")]
    if _repair(rows, sizes, names, seed):
        return rows
    rows = _balanced(count, sizes)
    for column, (size, name) in enumerate(zip(sizes, names, strict=True)):
        rows[:, column] = _shuffled(size, seed, name, "values")[rows[:, column]]
    return rows


def _repair(rows: np.ndarray, sizes: Sequence[int], names: Sequence[str], seed: int) -> bool:
    """Exchange single values of rows that are equal to earlier ones with those of any rows; return whether none is."""
    for attempt, column in zip(range(REPAIRS), itertools.cycle(range(len(sizes))), strict=False):
        _, first = np.unique(np.ravel_multi_index(rows.T, sizes), return_index=True)
        repeated = np.setdiff1d(np.arange(len(rows)), first)
        if not len(repeated):
            return True
        partners = _shuffled(len(rows), seed, names[column], attempt)[: len(repeated)]
        for row, partner in zip(repeated.tolist(), partners.tolist(), strict=True):
            rows[[row, partner], column] = rows[[partner, row], column]
    return False


def _balanced(count: int, sizes: Sequence[int]) -> np.ndarray:
    """Return the first rows of an order of all rows in which every beginning is balanced, (count, axes).

    Axis by axis: with the rows so far, of period m, goes (i + i // lcm(m, size)) mod size. For i < m * size the pairs
    are all different, since i is known modulo the least common multiple by the Chinese remainder theorem, and the
    quotient by the difference of the two modulo the greatest common divisor.
    """
    numbers, period = np.arange(count), 1
    columns: list[np.ndarray] = []
    for size in sizes:
        columns = [column[numbers % period] for column in columns]
        columns.append((numbers + numbers // math.lcm(period, size)) % size)
        period *= size
    return np.stack(columns, axis=1)


def _different(count: int, most: int, seed: int) -> np.ndarray:
    """Return different random integers in [0, most), (count,): of smaller counts the same ones, as far as they go."""
    draws = 2 * count
    while True:
        numbers = np.random.Philox(key=stream("subset", seed)).random_raw(draws)
        places = ((numbers >> np.uint64(11)) * 2.0**-53 * most).astype(np.int64)
        values, first = np.unique(places, return_index=True)
        if len(values) >= count:
            return places[np.sort(first)[:count]]
        draws *= 2


def _shuffled(count: int, *parts: object) -> np.ndarray:
    """Return the integers in [0, count) in the random order that is named by `parts`; it depends on nothing else."""
    return np.argsort(np.random.Philox(key=stream("subset", *parts)).random_raw(count), kind="stable")
