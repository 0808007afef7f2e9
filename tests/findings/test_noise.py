"""What a report says of noise in the samples."""

from __future__ import annotations

import math

import pytest

from hpcsweep.config import Cell
from hpcsweep.findings import scaling, series
from hpcsweep.findings.dataset import read
from hpcsweep.findings.report import answers, noise, report, setup, summary
from hpcsweep.store.store import Record
from tests.findings.stores import Maker, record

STUDY = """
title = "Noise"
[[grid]]
target = ["wave"]
dimension = [1]
width = [4, 8]
depth = 1
samples = [10, 100, 1000]
optimizer = ["adam", "sgd"]
noise = [0.0, 0.01, 0.1]
replicate = 3
"""


def noisy(cell: Cell) -> Record:
    """Ten times the error for sgd at no noise, a tenth of it at any; 5 times the error at noise 0.1."""
    level = cell.optimizer.get("noise", 0.0)
    gain = (0.1 if level else 10) if cell.optimizer.name == "sgd" else 1.0
    sup = gain * (5 if level == 0.1 else 1) * (1 + 0.1 * cell.replicate) / cell.samples
    return record(cell, sup_lower=sup, l2_error=sup / 2)


@pytest.fixture
def table(make_store: Maker) -> series.Table:
    return series.table(read(make_store(STUDY, noisy)))


def test_levels_stand_side_by_side(table: series.Table) -> None:
    rows = noise.levels(table)
    assert rows is not None and rows.header[-3:] == ["no noise", "noise 0.01", "noise 0.1"]
    at = {tuple(row[2:5]): row[-3:] for row in rows.rows}
    assert len(at) == 12 and at["mlp, depth 1, width 4", "100", "adam"] == ["0.011", "0.011", "0.055"]
    assert at["mlp, depth 1, width 8", "10", "sgd"] == ["1.1", "0.011", "0.055"]
    words = dict(summary.sentences(table, {}))["Noise."]
    assert words.startswith(
        "With noise of standard deviation 0.1 in the samples, the median sup-norm error is 2.52 times"
    )
    assert "that without noise (median of 12 settings)" in words


def test_methods_are_compared_at_equal_noise(table: series.Table) -> None:
    rows = answers.methods(table)
    assert rows.header[:7] == ["target", "dimension", "network", "samples", "noise", "adam", "sgd"]
    best = {(row[4], row[7].partition(",")[0]) for row in rows.rows}
    assert best == {("0", "adam"), ("0.01", "sgd"), ("0.1", "sgd")} and len(rows.rows) == 18
    assert "“sgd” in 12, “adam” in 6" in dict(summary.sentences(table, {}))["Method."]


def test_theory_in_samples_is_about_exact_values(table: series.Table) -> None:
    laws = scaling.laws(table, "samples", smoothness={"wave": 1.0})
    assert {(law.label, law.bound) for law in laws} == {
        (f"{method}, noise {level}", None if level != "0" else 1.0)
        for method in ("adam", "sgd")
        for level in ("0", "0.01", "0.1")
    }
    assert sum("Not covered by theory: the samples have noise." in law.sentence for law in laws) == 4
    smooth = scaling.laws(table, "samples", smoothness={"wave": math.inf})
    assert {law.bound for law in smooth} == {None, math.inf}


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ("[0.0]", "without noise"),
        ("[0.25]", "with Gaussian noise of standard deviation 0.25 in their values"),
        ("[0.0, 1, 2]", "without noise or with Gaussian noise of standard deviation 1 or 2 in their values"),
    ],
)
def test_the_setup_says_the_noise(make_store: Maker, levels: str, words: str) -> None:
    dataset = read(make_store(STUDY.replace("[0.0, 0.01, 0.1]", levels), noisy))
    rows = dict(setup.setup(dataset).rows)
    assert rows["samples"].endswith(f"uniform over the domain, {words}") and "noise" not in rows["training “adam”"]


def test_without_noise_a_page_is_silent_about_it(make_store: Maker, tmp_path_factory: pytest.TempPathFactory) -> None:
    store = make_store(STUDY.replace("noise = [0.0, 0.01, 0.1]\n", ""), noisy)
    table = series.table(read(store))
    assert noise.levels(table) is None and noise.sentence(table) == ""
    assert "noise" not in answers.methods(table).header
    page = report.write(store, tmp_path_factory.mktemp("page"))[0].read_text()
    assert page.count("noise") == 1  # the samples are said to be without
