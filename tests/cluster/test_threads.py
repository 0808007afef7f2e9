"""Threads of a rank: a pack is trained with as many as its shape gains from; the rank then has its own again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from hpcsweep.approx import machine
from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.approx.fit import fit
from hpcsweep.cells import Cell
from hpcsweep.cluster.pricing import threads_of
from hpcsweep.cluster.worker import problem_of
from hpcsweep.grid import expand
from hpcsweep.study import parse

STUDY = """
title = "threads"
[[grid]]
target = ["exp_cos"]
dimension = [1]
width = [4, 300]
depth = 2
samples = [50]
optimizer = ["adam"]
steps = [2]
"""


@pytest.fixture(autouse=True)
def threads_of_the_process() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def cells() -> list[Cell]:
    """A narrow cell and a wide one."""
    catalogue = Catalogue()
    return list(expand(parse(STUDY, catalogue), catalogue))


def test_only_wide_shapes_get_the_threads_that_the_rank_owns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPCSWEEP_THREADS", "2")
    narrow, wide = cells()
    assert threads_of([narrow] * 64) == 1 and threads_of([wide]) == 2
    monkeypatch.delenv("HPCSWEEP_THREADS")
    assert threads_of([wide]) == 1


def test_the_number_of_threads_is_recorded_and_given_back() -> None:
    torch.set_num_threads(1)
    narrow, _ = cells()
    with machine.threads(2):
        assert torch.get_num_threads() == 2
        assert [one.threads for one in fit([problem_of(narrow)])] == [2]
    assert torch.get_num_threads() == 1
    with pytest.raises(ZeroDivisionError), machine.threads(2):
        raise ZeroDivisionError
    assert torch.get_num_threads() == 1
