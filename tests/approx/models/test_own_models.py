"""Models of a user, and residual networks: choices, sizes, rules; from a study file to its store."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hpcsweep.approx import models, plugins
from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.approx.fitting import fit
from hpcsweep.config import OptimizerConfig
from hpcsweep.errors import PluginError, StudyError
from hpcsweep.study.expansion import expand
from hpcsweep.study.parsing import parse
from tests.approx.cells import cell
from tests.conftest import Run

DOUBLE = torch.float64
GOOD = '''
import torch
from hpcsweep.approx.models import Model

class Fourier(Model):
    """Terms c sin(w x + b), as many as the study's first hidden width."""

    fields = ("hidden",)

    def __init__(self, choice, dimension):
        self.dimension, self.terms = dimension, choice["hidden"][0]
        self.parameters = self.terms * (dimension + 2)

    def init(self, seeds, dtype):
        makers = [torch.Generator().manual_seed(seed % 2**63) for seed in seeds]
        rows = [torch.randn(self.parameters, generator=one, dtype=torch.float64) for one in makers]
        return torch.stack(rows).to(dtype)

    def apply(self, parameters, points):
        rows = parameters.view(self.terms, self.dimension + 2)
        return rows[:, -1] @ torch.sin(rows[:, :-2] @ points.T + rows[:, -2:-1])
