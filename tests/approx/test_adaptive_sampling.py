"""Adaptive sampling: where points are added, that rounds are trainings one after the other, bits, mistakes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hpcsweep.approx import adaptive_sampling, fitting, models, plugins
from hpcsweep.approx.supnorm.approximations import ErrorFunction
from hpcsweep.approx.supnorm.screening.evaluator import frozen
from hpcsweep.approx.training.strategies.journal import UNSAVED
from hpcsweep.config import Cell, Objective, OptimizerConfig
from hpcsweep.errors import UserError
from hpcsweep.sampling import samples
from tests.approx.cells import cell
from tests.study.test_study import cells, study
from tests.study.test_study_objectives import SQUARE

DOUBLE = torch.float64
BOX = [(-1.0, 1.0)] * 2
LONG = OptimizerConfig("ssbroyden", steps=90)


def bumps(points: torch.Tensor) -> torch.Tensor:
    """An error with two narrow maxima, the larger one at (0.5, 0.25), and one at a corner."""
    total = torch.zeros(len(points), dtype=DOUBLE)
    for height, x, y in ((3.0, 0.5, 0.25), (-2.0, -0.6, -0.1), (1.0, 1.0, -1.0)):
        total = total + height * torch.exp(-200 * ((points[:, 0] - x) ** 2 + (points[:, 1] - y) ** 2))
    return total


def test_points_are_added_at_the_maxima_and_apart() -> None:
    taken = torch.from_numpy(samples(1, 40, BOX))
    taken = taken[bumps(taken).abs() < 1e-3]  # none in the way of a maximum
    new = adaptive_sampling.worst_places(bumps, BOX, taken, 60, 3)
    assert new.shape == (60, 2) and bool((new.abs() <= 1).all())
    assert new[0].tolist() == pytest.approx([0.5, 0.25], abs=1e-6)  # climbed to
    for height, x, y in ((2.0, -0.6, -0.1), (1.0, 1.0, -1.0)):
        near = new[((new - torch.tensor([x, y], dtype=DOUBLE)).abs() < 0.02).all(dim=1)]
        assert len(near) and float(bumps(near).abs().max()) > 0.98 * height
    apart = torch.cdist(torch.cat([new, taken]), new)
    apart[:60].fill_diagonal_(math.inf)
    assert float(apart.min()) >= 0.1  # (60 + 40)^(-1/2)
    assert torch.equal(new, adaptive_sampling.worst_places(bumps, BOX, taken, 60, 3))


def test_a_flat_or_infinite_error_still_gives_distinct_places() -> None:
    for error in (lambda points: points[:, 0] * 0, lambda points: points[:, 0] * math.nan):
        new = adaptive_sampling.worst_places(error, BOX, torch.empty(0, 2, dtype=DOUBLE), 30, 3)
        assert len(np.unique(new.numpy(), axis=0)) == 30


def learner(replicate: int, rounds: int = 3, method: OptimizerConfig = LONG, samples: int = 50) -> Cell:
    target, optimizer = {"name": "logsin", "K": 1.0}, replace(method, objective=Objective(resample=rounds))
    return cell(target, {"hidden": [8, 8]}, samples, optimizer, replicate)


def test_rounds_are_trainings_one_after_the_other() -> None:
    """Twin: the same written out for one network, and for its last round alone."""
    [found] = fitting.fit([learner(3, 1)])
    assert found.outcome == "done" and found.steps == 90
    half = OptimizerConfig("ssbroyden", steps=45)
    [first] = fitting.fit([learner(3, 0, half, 25)])
    network = models.make({"hidden": [8, 8]}, 1, [(-1.0, 1.0)])

    def target(points: torch.Tensor) -> torch.Tensor:
        x = points[:, 0]
        return torch.log(torch.sin(10 * x) + 2) + torch.sin(x)

    error = ErrorFunction(target, frozen(network, torch.from_numpy(first.parameters)), ((-1.0, 1.0),))
    taken = torch.from_numpy(samples(learner(3).data_seed, 25, [(-1.0, 1.0)]))
    new = adaptive_sampling.worst_places(error, [(-1.0, 1.0)], taken, 25, learner(3).data_seed + 1).numpy()
    second = fitting.Round(learner(3, 0, half), 1, new, first.parameters)
    [last] = fitting._learn([second], Path("."), "cpu", lambda: False, UNSAVED)
    assert np.array_equal(found.parameters, last.parameters) and found.train_rmse == last.train_rmse
    steps = found.history_step[found.history_step >= 0]
    assert steps[0] == 0 and steps[-1] == 90 and (np.diff(steps) > 0).all()


@pytest.mark.parametrize("optimizer", ["adam", "adam+ssbroyden"])
def test_bits_do_not_depend_on_the_companions(optimizer: str) -> None:
    chosen = OptimizerConfig(optimizer, steps=30, learning_rate=1e-2)
    everyone = fitting.fit([learner(seed, method=chosen) for seed in range(5)])
    for rows in ([3], [4, 0]):
        for row, one in zip(rows, fitting.fit([learner(row, method=chosen) for row in rows]), strict=True):
            assert np.array_equal(one.parameters, everyone[row].parameters) and one.steps == everyone[row].steps
    assert {one.steps for one in everyone} == {30 if optimizer == "adam" else 330}


FAILING = """
import torch
from hpcsweep.approx.targets import Target


class Holes(Target):
    smoothness = -1

    def __call__(self, points):
        if len(points) == COUNT:
            raise RuntimeError("no value")
        return points[:, 0]
"""


@pytest.mark.parametrize("count", [25, 4096])  # points of the first round; of a screen
def test_a_target_that_fails_leaves_the_others_alone(count: int, tmp_path: Path) -> None:
    (tmp_path / "holes.py").write_text(FAILING.replace("COUNT", str(count)))
    bad = replace(learner(0, 1), target=plugins.complete({"name": "holes.py:Holes"}, tmp_path))
    found = fitting.fit([learner(1, 1), bad, learner(2, 1)], tmp_path)
    alone = fitting.fit([learner(1, 1), learner(2, 1)])
    assert [one.outcome for one in found] == ["done", "failed", "done"] and "no value" in found[1].message
    assert np.array_equal(found[2].parameters, alone[1].parameters)


def test_a_stop_interrupts_all() -> None:
    assert {one.outcome for one in fitting.fit([learner(0), learner(1)], stop=lambda: True)} == {"interrupted"}


MISTAKES = {
    "stages": ("[training]\nresample = 2\n[model]\nstages = 2", "stages = 1"),
    "equation": ('[training]\nresample = 2\nequation = "poisson"', "training.equation exclude"),
    "grid": ('[training]\nresample = 2\nsampling = "grid"', "training.sampling exclude"),
    "layers": ("[training]\nresample = 2\nlayerwise = 9", "training.layerwise exclude"),
    "too few": ("[training]\nresample = 9", r"makes 10 rounds, more than there are samples \(9\)"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence(name: str) -> None:
    sections, expected = MISTAKES[name]
    with pytest.raises(UserError, match=expected):
        cells(study(SQUARE, sections=sections))
