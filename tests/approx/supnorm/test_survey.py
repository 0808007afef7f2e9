"""Surveys: however they are cut, ordered and shared, the same bits; and what they say where there is no proof."""

from __future__ import annotations

import math
import pickle
import random
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hpcsweep.approx import models
from hpcsweep.approx.supnorm import survey as surveys
from hpcsweep.approx.supnorm.approximations import Approximation, ErrorFunction, Network
from hpcsweep.approx.supnorm.measured import Measured, finalize
from hpcsweep.approx.supnorm.measurement import Measurement, planned
from hpcsweep.approx.supnorm.screening import screen
from hpcsweep.approx.supnorm.survey import Survey
from hpcsweep.approx.supnorm.threshold import proving
from hpcsweep.approx.targets import REGISTRY
from hpcsweep.config import ModelConfig, TargetConfig
from tests.approx.supnorm.certificate.errors import measured

PLAN = Measurement(("sobol", "inflated"), 3000, 256, 5, 2, uniform=2000, starts=48, kinks=100, gap=0.01, boxes=2**14)
MODEL = ModelConfig(hidden=(6, 6))


def networks(count: int = 3) -> list[Approximation]:
    model = models.make(MODEL, 2, REGISTRY["exp_cos"](2).domain)
    rows = 4 * model.init(range(1, count + 1), torch.float64).numpy()  # so large that the proof is some work
    return [Network(TargetConfig("exp_cos"), 2, MODEL, row, samples=20, data_seed=i) for i, row in enumerate(rows)]


def shared_out(survey: Survey, pieces: int, seed: int) -> Survey:
    """Do the tasks in any order, each in what could be another process."""
    chance = random.Random(seed)
    while tasks := survey.tasks(pieces):
        results: list[object] = [None] * len(tasks)
        for number in chance.sample(range(len(tasks)), len(tasks)):
            task = pickle.loads(pickle.dumps(tasks[number]))
            survey.put(results, number, pickle.loads(pickle.dumps(task.run(Path("."), "cpu"))))
        survey = pickle.loads(pickle.dumps(survey))
        survey.take(results)
    return survey


def found(survey: Survey) -> list[Measured]:
    pairs = zip(survey.approximations, survey.states, strict=True)
    return [finalize(approximation, survey.measurement, state, (0.5, 0.99)) for approximation, state in pairs]


