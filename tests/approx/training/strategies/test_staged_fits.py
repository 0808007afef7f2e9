"""Multi-stage fits the whole way: from problems to sup-norms, what the target is asked for, a study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from hpcsweep.approx import plugins
from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.approx.fitting import fit
from hpcsweep.approx.supnorm.approximations import Network
from hpcsweep.approx.supnorm.measured import finalize
from hpcsweep.approx.supnorm.measurement import Measurement
from hpcsweep.approx.supnorm.slice import slice_of
from hpcsweep.approx.supnorm.survey import Survey
from hpcsweep.approx.training.costs.costs import Perceptron
from hpcsweep.cluster.pricing import Pricer
from hpcsweep.config import Cell, OptimizerConfig
from hpcsweep.sampling import samples
from hpcsweep.study.expansion import expand
from hpcsweep.study.parsing import load, parse
from tests.approx.cells import cell

SEEN = """
import torch
from hpcsweep.approx.targets import Target


class Seen(Target):
    smoothness = 1
    seen = []

    def __call__(self, points):
        self.seen.append(points[:, 0].clone())
        return points[:, 0]
"""


def test_held_out_points_are_no_samples_and_nested_in_none(tmp_path: Path) -> None:
    (tmp_path / "seen.py").write_text(SEEN)
    one = learner(2, 0, target="seen.py:Seen", folder=tmp_path)
    fit([replace(one, optimizer=OptimizerConfig(steps=1))], tmp_path)
    *_, places, held = plugins.find("seen.py:Seen", tmp_path).seen
    assert len(places) == 150 and len(held) == 4096
    larger = samples(one.data_seed, 10_000, [(-1.0, 1.0)])[:, 0]
    assert np.isin(places, larger).all() and not np.isin(held, larger).any()


GAP = """
import torch
from hpcsweep.approx.targets import Target


class Gap(Target):
    smoothness = -1

    def __call__(self, points):
        x = points[:, 0]
        return torch.where((x > 0.502) & (x < 0.506), torch.full_like(x, float("nan")), x)
"""


METHOD = OptimizerConfig(steps=800, learning_rate=1e-2, schedule="cosine")


def learner(stages: int, replicate: int, samples: int = 150, target: str = "logsin", folder: Path = Path(".")) -> Cell:
    return cell({"name": target}, {"hidden": [12, 12], "stages": stages}, samples, METHOD, replicate, folder=folder)


def test_from_problems_to_sup_norms() -> None:
    measurement = Measurement(("sobol", "grid"), 4000, 512, 1, 1, starts=32, kinks=64, gap=0.01)
    sups = {}
    for count in (1, 2):
        cells = [learner(count, replicate) for replicate in range(3)]
        fitted = fit(cells)
        networks = [Network(p.target, 1, p.model, f.parameters) for p, f in zip(cells, fitted, strict=True)]
        survey = Survey(networks, measurement)
        assert survey.run()
        found = [finalize(*pair, survey.states[i]) for i, pair in enumerate((one, measurement) for one in networks)]
        sups[count] = [one.lower for one in found]
        assert all(one.lower <= one.upper <= 1.01 * one.lower for one in found)
        assert slice_of(networks[0].error_function(Path("."), "cpu"), found[0].where, 65).shape == (3, 65)
        if count == 1:
            plain = fitted
    assert all(two < one for one, two in zip(sups[1], sups[2], strict=True))
    size = len(plain[0].parameters)
    for one, two in zip(plain, fitted, strict=True):
        assert np.array_equal(one.parameters, two.parameters[:size])  # the same first stage, to the bit
        assert two.train_rmse < one.train_rmse
        assert len(two.parameters) == 2 * size + 1
    assert np.array_equal(fit([learner(2, 1)])[0].parameters, fitted[1].parameters)


def test_a_target_that_fails_at_a_held_out_point_fails_its_own_cell(tmp_path: Path) -> None:
    (tmp_path / "gap.py").write_text(GAP)
    gap = {"target": "gap.py:Gap", "folder": tmp_path}
    fitted = fit([learner(2, 0, 20), learner(2, 1, 20, **gap)], tmp_path)
    assert [one.outcome for one in fitted] == ["done", "failed"]
    assert fitted[1].message.startswith("The target is not finite at ") and "of 4096 held-out" in fitted[1].message
    [plain] = fit([learner(1, 1, 20, **gap)], tmp_path)
    assert plain.outcome == "done"


STUDY = """
title = "stages"
[[grid]]
target = ["logsin"]
dimension = [1]
samples = [60]
width = [8]
stages = [1, 2]
replicate = 2
[training]
steps = 300
learning_rate = 1e-2
[sup_norm]
count = 2000
tile = 256
"""


def test_a_study_with_stages_as_an_axis(tmp_path: Path, hpcsweep: Callable[..., object]) -> None:
    (tmp_path / "stages.toml").write_text(STUDY)
    done = hpcsweep("run", "stages.toml")
    assert done.returncode == 0, done.stderr  # type: ignore[attr-defined]
    with h5py.File(tmp_path / "results" / "stages.h5") as file:
        columns = {name: file[name][:] for name in ("stages", "parameters", "sup_lower")}
    one, two = columns["stages"] == 1, columns["stages"] == 2
    assert one.sum() == two.sum() == 2
    assert set(columns["parameters"][one]) == {97} and set(columns["parameters"][two]) == {195}
    assert (columns["sup_lower"][two] < 1.1 * columns["sup_lower"][one]).all()
    assert (columns["sup_lower"][two] < columns["sup_lower"][one]).any()


def test_costs_grow_with_the_stages() -> None:
    larger = STUDY.replace("[1, 2]", "[1, 2, 3]").replace("samples = [60]", "samples = [2000]")
    little = 'uniform = 0\nstarts = 0\nkinks = 0\ncertificate = "off"\n'  # of measuring: training is priced here
    study = parse(larger + little, Catalogue())
    price, cells = Pricer(study), expand(study, Catalogue())
    one, two, three = (price(cells.cell(row)) for row in (0, 2, 4))
    measured = sum(price.measurement(cells.cell(0)).counts) * 2 * Perceptron((1, 8, 8, 1)).parameters
    trained = one.flops - measured
    assert two.flops == 4 * trained + 2 * measured and three.flops == 7 * trained + 3 * measured
    assert len({one.group, two.group, three.group}) == 3
    assert two.alone_seconds == 4 * one.alone_seconds and two.seconds > one.seconds
    assert one.bytes < two.bytes


def test_the_preset_of_michaud_pairs_one_and_two_stages() -> None:
    path = Path(__file__).parents[4] / "jobs" / "studies" / "michaud-teacher.toml"
    cells = list(expand(load(path, Catalogue()), Catalogue()))
    assert {cell.parameters for cell in cells} == {481, 2 * 481 + 1}
    pairs = {(cell.optimizer["name"], cell.weight_seed, cell.data_seed) for cell in cells}
    assert len(cells) == 16 and len(pairs) == 8  # the same start and samples for one and for two
