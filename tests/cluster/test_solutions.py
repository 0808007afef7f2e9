"""The column `solution_upper`, from a study to its report: errors bounded by an equation, without its solution."""

from __future__ import annotations

import contextlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpcsweep.findings import dataset
from hpcsweep.store import layout, remeasured
from hpcsweep.store.keyed_rows import KeyedRows
from hpcsweep.store.reading import read_cells
from tests.cluster.test_remeasure import FOUND, columns, copied
from tests.conftest import Run

STUDY = """
title = "Equations"
[[grid]]
target = ["sine_product"]
dimension = [1, 2]
hidden = [[4]]
samples = [64]
optimizer = [
    { name = "bfgs", equation = "poisson", steps = 150, label = "equation" },
    { name = "bfgs", steps = 20, label = "values" },
]
[sup_norm]
points = ["sobol"]
count = 256
starts = 16
certificate = 0.1
boxes = 500
"""


@pytest.fixture
def store(hpcsweep: Run, tmp_path: Path) -> Path:
    (tmp_path / "study.toml").write_text(STUDY)
    done = hpcsweep("run", "study.toml", "-o", "store.h5", "--progress", "none")
    assert done.returncode == 0, done.stderr
    return tmp_path / "store.h5"


def test_equations_have_bounds_that_the_report_and_the_replay_show(hpcsweep: Run, store: Path) -> None:
    found = dataset.read(store)
    solved = found["optimizer"].values == "equation"
    ratio = (found["solution_upper"] / found["sup_lower"]).values
    assert solved.sum() == 2 and (ratio[solved] >= 1.0).all() and (ratio[solved] < 3.0).all()
    assert np.isnan(ratio[~solved]).all()
    assert hpcsweep("report", store, "-o", "report").returncode == 0
    page = (store.parent / "report" / "index.html").read_text()
    assert "Without the solution" in page and "2 cells" in page
    shown = {}
    for key, equation in zip(found["key"].values, solved, strict=True):
        shown[equation] = hpcsweep("replay", store, key)
        assert shown[equation].returncode == 0, shown[equation].stdout + shown[equation].stderr
    assert "solution_upper" in shown[True].stdout and "solution_upper" not in shown[False].stdout


@pytest.mark.mpi
def test_the_smaller_bound_stays_whatever_the_number_of_ranks(hpcsweep: Run, store: Path) -> None:
    expected, lower = (columns(store)[name] for name in ("solution_upper", "sup_lower"))
    one_dimension, two_dimensions = np.flatnonzero(np.isfinite(expected)).tolist()
    expected[two_dimensions] = (expected[two_dimensions] + lower[two_dimensions]) / 2
    with h5py.File(store, "r+") as file:
        for name in ("checksum", "run_checksum", *layout.FILE):
            del file[name]
        file["solution_upper"][one_dimension] = 7.0
        file["solution_upper"][two_dimensions] = expected[two_dimensions]
    two, more = copied(store, "two.h5"), ("--points", 256, "--certificate", 0.1, "--boxes", 500, "--progress", "none")
    assert hpcsweep("measure", store, *more).returncode == 0
    assert hpcsweep("measure", two, *more, ranks=2).returncode == 0
    with h5py.File(store) as one, h5py.File(two) as other:
        names = [name for name in layout.RESULTS if name in one and name != "message"]
        assert [name for name in names if one[name][:].tobytes() != other[name][:].tobytes()] == []
        assert np.array_equal(one["solution_upper"][:], expected, equal_nan=True)


def test_a_bound_below_an_error_that_is_proved_is_given_up(store: Path) -> None:
    solved = int(np.flatnonzero(np.isfinite(columns(store)["solution_upper"]))[0])
    key, lower = read_cells(store).cell(solved).key, columns(store)["sup_lower"][solved]
    with contextlib.closing(KeyedRows(store)) as rows:
        for share, expected in ((0.9, np.inf), (1.1, 1.1 * lower)):
            measured = FOUND | {"sup_where": (0.0,) * read_cells(store).cell(solved).dimension}
            combined = remeasured.combined(rows, {key: measured | {"solution_upper": share * lower}})
            assert combined[key]["solution_upper"] == expected


def test_without_proofs_there_is_none_and_older_stores_stay_usable(hpcsweep: Run, store: Path) -> None:
    with h5py.File(store, "r+") as file:
        for name in ("solution_upper", "checksum", "run_checksum", *layout.FILE):
            del file[name]
    assert "solution_upper" not in dataset.read(store)
    assert hpcsweep("report", store, "-o", "report").returncode == 0
    assert hpcsweep("measure", store, "--points", 256, "--certificate", "off", "--progress", "none").returncode == 0
    assert hpcsweep("run", "study.toml", "-o", store, "--progress", "none").returncode == 0
    assert np.isnan(dataset.read(store)["solution_upper"].values).all()
    off = ("--points", 512, "--certificate", "off", "--progress", "none")
    assert hpcsweep("measure", store, *off).returncode == 0
    assert np.isnan(dataset.read(store)["solution_upper"].values).all()
