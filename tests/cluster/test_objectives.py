"""What is learned, from a study's cell to a network that is measured: places of the samples, packs, prices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpcsweep.approx.fitting import fit
from hpcsweep.approx.supnorm.approximations import Network
from hpcsweep.cluster.pricing import Pricer
from hpcsweep.cluster.worker import networks_of
from hpcsweep.config import Cell
from hpcsweep.sampling import grid, samples
from hpcsweep.study.parsing import parse
from tests.study.test_study import CATALOGUE, cells, study

pytestmark = pytest.mark.usefixtures("one_thread")
PLAIN = '[[grid]]\ntarget = ["sine_product"]\ndimension = [2]\nsamples = [16]\nhidden = [[4, 3]]\n'
FIELDS = ['sampling = "grid"', 'equation = "poisson"', "layerwise = 2", "resample = 1", ""]


def cell_of(field: str, sections: str = "[training]\nsteps = 10") -> Cell:
    return cells(study(PLAIN + field, sections=sections)).cell(0)


def network_of(field: str) -> Network:
    cell = cell_of(field)
    [fitted] = fit([cell])
    assert fitted.outcome == "done" and fitted.steps == 10
    [network] = networks_of([cell], [fitted])
    return network


@pytest.mark.parametrize("field", FIELDS)
def test_a_measured_network_knows_where_it_was_trained(field: str) -> None:
    pair, domain = network_of(field).error_function(Path("."), "cpu"), [(0.0, 1.0)] * 2
    if "resample" in field:
        assert pair.samples is None
        return
    expected = grid(16, domain) if "grid" in field else samples(cell_of(field).data_seed, 16, domain)
    assert pair.samples is not None and np.array_equal(pair.samples.numpy(), expected)


def test_what_is_learned_differently_shares_no_pack_and_an_equation_costs_more() -> None:
    pricer = Pricer(parse(study(PLAIN), CATALOGUE))
    long = "[training]\nsteps = 1_000_000"  # so that measuring counts for nothing
    costs = {field: pricer(cell_of(field, long)) for field in FIELDS}
    assert len({cost.group for cost in costs.values()}) == len(FIELDS)
    plain, equation = costs[""], costs['equation = "poisson"']
    assert equation.flops > 2 * plain.flops and equation.bytes > 2 * plain.bytes
    many = pricer(cell_of('equation = "poisson"\nboundary = 160', long))
    assert many.flops > 3 * equation.flops
