"""Direct fits the whole way: what a study says, outcomes of their own, weights that are enough, prices."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from hpcsweep.approx import models
from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.approx.fitting import fit
from hpcsweep.approx.supnorm.approximations import Network
from hpcsweep.approx.supnorm.measured import finalize
from hpcsweep.approx.supnorm.measurement import Measurement
from hpcsweep.approx.supnorm.survey import Survey
from hpcsweep.approx.training.strategies import direct
from hpcsweep.cluster.pricing import Pricer
from hpcsweep.config import Cell, OptimizerConfig
from hpcsweep.errors import UserError
from hpcsweep.study.cells import Cells
from hpcsweep.study.expansion import expand
from hpcsweep.study.parsing import parse
from tests.approx.cells import cell

STUDY = """
title = "baselines"
[[grid]]
target = ["exp_cos"]
dimension = [1]
samples = [30, 60]
model = ["simplex", { name = "legendre", order = 6 }, { name = "spline", degree = 3 }]
optimizer = ["direct"]
replicate = 2
[[grid]]
target = ["exp_cos"]
dimension = [1]
samples = [30, 60]
width = [4]
[training]
steps = 30
"""


FITTED, TRAINED = 'optimizer = ["direct"]', 'optimizer = ["adam"]'


def cells(text: str) -> Cells:
    return expand(parse(text, Catalogue()), Catalogue())


def test_a_study_holds_networks_and_what_they_are_held_to() -> None:
    made = cells(STUDY)
    sizes = {(cell.model["name"], cell.samples): cell.parameters for cell in made}
    assert sizes["simplex", 30] == sizes["spline", 30] == 60 and sizes["simplex", 60] == sizes["spline", 60] == 120
    assert sizes["legendre", 30] == sizes["legendre", 60] == 7
    direct_ones = [cell for cell in made if cell.model["name"] != "mlp"]
    assert len(direct_ones) == 12 and all(cell.optimizer == {"name": "direct"} for cell in direct_ones)
    by_model = {cell.model["name"]: cell.model for cell in direct_ones if cell.samples == 30}
    assert by_model["simplex"] == {"name": "simplex", "nodes": 30}
    assert by_model["spline"] == {"name": "spline", "degree": 3, "nodes": 30}
    assert "nodes" not in made.extra  # the samples tell it
    assert len({cell.data_seed for cell in made}) == 2  # the same samples for all: two replicates


def test_what_training_says_makes_no_other_cell_of_a_direct_fit() -> None:
    keys = [set(cells(text).columns["key"].tolist()) for text in (STUDY, STUDY.replace("steps = 30", "steps = 31"))]
    assert len(keys[0] & keys[1]) == 12 and len(keys[0] | keys[1]) == 16


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (FITTED, TRAINED, ["'simplex' is fitted directly, not by 'adam'", "grid of its own"]),
        ("width = [4]", FITTED, ["'direct' fits simplex, legendre, spline", "'mlp' is trained by", "adam"]),
        ("width = [4]", 'optimizer = ["adam+direct"]', ["'direct' fits", "stands alone"]),
        ('"simplex", ', '"simplx", ', ["'simplx'", "Did you mean 'simplex'?"]),
        (FITTED, 'optimizer = ["dirct"]', ["'dirct'", "Did you mean 'direct'?"]),
        (FITTED, 'optimizer = [{ name = "direct", steps = 5 }]', ["direct", "'steps'"]),
        (FITTED, 'optimizer = [{ name = "direct", equation = "poisson" }]', ["direct", "'equation'"]),
        ("[training]", "[training.direct]\nsteps = 5\n[training]", ["training.direct", "'steps'"]),
        ("order = 6", "odrer = 6", ["'odrer'", "Did you mean 'order'?"]),
        ("samples = [30, 60]", "samples = [{ per_parameter = 2 }]", ["simplex", "as many nodes as samples"]),
        ("dimension = [1]", "dimension = [2]", ["spline", "dimension 1, not in 2"]),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(old: str, new: str, words: list[str]) -> None:
    assert old in STUDY
    with pytest.raises(UserError) as told:
        cells(STUDY.replace(old, new, 1))
    assert all(word in str(told.value) for word in words), str(told.value)


def learner(
    model: dict[str, object], samples: int, replicate: int = 0, dimension: int = 1, target: str = "exp_cos"
) -> Cell:
    sized = models.sized(models.resolve(model), dimension, samples)
    return cell({"name": target}, sized, samples, OptimizerConfig("direct"), replicate, dimension)


def test_what_is_stored_is_enough_to_measure_it_elsewhere(tmp_path: Path) -> None:
    for model, dimension, certificate in (
        ({"name": "simplex"}, 2, "no rule"),
        ({"name": "spline", "degree": 3}, 1, "closed"),
    ):
        one = learner(model, 200, dimension=dimension)
        [fitted] = fit([one])
        assert fitted.outcome == "done" and fitted.train_rmse < 1e-14 and fitted.steps == 0
        path = tmp_path / "parameters.npy"
        np.save(path, fitted.parameters)
        network = Network(one.target, dimension, one.model, np.load(path), one.samples, one.data_seed)
        measurement = Measurement(("sobol",), 2048, 1024, 0, dimension, starts=8, gap=0.1)
        survey = Survey([network], measurement)
        survey.run()
        found = finalize(network, measurement, survey.states[0])
        assert found.l2 < found.lower <= found.upper and found.certificate == certificate
        samples = fit([learner(model, 800, dimension=dimension)])[0].parameters
        assert samples is not None and len(samples) == 4 * len(fitted.parameters)  # type: ignore[arg-type]


@pytest.mark.parametrize(("order", "certificate"), [(4, "closed"), (12, "closed"), (30, "closed")])
def test_a_polynomial_is_proved_in_one_dimension(order: int, certificate: str) -> None:
    one = learner({"name": "legendre", "order": order}, 200, target="logsin")
    [fitted] = fit([one])
    assert fitted.parameters is not None
    network = Network(one.target, 1, one.model, fitted.parameters, 200, 0)
    measurement = Measurement(("sobol",), 2048, 1024, 0, 1, starts=8, gap=1e-6)
    survey = Survey([network], measurement)
    survey.run()
    found = finalize(network, measurement, survey.states[0])
    assert found.certificate == certificate and found.lower > 0
    assert found.upper <= found.lower * (1 + 1e-6 if certificate == "closed" else 1.1)


def test_a_failed_fit_is_an_outcome_of_its_own() -> None:
    chosen = {"name": "spline", "degree": 3, "nodes": 8}
    made = [models.make(chosen, 1, [(-1.0, 1.0)]) for _ in range(3)]
    places = torch.linspace(-1, 1, 8, dtype=torch.float64).expand(3, 8).clone()
    places[1, 3] = places[1, 4]
    values = places.square()
    found = direct.fit(made, places.unsqueeze(2), values, lambda: False)
    assert found.outcome == ["done", "failed", "done"]
    assert "same place" in found.message[1] and found.mean_square[0] < 1e-25
    stopped = direct.fit(made, places.unsqueeze(2), values, lambda: True)
    assert stopped.outcome == ["interrupted"] * 3
    cubic = models.make({"name": "legendre", "order": 3}, 1, [(-1.0, 1.0)])
    beyond = 1e200 * (-1.0) ** torch.arange(8, dtype=torch.float64)
    found = direct.fit([cubic], places[:1].unsqueeze(2), beyond[None], lambda: False)
    assert found.outcome == ["diverged"] and math.isinf(found.mean_square[0])


def test_company_changes_no_bit() -> None:
    together = fit([learner({"name": "legendre", "order": 9}, 40, seed) for seed in range(4)])
    for seed in range(4):
        [alone] = fit([learner({"name": "legendre", "order": 9}, 40, seed)])
        assert np.array_equal(alone.parameters, together[seed].parameters)  # type: ignore[arg-type]


def test_coefficients_that_samples_leave_open_are_said_to_be() -> None:
    [few, many] = [fit([learner({"name": "legendre", "order": 9}, count)])[0] for count in (5, 50)]
    assert few.outcome == "done" and few.message.startswith("10 coefficients for 5 samples") and not many.message
    assert few.train_rmse < 1e-12


def test_prices_grow_with_what_is_fitted() -> None:
    text = STUDY.replace("samples = [30, 60]\nmodel", "samples = [30, 60, 30_000]\nmodel")
    price, made = Pricer(parse(text, Catalogue())), cells(text)
    costs = {(cell.model["name"], cell.samples): price(cell) for cell in made}
    for name in ("simplex", "legendre", "spline"):
        one, other = costs[name, 30], costs[name, 30_000]
        assert 0 < one.flops < other.flops and 0 < one.bytes < other.bytes and 0 < one.seconds <= other.seconds < 60
