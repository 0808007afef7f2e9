"""Prices of training methods: chains are the sum of their parts; packs of cells that stop early are larger."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from hpcsweep import layout, plan
from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.approx.training import costs
from hpcsweep.cells import Cell
from hpcsweep.cluster.checkpoints import Shelf
from hpcsweep.cluster.driver import Driver
from hpcsweep.cluster.pricing import WAVES, Pricer, settings_of
from hpcsweep.cluster.progress import Silent
from hpcsweep.cluster.workforce import Workforce
from hpcsweep.grid import expand
from hpcsweep.rewrite import opened
from hpcsweep.study import parse
from tests.conftest import open_store

STUDY = """
title = "chains"
[[grid]]
target = ["exp_cos"]
dimension = [1]
width = [6]
depth = 2
samples = [30]
replicate = 2
optimizer = ["adam", "bfgs", "adam+bfgs", { name = "adam+bfgs", label = "early", loss_tolerance = 1e-4 }]
steps = [30]
[training.adam]
steps = 20
[sup_norm]
count = 2000
tile = 256
"""


@pytest.fixture(scope="module")
def pricer() -> Pricer:
    """A pricer of the study, which has measured this device once."""
    made = Pricer(parse(STUDY, Catalogue()))
    assert made.device.kind in ("cpu", "cuda")
    return made


def cells() -> list[Cell]:
    """One cell of each method."""
    catalogue = Catalogue()
    return [cell for cell in expand(parse(STUDY, catalogue), catalogue) if cell.replicate == 0]


def test_a_chain_costs_what_its_parts_cost(pricer: Pricer) -> None:
    adam, bfgs, chain, early = cells()
    assert [part.steps for part in settings_of(chain).chain] == [20, 30]
    parts = [costs.flops_per_step([6, 6], 1, 30, name) * steps for name, steps in (("adam", 20), ("bfgs", 30))]
    measuring = pricer(adam).flops - 30 * costs.flops_per_step([6, 6], 1, 30, "adam")
    assert pricer(chain).flops == pytest.approx(sum(parts) + measuring)
    assert pricer(bfgs).flops == pytest.approx(parts[1] + measuring)
    assert pricer(chain).slots == min(pricer(adam).slots, pricer(bfgs).slots)
    assert pricer(early).slots == WAVES * pricer(chain).slots
    assert len({pricer(cell).group for cell in (adam, bfgs, chain)}) == 3


def test_chains_run_like_all_others(pricer: Pricer, tmp_path: Path) -> None:
    path, workforce = tmp_path / "chains.h5", Workforce(None, [("cpu", "")])
    with contextlib.closing(open_store(path, STUDY)) as store:
        packs = plan.make(store.cells, store.pending(), pricer)
        assert Driver(pricer, store, workforce, Silent(), Shelf.beside(path), 1e9).run(packs)
    workforce.close()
    with opened(path) as file:
        assert (file["status"][:] == layout.DONE).all()
        named = dict(zip(file["optimizer"][:], file["steps"][:], strict=True))
        assert (named[b"adam"], named[b"bfgs"], named[b"adam+bfgs"]) == (30, 30, 50)
        assert file["training_steps"][:].tolist() == [30, 30, 30, 30, 50, 50, 50, 50]
