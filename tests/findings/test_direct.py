"""Findings on what is fitted directly: as many nodes as samples, and no layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpcsweep.findings import dataset, scaling, series
from hpcsweep.findings.figures import curves
from hpcsweep.store.store import Record
from tests.conftest import open_store

STUDY = """
title = "baselines"
[[grid]]
target = ["exp_cos"]
dimension = [1]
samples = [20, 40, 80]
model = ["simplex"]
optimizer = ["direct"]
replicate = 3
[[grid]]
target = ["exp_cos"]
dimension = [1]
samples = [20, 40, 80]
width = [4, 8]
replicate = 3
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose errors are n^-2 of interpolation, and n^-1 of networks."""
    path = tmp_path_factory.mktemp("direct") / "results.h5"
    opened = open_store(path, STUDY)
    for row, cell in enumerate(opened.cells):
        sup = float(cell.samples) ** (-2 if cell.model["name"] == "simplex" else -1) * (1 + 0.01 * cell.replicate)
        values = {"sup_lower": sup, "sup_upper": np.inf, "sup_where": [0.0], "l2_error": sup / 5, "steps": 0}
        opened.put([row], [Record("done", values, np.zeros(cell.parameters), None)])
    opened.close()
    return path


def test_all_sample_counts_of_what_interpolates_count(store: Path) -> None:
    table = series.table(dataset.read(store))
    chosen = scaling.chosen(table.cells, "samples")
    counts = chosen.groupby("family")["samples"].unique()
    assert sorted(counts["simplex"]) == sorted(counts["mlp"]) == [20, 40, 80]
    assert set(chosen.loc[chosen["family"] == "mlp", "width"]) == {8}  # of networks the largest
    exponents = {law.label.split(", ")[-1]: law.law.exponent for law in scaling.laws(table, "samples")}
    assert exponents == {"direct": pytest.approx(2), "adam": pytest.approx(1)}


def test_one_line_for_all_numbers_of_nodes(store: Path) -> None:
    table = series.table(dataset.read(store))
    assert len(table.lines) == 2 and "nodes" not in table.further
    title = curves.sup_against_samples(dataset.read(store)).texts
    assert any("at width 8" in text.get_text() for text in title)