'''
BROKEN = {
    "self.parameters = self.terms": ("self.parameters = 0.5 * self.terms", "must be the number of parameters"),
    "self.dimension, self.terms = dimension": ("self.dimension, self.terms = 3", "`dimension` must be 1"),
    "fields = (": ("widths = (1, 5, 1)\n    fields = (", "is not that of layers"),
    "seed % 2**63": ("seed % 2**63 + len(seeds)", "must depend on seeds[i] and on nothing else"),
    "stack(rows).to(dtype)": ("stack(rows)", "of the dtype it is asked for"),
    "torch.randn(self.parameters,": ("torch.nan * torch.randn(self.parameters,", "finite numbers"),
    "return rows[:, -1] @": ("return rows[:, -1:].T @", "must return a tensor (33,)"),
    "rows = parameters.view": ("points -= points.mean(); rows = parameters.view", "leave its arguments unchanged"),
    "@ points.T": ("@ (points - points.mean()).T", "depends on the other points"),
    "@ torch.sin(": ("@ torch.log(-1 + 0 * ", "finite on [-1, 1]^d"),
    "sin(rows": ("sin(rows.detach().sum().item() * rows", "cannot be evaluated: RuntimeError"),
}
STUDY = """
title = "own"
[model]
name = "mine.py:Fourier"
standardise = true
[[grid]]
target = ["exp_cos"]
dimension = [2]
width = [4]
activation = ["tanh", "sin"]
samples = [{ per_parameter = 2 }]
optimizer = ["adam", "ssbroyden"]
[[grid]]
target = ["exp_cos"]
dimension = [1]
width = [4]
model = ["residual"]
samples = [30]
optimizer = ["adam", "muon"]
[training]
steps = 20
[sup_norm]
count = 2000
tile = 256
certificate = "off"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(GOOD)
    return tmp_path


def test_a_residual_network_is_what_it_says() -> None:
    domain = [(-1.0, 3.0)] * 2
    model = models.make({"name": "residual", "hidden": [3, 3], "standardise": True}, 2, domain)
    row = model.init([5], DOUBLE)[0]
    points = torch.rand(9, 2, dtype=DOUBLE)
    first, one, two, last = model.layers(row)
    signal = (points - 1) / 4 * 12**0.5 @ first[:, :-1].T + first[:, -1]
    for block in (one, two):
        signal = signal + torch.tanh(signal @ block[:, :-1].T + block[:, -1])
    expected = (signal @ last[:, :-1].T + last[:, -1])[:, 0]
    torch.testing.assert_close(model.apply(row, points), expected, rtol=1e-13, atol=1e-14)
    assert model.parameters == models.count_parameters(model.config, 2) == 3 * 3 + 2 * 3 * 4 + 4
    for hidden in ([], [3, 4]):
        with pytest.raises(PluginError, match="all of one width"):
            models.resolve({"name": "residual", "hidden": hidden})


def test_a_choice_holds_what_the_class_reads_and_the_digest_of_its_source(folder: Path) -> None:
    name = "mine.py:Fourier"
    full = models.resolve({"name": name, "hidden": [3], "activation": "relu", "stages": 2}, folder)
    assert full == {"name": name, "hidden": [3], "standardise": False, "stages": 2, "code": full["code"]}
    assert models.resolve(full, folder) == full and models.count_parameters(full, 2, folder) == 2 * 12 + 1
    assert json.loads(full.canonical()) == full
    (folder / "mine.py").write_text(GOOD + "\n# edited\n")
    assert models.resolve({"name": name, "hidden": [3]}, folder)["code"] != full["code"]
    with pytest.raises(PluginError, match="has changed since the study was read"):
        models.make(full, 2, [(0.0, 1.0)] * 2, folder)


def test_standardised_inputs_reach_the_class(folder: Path) -> None:
    choice = {"name": "mine.py:Fourier", "hidden": [3]}
    mapped = models.make({**choice, "standardise": True}, 1, [(0.0, 2.0)], folder)
    plain = models.make(choice, 1, [(0.0, 2.0)], folder)
    row, points = plain.init([1], DOUBLE)[0], torch.rand(5, 1, dtype=DOUBLE)
    torch.testing.assert_close(mapped.apply(row, points), plain.apply(row, (points - 1) * 3**0.5))


@pytest.mark.parametrize("old", BROKEN)
def test_a_class_that_breaks_a_rule_is_refused(tmp_path: Path, old: str) -> None:
    new, complaint = BROKEN[old]
    assert old in GOOD
    (tmp_path / "mine.py").write_text(GOOD.replace(old, new))
    choice = models.resolve({"name": "mine.py:Fourier", "hidden": [3]}, tmp_path)
    with pytest.raises(PluginError) as caught:
        models.count_parameters(choice, 1, tmp_path)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (STUDY.replace("mine.py:Fourier", "mine.py:Furier"), "Did you mean 'Fourier'"),
        (STUDY.replace('"adam", "muon"', '"adam+least_squares"'), "'least_squares' needs a linear last layer"),
        (STUDY.replace('"ssbroyden"', '"soap"'), "'soap' needs the weight matrices"),
        (STUDY.replace('model = ["residual"]', 'model = ["residuum"]'), "Did you mean 'residual'"),
    ],
)
def test_mistakes_of_a_study(folder: Path, text: str, complaint: str) -> None:
    catalogue = Catalogue(folder)
    with pytest.raises((PluginError, StudyError), match=complaint):
        expand(parse(text, catalogue, folder), catalogue)


@pytest.mark.parametrize("name", ["residual", "mine.py:Fourier"])
def test_sums_of_such_models(folder: Path, name: str) -> None:
    """A later stage starts from other initial weights and, if it is accepted, lowers the error."""
    target = plugins.complete({"name": "exp_cos"})
    found = {}
    for stages in (1, 2):
        model_of = {"name": name, "hidden": [5], "stages": stages}
        settings = OptimizerConfig("adam+ssbroyden", steps=60, learning_rate=1e-2)
        cells = [cell(target, model_of, 60, settings, replicate, folder=folder) for replicate in range(4)]
        found[stages] = fit(cells, folder)
        model = models.make(model_of, 1, plugins.target(target, 1).domain, folder)
        assert {one.outcome for one in found[stages]} == {"done"}
        assert all(len(one.parameters) == model.parameters for one in found[stages])
    better = [two.train_rmse < one.train_rmse for one, two in zip(found[1], found[2], strict=True)]
    said = ["rejected" in two.message for two in found[2]]
    assert any(better) and all(one != other for one, other in zip(better, said, strict=True))


def test_a_study_with_such_models(folder: Path, hpcsweep: Run) -> None:
    h5py = pytest.importorskip("h5py")
    (folder / "own.toml").write_text(STUDY)
    done = hpcsweep("run", "own.toml")
    assert done.returncode == 0, done.stdout + done.stderr
    with h5py.File(folder / "results" / "own.h5") as file:
        names = set(file["model"][:].tolist())
        assert names == {b"mine.py:Fourier", b"residual"}
        assert len(file["status"]) == 2 + 2, "the class reads no activation: its cells are one"
        assert (file["status"][:] == 2).all(), file["message"][:]
        assert np.isfinite(file["sup_lower"][:]).all() and (file["train_rmse"][:] > 0).all()
        own = file["model"][:] == b"mine.py:Fourier"
        assert set(file["parameters"][:][own].tolist()) == {16}
        assert set(file["parameters"][:][~own].tolist()) == {4 * 2 + 2 * 4 * 5 + 5}
        assert "code" not in file
