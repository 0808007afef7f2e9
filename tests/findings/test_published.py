"""Published figures beside ours: worked out of stores whose values are known."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray

from hpcsweep.config import Cell
from hpcsweep.errors import StoreError
from hpcsweep.findings import dataset, published
from hpcsweep.store.store import Record
from tests.findings.stores import Maker, cells_of, error, make, record

ROOT = Path(__file__).parents[2]
STUDY = """
title = "Two targets, two methods"
[[grid]]
target = ["sine", "runge"]
dimension = [1, 2]
samples = [10, 100, 1000]
width = [4, 8]
optimizer = ["adam", "sgd"]
replicate = 3
"""
CASE = """
[[case]]
name = "results"
source = "Nobody (1900)"
[[case.row]]
figure = "{figure}"
value = "sup_lower"
where = {{ target = "sine", dimension = 1, samples = 10, optimizer = "adam", width = 4 }}
over = ["median replicate"]
published = "1 [fig]"
accept = [0, {most}]
"""


def row(value: str = "sup_lower", **changes: object) -> published.Row:
    return published.Row("case", "source", "figure", value, **changes)  # type: ignore[arg-type]


def naive(**setting: object) -> list[float]:
    """The errors that the stores hold, cell by cell from the formula behind them."""
    coordinates: dict[str, Callable[[Cell], object]] = {
        "target": lambda cell: cell.target["name"],
        "optimizer": lambda cell: cell.optimizer["name"],
        "width": lambda cell: max(cell.model["hidden"]),
        "dimension": lambda cell: cell.dimension,
        "samples": lambda cell: cell.samples,
    }
    _, cells = cells_of(STUDY)
    return [error(cell) for cell in cells if all(coordinates[name](cell) == value for name, value in setting.items())]


SETTING = {"target": "sine", "dimension": 1, "samples": 10, "optimizer": "adam", "width": 4}
BOTH = {**SETTING, "target": ["sine", "runge"]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> xarray.Dataset:
    return dataset.read(make(tmp_path_factory.mktemp("published") / "results.h5", STUDY))


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in SETTING.items() if key != name}


def by_target(reduction: Callable[[list[float]], float]) -> list[float]:
    return [reduction(naive(**{**SETTING, "target": target})) for target in ("sine", "runge")]


MEDIAN = {"where": SETTING, "over": ("median replicate",)}
CASES: dict[str, tuple[published.Row, float, int]] = {
    "one axis": (row(**MEDIAN), np.median(naive(**SETTING)), 3),
    "axes in the order given": (
        row(where=BOTH, over=("mean replicate", "max target")),
        max(by_target(np.mean)),
        6,
    ),
    "a formula": (row("sup_lower / l2_error", where=SETTING, over=("max replicate",)), 5, 3),
    "a ratio of aggregates": (
        row(where=BOTH, divided_by="1 / sup_lower", over=("max replicate", "mean target")),
        np.mean(by_target(max)) / np.mean(1 / np.array(by_target(min))),
        6,
    ),
    "a slope": (row(where=without("samples"), over=MEDIAN["over"], slope="samples"), -1, 9),
    "a slope over widths": (row(where=without("width"), over=MEDIAN["over"], slope="parameters"), -1, 6),
    "beside another method": (row(**MEDIAN, beside={"optimizer": "sgd"}), 1 / 3, 6),
}


@pytest.mark.parametrize("case", CASES)
def test_numbers_are_worked_out(case: str, data: xarray.Dataset) -> None:
    asked, expected, cells = CASES[case]
    compared = published.compare(data, asked)
    assert compared.ours == pytest.approx(expected, rel=1e-12) and compared.cells == cells


@pytest.mark.parametrize(
    ("accept", "verdict"),
    [((0, 1e9), "yes"), ((1e3, 1e9), "no: "), ((0, 1e-9), "no: "), (None, "shown only")],
)
def test_verdicts(data: xarray.Dataset, accept: tuple[float, float] | None, verdict: str) -> None:
    compared = published.compare(data, row(where=SETTING, over=("max replicate",), accept=accept))
    assert compared.verdict.startswith(verdict)


def test_a_missing_value_is_no_better_than_any(make_store: Maker) -> None:
    def worst_is_lost(cell: Cell) -> Record | None:
        return None if cell.replicate == 2 else record(cell)

    data = dataset.read(make_store(STUDY, records=worst_is_lost))
    for over in ("max replicate", "median replicate", "min replicate"):
        compared = published.compare(data, row(where=SETTING, over=(over,), accept=(0, 1e9)))
        assert math.isnan(compared.ours) and compared.verdict == "no: 1 of 3 cells have no measured error"
    nothing = published.compare(data, row(where={"samples": 7}, over=("max replicate",), accept=(0, 1e9)))
    assert nothing.verdict == "not run"
    half = row(where=SETTING, beside={"samples": 7}, over=("max replicate",), accept=(0, 1e9))
    assert published.compare(data, half).verdict.startswith("no: 2 of")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (row(where={**SETTING, "optimizer": ["adam", "sgd"]}, over=("max replicate",)), "differ in optimizer too"),
        (row(where={"sample": 7}), "Did you mean 'samples'"),
        (row("sup_low", **MEDIAN), "sup_low"),
        (row(where=SETTING, over=("medium replicate",)), "Did you mean 'median'"),
    ],
)
def test_mistakes_are_named(wrong: published.Row, sentence: str, data: xarray.Dataset) -> None:
    with pytest.raises(StoreError, match=sentence):
        published.compare(data, wrong)


def test_a_mistake_in_a_file_of_cases_is_named(tmp_path: Path) -> None:
    (tmp_path / "cases.toml").write_text('[[case]]\nname = "a"\n[[case.row]]\nfigure = "b"\nvalu = "c"\n')
    with pytest.raises(StoreError, match=r"row 0: unknown name 'valu'\. Did you mean 'value'"):
        list(published.rows(tmp_path / "cases.toml"))


def test_the_script_prints_a_table_and_says_by_its_exit_code_whether_all_is_accepted(make_store: Maker) -> None:
    store = make_store(STUDY)
    for most, code, verdict in (("1.0", 0, "yes"), ("1e-9", 1, "times the largest accepted")):
        (cases := store.parent / "cases.toml").write_text(CASE.format(figure="RMSE", most=most))
        line = [sys.executable, str(ROOT / "analysis/reproduce_table.py"), str(store.parent), "--cases", str(cases)]
        done = subprocess.run([*line, "--markdown"], capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        assert verdict in done.stdout and "1 [fig]" in done.stdout
    nowhere = subprocess.run([*line[:2], str(store.parent / "nowhere")], capture_output=True, text=True)
    assert "not run" in nowhere.stdout


def test_every_published_row_can_be_read_and_has_its_preset() -> None:
    rows = list(published.rows(ROOT / "analysis/published.toml"))
    assert len(rows) > 20
    for case in {row.case for row in rows}:
        assert all((ROOT / "jobs/studies" / folder / f"{case}.toml").exists() for folder in (".", "full"))
