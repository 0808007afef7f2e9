"""Prices of cells: chains are the sum of their parts; what travels together fits the cores of a rank."""

from __future__ import annotations

import pytest

from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.approx.training.costs import costs
from hpcsweep.cluster.pricing import TOGETHER, Pricer, threads_of
from hpcsweep.cluster.shares import REFERENCE
from hpcsweep.config import Cell
from hpcsweep.study.expansion import expand
from hpcsweep.study.parsing import Study, parse

STUDY = """
title = "chains"
[[grid]]
target = ["exp_cos"]
dimension = [1]
width = [6]
depth = 2
samples = [30]
replicate = 2
optimizer = ["adam", "bfgs", "adam+bfgs"]
steps = [30]
[training.adam]
steps = 20
[sup_norm]
count = 2000
tile = 256
"""


def cells(text: str = STUDY) -> tuple[Study, list[Cell]]:
    """Return a study and one cell of each method."""
    study = parse(text, Catalogue())
    return study, [cell for cell in expand(study, Catalogue()) if cell.replicate == 0]


def test_a_chain_costs_what_its_parts_cost() -> None:
    study, (adam, bfgs, chain) = cells()
    price, alike = Pricer(study, REFERENCE), costs.Perceptron((1, 6, 6, 1))
    assert [part.steps for part in chain.optimizer.chain] == [20, 30]
    adams, descents = (part.steps * alike.flops(30, part) for part in chain.optimizer.chain)
    assert (
        price(chain).flops - price(bfgs).flops
        == adams
        == price(adam).flops * 2 / 3 - price(bfgs).flops * 2 / 3 + (descents * 2 / 3)
    )
    alone = [sum(alike.seconds(30, part, REFERENCE) for part in cell.optimizer.chain) for cell in (adam, bfgs, chain)]
    assert [price(cell).alone_seconds for cell in (adam, bfgs, chain)] == alone
    assert price(chain).work_bytes == price(bfgs).work_bytes > price(adam).work_bytes
    assert len({price(cell).group for cell in (adam, bfgs, chain)}) == 3


def test_measuring_takes_its_points_its_search_and_its_boxes() -> None:
    study, (adam, bfgs, _) = cells()
    price = Pricer(study, REFERENCE)
    twice = Pricer(cells(STUDY.replace("count = 2000", "count = 2_000_000"))[0], REFERENCE)
    assert price(adam).seconds == price.measuring_seconds(adam) > 0.01
    assert twice(adam).seconds > 2e6 * 1500 * REFERENCE.fma
    without = Pricer(cells(STUDY + 'certificate = "off"\n')[0], REFERENCE)
    boxes = price.measuring_seconds(bfgs) - price.measuring_seconds(adam)
    # A box was measured to take about eight calls of torch, of 1.4 microseconds each on the reference; a descent is
    # followed by a proof of 80 boxes, Adam by one of 64.
    assert boxes == pytest.approx((80 - 64) * 8 * 1.4e-6)
    assert price.measuring_seconds(adam) - without.measuring_seconds(adam) == pytest.approx(64 * 8 * 1.4e-6)
    assert without.measuring_seconds(bfgs) == without.measuring_seconds(adam) < price.measuring_seconds(adam)


def test_a_bound_by_the_equation_has_its_price() -> None:
    study, (adam, *_) = cells()
    poisson = STUDY.replace("[training.adam]", '[training]\nequation = "poisson"\n[training.adam]')
    solving, (solver, *_) = cells(poisson)
    dearer = Pricer(solving, REFERENCE).measuring_seconds(solver) - Pricer(study, REFERENCE).measuring_seconds(adam)
    assert dearer == pytest.approx(300_000 * 1.4e-6)  # about 0.4 s in one dimension
    unproved, (solver, *_) = cells(poisson + 'certificate = "off"\n')
    assert Pricer(unproved, REFERENCE).measuring_seconds(solver) < dearer


def test_packs_fit_the_cores_of_a_rank() -> None:
    study, (adam, *_) = cells()
    assert threads_of([adam], 1) == Pricer(study, cores=1)(adam).at_once == 1
    cost = Pricer(study, cores=3)(adam)
    assert threads_of([adam], 3) == cost.at_once == 3 and cost.slots == 3 * TOGETHER
    assert Pricer(study, REFERENCE)(adam).at_once == 1, "shares of an array are the same on every machine"
    long = cells(STUDY.replace("steps = [30]", "steps = [100_000_000]"))
    assert Pricer(long[0], cores=3)(long[1][0]).slots == 3, "a pack of long cells is as small as can be"


def test_a_proof_that_is_tried_in_eight_dimensions_has_a_price() -> None:
    text = STUDY.replace("dimension = [1]", "dimension = [8]")
    (study, (adam, bfgs, _)), without = cells(text), Pricer(cells(text + 'certificate = "off"\n')[0], REFERENCE)
    price = Pricer(study, REFERENCE)
    for cell, boxes in ((adam, 2**17), (bfgs, 1024)):  # errors after a descent are small: its proof ends at once
        proof = price.measuring_seconds(cell) - without.measuring_seconds(cell)
        assert proof == pytest.approx(boxes * 8 * 1.4e-6)
