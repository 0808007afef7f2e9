"""Published figures beside ours: worked out of stores whose values are known."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hpcsweep.config import Cell
from hpcsweep.errors import StoreError
from hpcsweep.findings import dataset, published
from hpcsweep.store.store import Record
from tests.findings.stores import Maker, cells_of, error, record

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


def naive(**wanted: object) -> list[float]:
    """The errors that the stores hold, cell by cell from the formula behind them."""
    seen: dict[str, Callable[[Cell], object]] = {
        "target": lambda cell: cell.target["name"],
        "optimizer": lambda cell: cell.optimizer["name"],
        "width": lambda cell: max(cell.model["hidden"]),
        "dimension": lambda cell: cell.dimension,
        "samples": lambda cell: cell.samples,
    }
    _, cells = cells_of(STUDY)
    return [error(cell) for cell in cells if all(seen[name](cell) == value for name, value in wanted.items())]


SETTING = {"target": "sine", "dimension": 1, "samples": 10, "optimizer": "adam", "width": 4}


def test_axes_are_reduced_in_the_order_given(make_store: Maker) -> None:
    data = dataset.read(make_store(STUDY))
    median = published.compare(data, row(where=SETTING, over=("median replicate",)))
    assert median.ours == pytest.approx(np.median(naive(**SETTING)), rel=1e-12) and median.cells == 3
    worst = {**SETTING, "target": ["sine", "runge"]}
    both = published.compare(data, row(where=worst, over=("mean replicate", "max target")))
    assert both.ours == pytest.approx(max(np.mean(naive(**{**SETTING, "target": t})) for t in ("sine", "runge")))


def test_formulas_slopes_and_ratios(make_store: Maker) -> None:
    data = dataset.read(make_store(STUDY))
    ratio = published.compare(data, row("sup_lower / l2_error", where=SETTING, over=("max replicate",)))
    assert ratio.ours == pytest.approx(5)
    both = {**SETTING, "target": ["sine", "runge"]}
    over = ("max replicate", "mean target")
    of_aggregates = published.compare(data, row(where=both, divided_by="1 / sup_lower", over=over))
    largest = [max(naive(**{**SETTING, "target": target})) for target in both["target"]]  # type: ignore[attr-defined]
    smallest = [min(naive(**{**SETTING, "target": target})) for target in both["target"]]  # type: ignore[attr-defined]
    assert of_aggregates.ours == pytest.approx(np.mean(largest) / np.mean(1 / np.array(smallest)))
    line = {name: value for name, value in SETTING.items() if name != "samples"}
    slope = published.compare(data, row(where=line, over=("median replicate",), slope="samples"))
    assert slope.ours == pytest.approx(-1) and slope.cells == 9
    grown = published.compare(
        data,
        row(
            where={name: value for name, value in SETTING.items() if name != "width"},
            over=("median replicate",),
            slope="parameters",
        ),
    )
    assert grown.ours == pytest.approx(-1)  # over widths, by the weights that they have
    beside = published.compare(data, row(where=SETTING, beside={"optimizer": "sgd"}, over=("median replicate",)))
    assert beside.ours == pytest.approx(1 / 3) and beside.cells == 6


@pytest.mark.parametrize(
    ("accept", "verdict"),
    [((0, 1e9), "yes"), ((1e3, 1e9), "no: "), ((0, 1e-9), "no: "), (None, "shown only")],
)
def test_verdicts(make_store: Maker, accept: tuple[float, float] | None, verdict: str) -> None:
    compared = published.compare(
        dataset.read(make_store(STUDY)), row(where=SETTING, over=("max replicate",), accept=accept)
    )
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


def test_mistakes_are_named(make_store: Maker, tmp_path: Path) -> None:
    data = dataset.read(make_store(STUDY))
    with pytest.raises(StoreError, match="differ in optimizer too"):
        published.compare(data, row(where={**SETTING, "optimizer": ["adam", "sgd"]}, over=("max replicate",)))
    with pytest.raises(StoreError, match="Did you mean 'samples'"):
        published.compare(data, row(where={"sample": 7}))
    with pytest.raises(StoreError, match="sup_low"):
        published.compare(data, row("sup_low", where=SETTING, over=("max replicate",)))
    with pytest.raises(StoreError, match="Did you mean 'median'"):
        published.compare(data, row(where=SETTING, over=("medium replicate",)))
    (tmp_path / "cases.toml").write_text('[[case]]\nname = "a"\n[[case.row]]\nfigure = "b"\nvalu = "c"\n')
    with pytest.raises(StoreError, match=r"row 0: unknown name 'valu'\. Did you mean 'value'"):
        list(published.rows(tmp_path / "cases.toml"))


def test_the_script_prints_a_table_and_says_by_its_exit_code_whether_all_is_accepted(make_store: Maker) -> None:
    store = make_store(STUDY)
    for most, code, verdict in (("1.0", 0, "yes"), ("1e-9", 1, "of the largest accepted")):
        (cases := store.parent / "cases.toml").write_text(CASE.format(figure="RMSE", most=most))
        line = [sys.executable, str(ROOT / "analysis/reproduce_table.py"), str(store.parent), "--cases", str(cases)]
        done = subprocess.run([*line, "--markdown"], capture_output=True, text=True)
        assert done.returncode == code and verdict in done.stdout and "1 [fig]" in done.stdout, (
            done.stdout + done.stderr
        )
    assert (
        "not run" in subprocess.run([*line[:2], str(store.parent / "nowhere")], capture_output=True, text=True).stdout
    )


def test_every_published_row_can_be_read_and_has_its_preset() -> None:
    rows = list(published.rows(ROOT / "analysis/published.toml"))
    assert len(rows) > 20
    for one in rows:
        assert (ROOT / f"jobs/studies/{one.case}.toml").exists() and (
            ROOT / f"jobs/studies/full/{one.case}.toml"
        ).exists()
