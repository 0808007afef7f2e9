"""Cells and predicted costs -> packs: what trains together, costliest first.

A pack holds cells of one *group* (equal shape, so that they run as one batched program) under three bounds: the number
of slots at which that shape runs best, the memory of a rank, and a time, so that every rank gets several packs. What
a cell gives does not depend on its companions (see docs/guarantees.md), so neither does it on the number of ranks.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from hpcsweep.cells import Cell, Cells
from hpcsweep.errors import StudyError

PACKS_PER_RANK = 3  # wanted at least, where the cells allow it
SMALLEST = 2  # slots: a pack of one rounds differently, so it is never run


@dataclass(frozen=True)
class Cost:
    """Predicted cost of the cells of one shape. A pack of k cells takes fixed_seconds + k * seconds."""

    group: Hashable  # cells of equal group may share a pack
    flops: float  # training and measuring one cell
    bytes: int  # working set of one cell
    slots: int  # most cells of a pack: those that train together best, or some times as many where they stop early
    fixed_seconds: float  # of a pack, however many its cells: launches
    seconds: float  # of one cell more: arithmetic and measuring


@dataclass(frozen=True)
class Pack:
    """Rows of the cells that train together, and what that is predicted to cost."""

    rows: tuple[int, ...]
    seconds: float
    bytes: int
    flops: float


def make(
    cells: Cells, rows: np.ndarray, price: Callable[[Cell], Cost], ranks: int = 1, memory: float = math.inf
) -> list[Pack]:
    """Return the packs of the cells in `rows`, costliest first.

    `memory` is what one rank has, in bytes. Raises `StudyError` if a single cell needs more.
    """
    if not len(rows):
        return []
    kinds, kind_of = _kinds(cells, rows)
    costs = [price(cells.cell(int(row))) for row in kinds]
    _refuse_giants(cells, kinds, costs, memory)
    groups: dict[Hashable, int] = {}
    group_of = np.array([groups.setdefault(cost.group, len(groups)) for cost in costs])[kind_of]
    targets = cells.columns["target_id"][rows]
    order = np.lexsort((rows, targets, kind_of, group_of))  # equal targets side by side: they share their points
    rows, kind_of, group_of = rows[order], kind_of[order], group_of[order]
    sizes = np.array(_sizes(costs, np.bincount(kind_of, minlength=len(costs)), ranks, memory))
    packs = []
    for part in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(group_of)) + 1):
        size = int(sizes[kind_of[part]].min())
        packs += [_pack(rows[piece], kind_of[piece], costs) for piece in _pieces(part, size)]
    return sorted(packs, key=lambda pack: (-pack.seconds, pack.rows))


def _kinds(cells: Cells, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return one row of each kind of cell (equal but for target and replicate), and the kind of every row."""
    code = np.zeros(len(rows), dtype=np.int64)
    for name in ("dimension", "samples", "model_id", "optimizer_id"):
        values, number = np.unique(cells.columns[name][rows], return_inverse=True)
        _, code = np.unique(code * len(values) + number, return_inverse=True)
    _, first, kind_of = np.unique(code, return_index=True, return_inverse=True)
    return rows[first], kind_of


def _refuse_giants(cells: Cells, kinds: np.ndarray, costs: Sequence[Cost], memory: float) -> None:
    """Raise `StudyError` for a cell that does not fit into the memory of a rank even in the smallest pack."""
    for row, cost in zip(kinds, costs, strict=True):
        if cost.bytes * SMALLEST > memory:
            cell = cells.cell(int(row))
            raise StudyError(
                f"A network of {cell.parameters} parameters with {cell.samples} samples needs "
                f"{cost.bytes * SMALLEST / 2**30:.3g} GiB to train, more than the {memory / 2**30:.3g} GiB that each "
                "rank has; lower width or samples, set training.batch, or start fewer ranks on a node."
            )


def _sizes(costs: Sequence[Cost], counts: np.ndarray, ranks: int, memory: float) -> list[int]:
    """Return the most cells that a pack of each kind may have."""
    total = sum(
        count * (cost.seconds + cost.fixed_seconds / cost.slots) for cost, count in zip(costs, counts, strict=True)
    )
    longest = total / (PACKS_PER_RANK * ranks)
    sizes = []
    for cost in costs:
        in_time = int((longest - cost.fixed_seconds) / max(cost.seconds, 1e-12))
        in_memory = int(min(memory / max(cost.bytes, 1), cost.slots))
        sizes.append(max(SMALLEST, min(cost.slots, in_time, in_memory)))
    return sizes


def _pieces(part: np.ndarray, size: int) -> list[np.ndarray]:
    """Cut into the fewest pieces of at most `size`, as equal as can be."""
    return np.array_split(part, math.ceil(len(part) / size))


def _pack(rows: np.ndarray, kinds: np.ndarray, costs: Sequence[Cost]) -> Pack:
    chosen = [costs[kind] for kind in kinds]
    return Pack(
        rows=tuple(int(row) for row in rows),
        seconds=max(cost.fixed_seconds for cost in chosen) + sum(cost.seconds for cost in chosen),
        bytes=sum(cost.bytes for cost in chosen),
        flops=sum(cost.flops for cost in chosen),
    )


def makespan(packs: Sequence[Pack], ranks: int) -> float:
    """Return the predicted seconds until the last of `ranks` ranks is done, each taking the next pack when free."""
    busy = [0.0] * ranks
    for pack in packs:
        heapq.heapreplace(busy, busy[0] + pack.seconds)
    return max(busy)


def seconds_by_row(packs: Sequence[Pack], rows: int) -> np.ndarray:
    """Return the predicted seconds of every row, its share of its pack's; NaN for rows in no pack."""
    seconds = np.full(rows, np.nan)
    for pack in packs:
        seconds[list(pack.rows)] = pack.seconds / len(pack.rows)
    return seconds