@pytest.mark.parametrize(("first", "central"), [(2**14, None), (64, None), (2**14, 0.8)])
def test_sharing_out_changes_no_bit(first: int, central: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where proofs go on in parts, and where a central box is measured apart."""
    monkeypatch.setattr(surveys, "FIRST", first)
    plan = replace(PLAN, central=central)
    whole = Survey(networks(), plan)
    assert whole.run()
    for pieces, seed in [(1, 0), (3, 1), (40, 2)]:
        shared = found(shared_out(Survey(networks(), plan), pieces, seed))
        assert list(map(repr, shared)) == list(map(repr, found(whole)))  # NaN too
    for known in found(whole):
        assert known.certificate == "closed" and known.screened <= known.lower
        assert known.lower <= known.upper <= 1.0101 * known.lower
        assert known.uniform <= known.lower and 0 < known.sample_distance < 3
        assert central is None or 0 < known.central_l2 < known.central_lower <= known.lower


def test_what_is_kept_of_screening_does_not_grow_with_its_parts() -> None:
    survey, sizes = Survey(networks(1), replace(PLAN, gap=None)), []
    for pieces in (3, 24):
        tasks = survey.tasks(pieces)
        results: list[object] = [None] * len(tasks)
        for number, task in enumerate(tasks):
            survey.put(results, number, task.run(Path("."), "cpu"))
        sizes.append(len(pickle.dumps(results)))
    assert len(tasks) > 20 and sizes[1] < 1.1 * sizes[0]


def test_one_network_does_not_see_another() -> None:
    together, alone = Survey(networks(3), PLAN), Survey(networks(3)[1:2], PLAN)
    assert together.run() and alone.run()
    assert found(together)[1] == found(alone)[0]


def test_a_long_proof_is_left_to_be_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveys, "FIRST", 64)
    survey = Survey(networks(), PLAN)
    assert not survey.run(whole=False)
    assert survey.long and len(survey.tasks()) % surveys.PARTS == 0
    assert survey.run() and [one.certificate for one in found(survey)] == ["closed"] * 3


@pytest.mark.parametrize("gap", [None, 0.01])
def test_nothing_is_proved_that_is_not_asked_for(gap: float | None) -> None:
    survey = Survey(networks(1), replace(PLAN, gap=gap, uniform=0, starts=0, kinks=0))
    assert survey.run()
    [one] = found(survey)
    assert (one.certificate == "off") == (gap is None) == math.isinf(one.upper)
    assert math.isnan(one.uniform) and math.isnan(one.volume)


def test_a_nan_anywhere_is_the_outcome() -> None:
    """In a corner that only the search visits."""

    def target(points: torch.Tensor) -> torch.Tensor:
        corner = (points >= 1).all(dim=1)
        return torch.where(corner, torch.full_like(points[:, 0], math.nan), points[:, 0])

    one = measured(target, replace(PLAN, kinds=("sobol",)))
    assert math.isnan(one.lower) and one.where == (1.0, 1.0) and one.nonfinite > 0 and math.isinf(one.upper)


def test_wide_networks_in_many_dimensions_are_proved_only_on_demand() -> None:
    resolved = {"kinds": ("sobol",), "count": 10, "tile": None, "seed": 0, "gap": 0.1, "always": False}
    assert planned(resolved, 5, 32).gap == 0.1 and planned(resolved, 5, 33).gap is None
    assert planned(resolved | {"always": True}, 5, 512).gap == 0.1
    assert planned(resolved, 4, 512).gap == 0.1


def test_in_seven_and_eight_dimensions_proofs_are_tentative_unless_they_are_asked_for_or_off() -> None:
    resolved = {"kinds": ("sobol",), "count": 10, "tile": None, "seed": 0, "gap": None, "always": False, "auto": True}
    assert [planned(resolved, d, 32).gap for d in (6, 7, 8, 9)] == [None, 0.1, 0.1, None]
    assert [planned(resolved, d, 32).tentative for d in (6, 7, 8, 9)] == [False, True, True, False]
    assert planned(resolved, 8, 33).gap is None and planned(resolved | {"auto": False}, 8, 16).gap is None
    asked = planned(resolved | {"gap": 0.5, "always": True, "auto": False}, 8, 512)
    assert asked.gap == 0.5 and not asked.tentative
    decision = proving(planned(resolved, 8, 16))
    assert decision.gap == 0.01 and not decision.tentative


def test_a_tile_that_is_asked_for_is_taken() -> None:
    resolved = {"kinds": ("sobol",), "count": 10, "seed": 0, "gap": None, "always": False}
    assert planned(resolved | {"tile": None}, 2, 64).tile == screen.default_tile(64)
    assert planned(resolved | {"tile": 512}, 2, 64).tile == 512


def test_means_are_taken_over_the_first_kind() -> None:
    survey = Survey(networks(1), PLAN)
    assert survey.run()
    points = PLAN.sets(((-1.0, 1.0),) * 2)[0](0, 3000)
    errors = survey.approximations[0].error_function(Path("."), "cpu")(points).abs().numpy()
    [one] = found(survey)
    assert one.l1 == pytest.approx(errors.mean(), rel=1e-12)
    assert one.l2 == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-12)
    for share, quantile in zip((0.5, 0.99), one.quantiles, strict=True):
        assert np.quantile(errors, share) <= quantile * 1.0001 and quantile <= np.quantile(errors, share) * 1.07


@dataclass(frozen=True, eq=False)
class Solving(Approximation):
    """A network that is to solve an equation, beside code that is another function, by `off`, on boxes."""

    off: float

    group, solves = 0, True

    def error_function(self, folder: Path, device: str) -> ErrorFunction:
        [network] = networks(1)
        functions = network.error_function(folder, device)

        def target(points: torch.Tensor) -> torch.Tensor:
            return functions.target(points) * (1.0 if isinstance(points, torch.Tensor) else 1.0 + self.off)

        return replace(functions, target=target, forms=None)


def test_errors_of_solutions_are_bounded_only_where_code_is_what_it_says() -> None:
    [honest], [other] = (found(done(Survey([Solving(off)], replace(PLAN, gap=0.5)))) for off in (0.0, 1.0))
    assert honest.lower <= honest.solution_upper < math.inf
    assert other.certificate == "no rule" and other.solution_upper == math.inf


def test_a_bound_of_a_solution_that_is_less_than_its_error_is_none() -> None:
    survey = done(Survey([Solving(0.0)], replace(PLAN, gap=0.5)))
    [honest] = found(survey)
    survey.states[0].solution_upper = 0.99 * honest.lower
    assert found(survey)[0].solution_upper == math.inf


def done(survey: Survey) -> Survey:
    assert survey.run()
    return survey
