"""What a study trained, in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcsweep.config import Cell
from hpcsweep.findings.dataset import read
from hpcsweep.findings.report import setup
from hpcsweep.store.store import Record
from tests.conftest import open_store
from tests.findings.stores import STUDY, Maker, record

HEAD = """
[[grid]]
target = ["exp_cos"]
dimension = [2]
samples = [100, 2000]
"""
STUDIES = {
    "a chain and a method with batches": (
        HEAD
        + """
width = [4, 16]
replicate = 3
optimizer = ["adam+ssbroyden", { name = "adam", batch = 20, label = "small batches" }]
[model]
depth = 2
activation = "tanh"
[training.adam]
steps = 1500
learning_rate = 0.01
schedule = "cosine"
[training.ssbroyden]
steps = 400
""",
        {
            "model “mlp”": "tanh activation, 2 hidden layers of width 4 or 16",
            "samples": "100 or 2,000, independent and uniform over the domain, without noise",
            "training “adam+ssbroyden”": "adam for 1,500 steps at learning rate 0.01 (cosine), then ssbroyden for 400 "
            "steps, full batch, mean squared error",
            "training “small batches”": "adam for 1,500 steps at learning rate 0.01 (cosine), batches of 20, mean "
            "squared error",
            "replicates": "3 per setting, each with its own initial weights and samples",
        },
    ),
    "shapes, stages, a grid and a baseline": (
        HEAD.replace("2000", "400")
        + """
model = [
  { name = "mlp", hidden = [8, 4, 2], stages = 2 },
  { name = "mlp", hidden = [8], activation = "relu", label = "flat" },
]
optimizer = [{ name = "sgd", learning_rate = 0.1, final_learning_rate = 0.001, schedule = "exponential", steps = 10 }]
[training]
sampling = "grid"
[[grid]]
target = ["exp_cos"]
dimension = [2]
samples = [100]
model = [{ name = "legendre", order = 3 }]
optimizer = ["direct"]
""",
        {
            "model “flat”": "relu activation, 1 hidden layer of width 8",
            "model “legendre(order=3)”": "order 3",
            "training “direct”": "fitted directly",
            "replicates": "1 per setting",
        },
    ),
}


def described(text: str, path: Path) -> list[list[str]]:
    """The rows about a study that has not been run."""
    open_store(path, f"title = 'x'\n{text}").close()
    return setup.setup(read(path)).rows


@pytest.mark.parametrize("case", STUDIES)
def test_a_study_is_described_in_words(case: str, tmp_path: Path) -> None:
    text, expected = STUDIES[case]
    rows = dict(described(text, tmp_path / "s.h5"))
    assert {name: rows.get(name) for name in expected} == expected
    if "stages" in text:
        (network,) = [words for name, words in rows.items() if "mlp" in name]
        assert "hidden layers of width at most 8" in network and "stages 2" in network
        assert "on a regular grid" in rows["samples"]
        assert any("at learning rate 0.1 to 0.001 (exponential)" in words for words in rows.values())


def test_replicates_are_counted_as_they_are(make_store: Maker) -> None:
    def begun(cell: Cell) -> Record | None:
        return record(cell) if cell.replicate < 3 - (cell.samples == 10) - (cell.dimension == 2) else None

    rows = dict(setup.setup(read(make_store(STUDY, begun))).rows)
    words = "3 per setting, each with its own initial weights and samples"
    assert rows["replicates"] == f"{words}; measured: 3 in 12, 2 in 24, 1 in 12 of 48 settings"
    fewer = STUDY[STUDY.index("[[grid]]") :].replace("[10, 100]", "[20]").replace("replicate = 3", "replicate = 2")
    rows = dict(setup.setup(read(make_store(STUDY + fewer))).rows)
    assert rows["replicates"] == "2 or 3 per setting, each with its own initial weights and samples"


def test_all_activations_and_a_time_limit_are_described() -> None:
    networks = [{"name": "mlp", "activation": name, "hidden": [4]} for name in ("tanh", "relu")]
    assert setup._network(networks) == "tanh or relu activation, 1 hidden layer of width 4"
    method = {"name": "bfgs", "steps": 1000, "seconds": 40.0, "batch": None, "loss": "mse"}
    assert setup._training([method]) == "bfgs for 1,000 steps or 40 seconds, full batch, mean squared error"


def test_many_are_counted(tmp_path: Path) -> None:
    rates = ", ".join(f'{{ name = "adam", learning_rate = {i}e-3, label = "rate {i}" }}' for i in range(1, 16))
    rows = described(f"{HEAD}width = 4\noptimizer = [{rates}]\n[model]\ndepth = 1\n", tmp_path / "s.h5")
    assert ["training", "and 3 more"] in rows and sum(row[0].startswith("training “") for row in rows) == 12
