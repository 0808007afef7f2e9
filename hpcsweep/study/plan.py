"""Cells and predicted costs -> packs: what trains together, costliest first.

A pack holds cells of one *group* (equal shape) under three bounds: a number (on devices that of a batched program), the
memory of a rank, and a time, so that every rank gets several packs; and keeps all cores of a rank busy. What
a cell gives does not depend on its companions (see docs/guarantees.md), so neither does it on the number of ranks.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from hpcsweep.config import Cell
from hpcsweep.errors import StudyError
from hpcsweep.study.cells import Cells

PACKS_PER_RANK = 3  # wanted at least, where the cells allow it


@dataclass(frozen=True)
class Cost:
    """Predicted cost of the cells of one shape, which train `at_once` at a time."""

    group: Hashable  # cells of equal group may share a pack
    flops: float  # training and measuring one cell
    bytes: int  # of a cell as long as its pack is there
    slots: int  # most cells of a pack
    fixed_seconds: float  # of a pack, however many its cells: launches
    seconds: float  # of one cell more, one after another: arithmetic and measuring
    at_once: int = 1
    alone_seconds: float = 0.0  # of a cell that trains while others do
    work_bytes: int = 0  # of a cell while it trains
    target_seconds: float = 0.0  # to evaluate its target, once for all cells of its kind in a pack

    def fitting(self, memory: float) -> float:
        """Return how many cells the pack may have that is to fit into a memory."""
        few = memory / max(self.bytes + self.work_bytes, 1)
        more = (memory - self.at_once * self.work_bytes) / max(self.bytes, 1)
        return few if few < self.at_once else more


@dataclass(frozen=True)
class Pack:
    """Rows of the cells that train together, and what that is predicted to cost."""

    rows: tuple[int, ...]
    seconds: float
    bytes: int
    flops: float
    work_seconds: float = 0.0  # of its networks one by one: more than `seconds` where some train at once
    alone: bool = False  # whether nothing else is to run meanwhile


_Limit = tuple[float, float, float, int]  # most cells of a pack; least; as many as its time allows; how many at once


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
    limits = np.array(_limits(costs, np.bincount(kind_of, minlength=len(costs)), ranks, memory))
    groups_at = np.flatnonzero(np.diff(group_of, prepend=group_of[0] - 1))
    edges = _cut([*groups_at.tolist(), len(rows)], np.minimum.reduceat(limits[kind_of], groups_at).tolist())
    return sorted(_packs(rows, kind_of, costs, edges), key=lambda pack: (-pack.seconds, pack.rows))


def whole(cells: Cells, rows: Sequence[int], price: Callable[[Cell], Cost]) -> Pack:
    """Return these cells of one group as one pack."""
    costs = [price(cells.cell(row)) for row in rows]
    [pack] = _packs(np.array(rows), np.arange(len(rows)), costs, np.zeros(1, dtype=np.int64))
    return pack


def _kinds(cells: Cells, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return one row of each kind of cell, and the kind of every row.

    Cells of a kind are equal but for their replicate and for their target, if that is one of ours.
    """
    code = np.zeros(len(rows), dtype=np.int64)
    own = np.array([number if config.get("code") else -1 for number, config in enumerate(cells.configs)])
    columns = {**cells.columns, "own": own[cells.columns["target_id"]]}
    for name in ("dimension", "samples", "model_id", "optimizer_id", "own"):
        values, number = np.unique(columns[name][rows], return_inverse=True)
        _, code = np.unique(code * len(values) + number, return_inverse=True)
    _, first, kind_of = np.unique(code, return_index=True, return_inverse=True)
    return rows[first], kind_of


def _refuse_giants(cells: Cells, kinds: np.ndarray, costs: Sequence[Cost], memory: float) -> None:
    """Raise `StudyError` for a cell that does not fit into the memory of a rank even without company."""
    for row, cost in zip(kinds, costs, strict=True):
        needed = cost.bytes + cost.work_bytes
        if needed > memory:
            cell = cells.cell(int(row))
            raise StudyError(
                f"A network of {cell.parameters} parameters with {cell.samples} samples needs "
                f"{needed / 2**30:.3g} GiB to train, more than the {memory / 2**30:.3g} GiB that each "
                "rank has; lower width or samples, set training.batch, or start fewer ranks on a node."
            )


