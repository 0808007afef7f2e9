"""Packs: every cell once, within the bounds, costliest first, independent of chance."""

from __future__ import annotations

import itertools

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.config import Cell
from hpcsweep.errors import StudyError
from hpcsweep.study import plan
from hpcsweep.study.cells import Cells
from hpcsweep.study.expansion import expand
from hpcsweep.study.parsing import parse
from hpcsweep.study.plan import Cost, Pack

STUDY = """
title = "t"
[[grid]]
target = ["logsin", "exp_cos"]
dimension = [1]
width = [4, 8]
depth = 1
samples = [10, 20]
learning_rate = [0.1, 0.2]
replicate = {replicates}
"""


def cells(replicates: int) -> Cells:
    return expand(parse(STUDY.format(replicates=replicates), Catalogue()), Catalogue())


def price(slots: int, fixed: float = 1.0, size: int = 100) -> plan.Callable[[Cell], Cost]:
    """Costs as a simple function of the shape; targets and learning rates may share a pack."""

    def cost(cell: Cell) -> Cost:
        width = cell.model["hidden"][0]
        return Cost(
            group=(width, cell.samples),
            flops=float(width),
            bytes=size * width,
            slots=slots,
            fixed_seconds=fixed,
            seconds=width * cell.samples * 1e-3,
        )

    return cost


@settings(max_examples=40, deadline=None)
@given(
    replicates=st.integers(1, 9),
    slots=st.integers(2, 16),
    ranks=st.integers(1, 40),
    memory=st.sampled_from([2_000, 5_000, 1e9]),
    chosen=st.randoms(use_true_random=False),
)
def test_every_pending_cell_is_in_exactly_one_pack(
    replicates: int, slots: int, ranks: int, memory: float, chosen: object
) -> None:
    all_cells = cells(replicates)
    rows = np.array(sorted(chosen.sample(range(len(all_cells)), len(all_cells) // 2)))  # type: ignore[attr-defined]
    packs = plan.make(all_cells, rows, price(slots), ranks, memory)
    assert sorted(itertools.chain.from_iterable(pack.rows for pack in packs)) == rows.tolist()
    assert [pack.seconds for pack in packs] == sorted((pack.seconds for pack in packs), reverse=True)
    for pack in packs:
        members = [all_cells.cell(row) for row in pack.rows]
        assert len({(cell.model["hidden"][0], cell.samples) for cell in members}) == 1
        assert len(pack.rows) <= slots
        assert pack.bytes <= memory
    assert packs == plan.make(all_cells, rows[::-1], price(slots), ranks, memory)


def test_many_ranks_get_small_packs_and_few_ranks_full_ones() -> None:
    all_cells = cells(8)
    many, few = (plan.make(all_cells, np.arange(128), price(16), ranks) for ranks in (64, 1))
    assert max(len(pack.rows) for pack in many) == 1
    assert min(len(pack.rows) for pack in few) == 16
    assert any(len({all_cells.cell(row).target["name"] for row in pack.rows}) == 2 for pack in few)


@pytest.mark.parametrize("replicates", [160, 320])
def test_packs_that_take_longer_or_shorter_than_predicted_leave_no_rank_idle_for_long(replicates: int) -> None:
    """Cells all alike but for the target, 20 full packs of 16 a rank and more; lognormal times."""
    all_cells = cells(replicates)
    rows = np.flatnonzero((all_cells.columns["width"] == 8) & (all_cells.columns["samples"] == 20))
    ranks = len(rows) // (20 * 16)
    packs, full = (plan.make(all_cells, rows, price(16, fixed=0.2), number) for number in (ranks, 1))
    work, predicted = (sum(pack.seconds for pack in made) for made in (packs, full))
    assert work < 1.05 * predicted, "small packs cost too much"
    used = []
    for seed in range(20):
        chance = np.random.default_rng(seed).lognormal(0, 0.3, len(packs))
        taken = [Pack(pack.rows, pack.seconds * factor, 0, 0.0) for pack, factor in zip(packs, chance, strict=True)]
        used.append(sum(pack.seconds for pack in taken) / ranks / plan.makespan(taken, ranks))
    assert np.median(used) >= 0.99


def test_packs_are_not_cut_where_launches_cost_more_than_cells() -> None:
    all_cells = cells(40)
    packs = plan.make(all_cells, np.arange(len(all_cells)), price(16, fixed=10.0), 2)
    assert min(len(pack.rows) for pack in packs) == 16


def test_a_cell_that_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(StudyError, match=r"network of 25 parameters with 10 samples needs .* lower width or samples"):
        plan.make(cells(1), np.arange(16), price(4), 1, memory=750)


def whole(cores: int = 1, **bounds: int) -> plan.Callable[[Cell], Cost]:
    """Costs of cells that may all share a pack, and train as many at once as there are cores."""
    given = {"bytes": 1, "slots": 1000, **bounds}
    return lambda cell: Cost(
        group=0, flops=0.0, fixed_seconds=0.0, seconds=0.0, alone_seconds=1.0, at_once=cores, **given
    )


@pytest.mark.parametrize(("cores", "memory", "most"), [(1, 1e9, 32), (1, 260, 16), (4, 329, 8), (4, 239, 3)])
def test_memory_bounds_packs(cores: int, memory: float, most: int) -> None:
    """A cell takes 10 bytes, and 100 more, or 60 on four cores, while it trains."""
    all_cells = cells(6)  # 96: three packs for the one rank, where memory allows
    price = whole(cores, bytes=10, work_bytes=100 if cores == 1 else 60)
    packs = plan.make(all_cells, np.arange(len(all_cells)), price, memory=memory)
    assert max(len(pack.rows) for pack in packs) == most
    assert all(pack.bytes <= memory for pack in packs)
    assert max(pack.bytes for pack in packs) == 10 * most + min(most, cores) * (100 if cores == 1 else 60)


@pytest.mark.parametrize("ranks", [1, 2, 7, 100])
def test_packs_keep_all_cores_of_a_rank_busy(ranks: int) -> None:
    all_cells = cells(9)
    packs = plan.make(all_cells, np.arange(len(all_cells)), whole(cores=4), ranks)
    assert sum(len(pack.rows) for pack in packs) == 144 and all(len(pack.rows) % 4 == 0 for pack in packs)
    assert sum(pack.seconds for pack in packs) == 144 / 4
    assert plan.seconds_by_row(packs, 144).tolist() == [1.0] * 144, "what each takes, whoever trains beside it"
    assert plan.whole(all_cells, range(5), whole(cores=4)).seconds == 2, "the fifth cell trains without company"


def test_no_cells_no_packs() -> None:
    assert plan.make(cells(1), np.arange(0), price(4)) == []


@given(st.lists(st.floats(0, 100), max_size=30), st.integers(1, 8))
def test_makespan_is_that_of_a_greedy_schedule(seconds: list[float], ranks: int) -> None:
    """The naive twin: at each step the rank that is free first takes the next pack."""
    busy = [0.0] * ranks
    for each in seconds:
        first = busy.index(min(busy))
        busy[first] += each
    assert plan.makespan([Pack((0,), each, 0, 0.0) for each in seconds], ranks) == max(busy)


def test_seconds_by_row() -> None:
    packs = [Pack((0, 2), 3.0, 0, 0.0), Pack((3,), 1.0, 0, 0.0)]
    assert plan.seconds_by_row(packs, 5).tolist() == pytest.approx([1.5, np.nan, 1.5, 1.0, np.nan], nan_ok=True)