def _limits(costs: Sequence[Cost], counts: np.ndarray, ranks: int, memory: float) -> list[_Limit]:
    """Return, for each kind, how many cells a pack may have."""
    each = [cost.seconds + cost.alone_seconds / cost.at_once for cost in costs]
    shared = [cost.fixed_seconds + cost.target_seconds for cost in costs]
    total = sum(
        count * (one + once / cost.slots) for one, once, cost, count in zip(each, shared, costs, counts, strict=True)
    )
    longest = total / (PACKS_PER_RANK * ranks)
    limits: list[_Limit] = []
    for one, once, cost in zip(each, shared, costs, strict=True):
        seconds = max(one, 1e-12)
        in_time = (longest - once) / seconds
        least = max(cost.at_once, math.ceil(once / seconds))  # or launches take longer than work
        fitting = min(cost.slots, cost.fitting(memory))
        most = max(1, int(min(fitting, max(in_time, cost.at_once))))
        limits.append((most, min(most, least) if ranks > 1 else most, in_time, cost.at_once))
    return limits


def _cut(edges: Sequence[int], limits: Sequence[_Limit]) -> np.ndarray:
    """Return where packs begin: each range in few pieces, the last of them smaller and smaller.

    As in guided self-scheduling (Polychronopoulos and Kuck 1987, https://doi.org/10.1109/TC.1987.5009495), a pack may
    take a share of what is left: packs do not take what was predicted, and the small ones, which go out last, even out
    when the ranks come to their ends.
    """
    begins = []
    for (start, stop), (most, least, in_time, at_once) in zip(itertools.pairwise(edges), limits, strict=True):
        at = start
        while at < stop:
            begins.append(at)
            left = stop - at
            size = _next(left, most, least, in_time * left / (stop - start))
            at += size - size % int(at_once) if at_once < size < left else size  # or cores would idle in the last round
    return np.array(begins, dtype=np.int64)


def _next(left: int, most: float, least: float, wanted: float) -> int:
    """Return how many of the cells that are left the next pack takes; full packs are as equal as can be."""
    if max(wanted, least) >= most:
        return -(-left // math.ceil(left / most))
    size = max(wanted, least)
    if left >= size + least:
        return int(size)
    return left if left <= most else -(-left // 2)


def _packs(rows: np.ndarray, kinds: np.ndarray, costs: Sequence[Cost], edges: np.ndarray) -> list[Pack]:
    """Return the packs that begin at `edges`; the costs of all of them at once."""

    def of(name: str, joined: np.ufunc = np.add) -> np.ndarray:
        return joined.reduceat(np.array([getattr(cost, name) for cost in costs])[kinds], edges)

    counts, at_once = np.diff([*edges, len(rows)]), of("at_once", np.minimum)
    rounds = of("alone_seconds") * (np.ceil(counts / at_once) / counts)
    first = np.diff(kinds, prepend=-1) != 0  # of its kind in its pack
    first[edges] = True
    once = np.where(first, np.array([cost.target_seconds for cost in costs])[kinds], 0.0)
    shared = of("fixed_seconds", np.maximum) + np.add.reduceat(once, edges) + of("seconds")
    seconds, work = shared + rounds, shared + of("alone_seconds")
    size = of("bytes") + np.minimum(counts, at_once) * of("work_bytes", np.maximum)
    totals = zip(seconds.tolist(), size.tolist(), of("flops").tolist(), work.tolist(), strict=True)
    listed, bounds = rows.tolist(), [*edges.tolist(), len(rows)]
    parts = (tuple(listed[start:stop]) for start, stop in itertools.pairwise(bounds))
    return [Pack(part, *total) for part, total in zip(parts, totals, strict=True)]


def makespan(packs: Sequence[Pack], ranks: int) -> float:
    """Return the predicted seconds until the last of `ranks` ranks is done, each taking the next pack when free."""
    busy = [0.0] * ranks
    for pack in packs:
        heapq.heapreplace(busy, busy[0] + pack.seconds)
    return max(busy)


def share(packs: Sequence[Pack], count: int) -> list[list[Pack]]:
    """Share out packs, whole and costliest first: each goes to who has least so far, the first of several.

    So no two shares differ by more than the costliest pack.
    """
    shares: list[list[Pack]] = [[] for _ in range(count)]
    loads = [(0.0, number) for number in range(count)]
    for pack in sorted(packs, key=lambda pack: (-pack.seconds, pack.rows)):
        load, number = loads[0]
        shares[number].append(pack)
        heapq.heapreplace(loads, (load + pack.seconds, number))
    return shares


def seconds_by_row(packs: Sequence[Pack], rows: int) -> np.ndarray:
    """Return the predicted seconds of every row, NaN for rows in no pack: its share of what its pack takes.

    Each network that trains alone is counted whole, also where several train at once, as in `train_seconds`.
    """
    seconds = np.full(rows, np.nan)
    for pack in packs:
        seconds[list(pack.rows)] = max(pack.seconds, pack.work_seconds) / len(pack.rows)
    return seconds
