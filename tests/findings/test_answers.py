"""The tables that answer the three questions, and the chapters of the page that has them."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from hpcsweep.config import Cell
from hpcsweep.findings import series, tables
from hpcsweep.findings.dataset import read
from hpcsweep.findings.figures import gallery
from hpcsweep.findings.figures.pictures import choose
from hpcsweep.findings.report import answers, page, report, report_figures, summary
from hpcsweep.findings.report.report_figures import Chapter
from hpcsweep.store.store import Record
from tests.findings.stores import SCALING as STUDY
from tests.findings.stores import Maker, cells_of, error, known, make, record

ONE_METHOD = STUDY.replace('["adam", "sgd"]', '"adam"')
ODD = """
[[grid]]
target = ["bumps", "wave"]
dimension = [1, 2]
width = [8]
depth = 1
samples = [1000]
optimizer = [{ name = "sgd", learning_rate = 0.25 }]
replicate = 3
"""


@pytest.fixture(scope="module")
def one_method(tmp_path_factory: pytest.TempPathFactory) -> series.Table:
    return series.table(read(make(tmp_path_factory.mktemp("one") / "results.h5", ONE_METHOD, known)))


def row_of(rows: tables.Rows, *first: str) -> dict[str, str]:
    """Return the row that begins so, by its header."""
    (row,) = [row for row in rows.rows if tuple(row[: len(first)]) == first]
    return dict(zip(rows.header, row, strict=True))


def test_exponents_stand_side_by_side(table: series.Table) -> None:
    laws = answers.laws(table, {"wave": 1.0})
    rows = answers.exponents(laws["parameters"])
    row = row_of(rows, "wave", "1", "sgd")
    assert row["sup-norm: a"] == "1.00 (0.97 to 1.03)" and row["L2: a"] == "0.50 (0.48 to 0.52)"
    assert (row["theory"], row["compared with theory"], row["sizes fitted"]) == ("1", "consistent", "13 to 97 (4 of 4)")
    bumps = row_of(rows, "bumps", "2", "adam")
    assert (bumps["theory"], bumps["compared with theory"]) == ("not covered", "–") and len(rows.rows) == 8
    samples = row_of(answers.exponents(laws["samples"]), "wave", "2", "adam")
    assert (samples["theory"], samples["sizes fitted"]) == ("0.5", "10 to 1,000 (3 of 3)")
    assert "floor" not in rows.header  # none does
    words = dict(answers.sentences(laws["parameters"]["sup_lower"]))
    assert "falls on average as weights^-a with a = 1.00" in words["wave, 1-D, sgd."] and len(words) == 8


def test_what_it_took_for_a_few_powers_of_ten(table: series.Table) -> None:
    rows = answers.needed(table, "parameters")
    assert rows.header[:3] == ["target", "dimension", "curve"] and len(rows.rows) == 8
    levels = [float(name.removeprefix("error ≤ ")) for name in rows.header[3:]]
    assert len(levels) >= 3 and levels == sorted(levels, reverse=True)
    medians = {c.parameters: 1.1 / (c.parameters * c.samples) for c in cells_of(STUDY)[1] if c.samples == 1000}
    row = row_of(rows, "wave", "1", "adam")
    for level in levels:
        enough = [size for size in (13, 25, 49, 97) if medians[size] <= level]
        cell = row[f"error ≤ {level:g}"]
        if not enough:
            assert cell == "> 97"
        else:
            assert cell.removeprefix("≤ ").split(";")[0].split(" ")[0] == str(enough[0])
            assert cell.endswith(f"; width {(enough[0] - 1) // 3}")
    assert all(any(row[i] != rows.rows[0][i] for row in rows.rows) for i in range(3, len(rows.header)))
    samples = answers.needed(table, "samples")
    assert len(samples.rows) == 8 and "width" not in str(samples.rows)


def test_a_column_that_says_one_thing_is_a_note(one_method: series.Table) -> None:
    laws = answers.laws(one_method)["samples"]
    for rows in (answers.exponents(laws), answers.needed(one_method, "samples"), tables.best(one_method)):
        assert "curve" not in rows.header and "optimizer" not in rows.header
        assert "adam" in rows.note and all(len(row) == len(rows.header) for row in rows.rows)
    single = tables.Rows(["curve", "x"], [["adam", "1"]])
    assert tables.slim(single, "curve") == single  # one row alone has no columns to compare


def test_methods_are_compared_where_several_were_tried(table: series.Table, one_method: series.Table) -> None:
    rows = answers.methods(table)
    assert rows.header == ["target", "dimension", "network", "samples", "adam", "sgd", "smallest"]
    assert len(rows.rows) == 48 and not answers.methods(one_method).rows
    for row in rows.rows:
        assert float(row[5]) == pytest.approx(20 * float(row[4]), rel=0.01) and row[6] == "adam, by a factor of 20"
    sentence = dict(summary.sentences(table, {}))["Method."]
    assert "Of 48 settings" in sentence and "is that of “adam” in 48." in sentence


def alike(cell: Cell) -> Record:
    return record(cell, sup_lower=1.0)


def test_a_method_that_was_tried_elsewhere_hides_no_comparison(make_store: Maker) -> None:
    text = STUDY + ODD.replace('"sgd", learning_rate = 0.25', '"soap"')
    table = series.table(read(make_store(text, lambda cell: record(cell, sup_lower=1.0 + cell.replicate))))
    rows = answers.methods(table)
    assert len(rows.rows) == 48 and rows.header[4:] == ["adam", "sgd", "soap", "smallest"]
    assert {(row[6], row[7]) for row in rows.rows} == {("–", "adam ≈ sgd"), ("2", "adam ≈ sgd")}
    nowhere = ONE_METHOD + ODD.replace("width = [8]", "width = [64]")
    assert answers.methods(series.table(read(make_store(nowhere, alike)))).rows == []


def test_rates_of_one_method_are_methods_of_their_own(make_store: Maker) -> None:
    rates = ONE_METHOD.replace('"adam"', '["adam", "sgd"]') + "learning_rate = [0.01, 0.1]\n"

    def uneven(cell: Cell) -> Record:
        return record(cell, sup_lower={0.01: 1e-3, 0.1: 9.0}[cell.optimizer["learning_rate"]])

    table = series.table(read(make_store(rates, uneven)))
    rows = answers.methods(table)
    assert rows.header[4:8] == [f"{name}, learning rate {rate}" for name in ("adam", "sgd") for rate in (0.01, 0.1)]
    assert rows.rows[0][4:] == ["0.001", "9", "0.001", "9", "adam, learning rate 0.01 ≈ sgd, learning rate 0.01"]


def test_replicates_without_an_error_are_counted(make_store: Maker) -> None:
    def lost(cell: Cell) -> Record:
        gone = cell.optimizer["name"] == "sgd" and cell.replicate
        return Record("diverged", {}) if gone else known(cell)

    rows = answers.methods(series.table(read(make_store(STUDY, lost))))
    assert all(row[5].endswith(" (1 of 3)") and "of" not in row[4] for row in rows.rows)


def test_a_column_called_like_ours_stays() -> None:
    rows = tables.Rows(["network", "samples", "samples", "smallest"], [["a", "10", "1", "x"], ["a", "10", "2", "x"]])
    slim = tables.slim(rows, "network", "samples", "smallest")
    assert slim.header == ["samples"] and slim.rows == [["1"], ["2"]]
    assert slim.note == "All: a, 10 samples, smallest x."


def test_fields_that_follow_from_the_method_are_left_out(make_store: Maker) -> None:
    table = series.table(read(make_store(ONE_METHOD + ODD, alike)))
    assert "learning_rate" in table.further
    assert series.telling(table.cells, table.further) == []
    assert "learning rate" not in tables.medians(table).header
    named = ODD.replace('"sgd",', '"sgd", label = "sgd",')
    table = series.table(read(make_store(ONE_METHOD + named + named.replace("0.25", "0.5"), alike)))
    assert series.telling(table.cells, table.further) == ["learning_rate"]


def test_targets_are_listed_with_their_functions(make_store: Maker) -> None:
    dataset = read(make_store(STUDY, known))
    rows = answers.targets(dataset, {"wave": np.inf, "bumps": 2})
    assert rows.header == ["target", "function", "smoothness", "dimensions", "domain"]
    assert rows.rows == [
        ["bumps", "bumps of x", "derivatives bounded up to order 2", "1, 2", "[-1, 1]^d"],
        ["wave", "wave of x", "smooth", "1, 2", "[-1, 1]^d"],
    ]
    older = answers.targets(dataset.drop_vars("choice_about"), {"wave": -1, "bumps": 0})
    assert older.rows == [["bumps", "continuous", "1, 2", "[-1, 1]^d"], ["wave", "discontinuous", "1, 2", "[-1, 1]^d"]]
    assert answers.targets(dataset, {"wave": 1}).rows[1][2] == "Lipschitz"
    assert answers.targets(dataset, {}).rows[0][2] == "unknown"


SMALL = STUDY.replace('["bumps", "wave"]', '"wave"').replace("[1, 2]", "1")


def test_the_page_goes_from_question_to_question(make_store: Maker, tmp_path: Path) -> None:
    files = report.write(make_store(SMALL, known), tmp_path / "report")
    source = files[0].read_text()
    titles = re.findall("<h2>(.*?)</h2>", source)
    about = [chapter for chapter in Chapter if chapter != Chapter.PROOFS]
    assert titles[:3] == ["The targets", "What was trained", "The smallest errors"]
    assert titles[3:9] == about  # no proofs, so no chapter
    assert titles[9:] == ["All medians over replicates", "Where this comes from"]
    weights = source[source.index(f"<h2>{Chapter.WEIGHTS}") : source.index(f"<h2>{Chapter.SAMPLES}")]
    assert "<sup>−2h</sup>" in weights and "$" not in weights.split("<figure>")[0]
    assert weights.index("<figure>") < weights.index("<table>") < weights.index("<details>")
    assert weights.count("<figure>") == 1  # the laws have every line: no second figure says the same
    names = [path.stem for path in files if path.suffix == ".png"]
    assert names[:2] == ["scaling_weights", "scaling_samples"] and "sup_against_weights" not in names


def test_lines_without_a_law_have_a_figure_of_their_own(make_store: Maker) -> None:
    def some(cell: Cell) -> Record | None:
        return known(cell) if cell.optimizer["name"] == "adam" or cell.parameters < 40 else None

    path = make_store(SMALL, some)
    dataset = read(path)
    table = series.table(dataset)
    source = report_figures.Source(dataset, table, path, {}, answers.laws(table))
    laws = source.laws["parameters"]["sup_lower"]
    assert [(law.label, law.law.determined) for law in laws] == [("adam", True), ("sgd", False)]
    rows = answers.exponents(source.laws["parameters"])
    assert row_of(rows, "wave", "1", "sgd")["sup-norm: a"].startswith(
        "not determined: it takes at least three sizes, and "
    )
    names = [figure.name for figure in report_figures.report_figures(source)]
    assert names[:2] == ["scaling_weights", "sup_against_weights"]


def test_every_chapter_has_its_figures_and_a_lead() -> None:
    assert set(Chapter) == set(report_figures._FIGURES)
    names = [name for figures in report_figures._FIGURES.values() for name in figures]
    assert len(names) == len(set(names)) and all(len(page.caption(name)) > 50 for name in names)
    leads = page.templates.get_template("leads.html.jinja").module
    assert all(len(getattr(leads, chapter.name.lower())) > 80 for chapter in Chapter)


def test_the_summary_tells_exponents_one_by_one_or_their_range(table: series.Table, one_method: series.Table) -> None:
    laws = {"samples": answers.laws(one_method, {"bumps": 1, "wave": 1})["samples"]["sup_lower"]}
    sentence = dict(summary.sentences(one_method, laws))["Samples."]
    assert "with a = 1 in 1-D, a = 0.5 in 2-D for bumps; a = 1 in 1-D, a = 0.5 in 2-D for wave." in sentence
    level = re.search(r"The samples needed for an error of (\S+) are (≤ |> )?[\d,]+ in 1-D, ", sentence)
    assert level and f"{float(level[1]):g}" == level[1]
    assert "Theory has a lower bound for 4 of 4 exponents, of which 4 are consistent with it." in sentence
    laws = {"parameters": answers.laws(table)["parameters"]["sup_lower"]}
    sentence = dict(summary.sentences(table, laws))["Weights."]
    assert re.search(r"a from 1\.00 \(bumps, .-D, adam\) to 1\.00", sentence)
    assert "8 power laws" in sentence and "theory" not in sentence


def test_the_worst_pictures_are_of_different_targets(make_store: Maker) -> None:
    def uneven(cell: Cell) -> Record:
        return record(cell, l2_error=error(cell) / (100 if cell.target["name"] == "bumps" else 2))

    path = make_store(STUDY, uneven)
    dataset = read(path)
    target = dict(zip(dataset["key"].values, dataset["target"].values, strict=True))

    assert [target[key] for key, _ in choose(dataset, path, 2)][:2] == ["bumps", "wave"]
    assert {target[key] for key in gallery.choose(dataset, path, 2)} == {"bumps", "wave"}


def noisy(cell: Cell) -> Record:
    """Errors of sgd that fall in one replicate and grow in another."""
    slope = (0, -1, 1)[cell.replicate] if cell.optimizer["name"] == "sgd" else -1
    return record(cell, sup_lower=float(cell.parameters) ** slope, l2_error=1.0 / cell.parameters)


def test_an_exponent_that_may_be_0_is_not_presented_as_one(make_store: Maker) -> None:
    table = series.table(read(make_store(STUDY, noisy)))
    laws = answers.laws(table)["parameters"]
    assert row_of(answers.exponents(laws), "wave", "1", "sgd")["sup-norm: a"].startswith("not distinguishable from 0 (")
    sentence = dict(summary.sentences(table, {"parameters": laws["sup_lower"]}))["Weights."]
    assert "with a = 1.00 " in sentence or "with a from 1.00 " in sentence
    assert "according to 4 power laws fitted" in sentence
    assert "Of 8 exponents, 4 are not distinguishable from 0." in sentence
    sgd = [law for law in laws["sup_lower"] if law.label == "sgd"]
    sentence = dict(summary.sentences(table, {"parameters": sgd}))["Weights."]
    assert sentence.startswith("Error ~ weights⁻ᵃ with a not distinguishable from 0 in 1-D, a not")


def test_a_study_with_single_replicates_determines_nothing(make_store: Maker, tmp_path: Path) -> None:
    text = SMALL.replace('["adam", "sgd"]', '"adam"')
    path = make_store(text, lambda cell: None if cell.replicate else known(cell))
    table = series.table(read(path))
    laws = answers.laws(table)["parameters"]["sup_lower"]
    sentence = dict(summary.sentences(table, {"parameters": laws}))["Weights."]
    few = "it takes at least three sizes with at least two replicates each; none of the 4 has them"
    assert sentence == f"No exponent is determined: {few}."
    other = dataclasses.replace(laws[0], law=dataclasses.replace(laws[0].law, reason="it takes more"))
    sentence = dict(summary.sentences(table, {"parameters": [*laws, other]}))["Weights."]
    assert sentence == f"No exponent is determined: in {len(laws)} of {len(laws) + 1} cases, {few}."
    source = report.write(path, tmp_path / "report")[0].read_text()
    assert "3 per setting, each with its own initial weights and samples; measured: 1 in 12 of 12 settings" in source
    assert "8 of 12 measured cells are left out of this chapter, because there are cells of the same network" in source
    assert "scaling_weights" not in [name.stem for name in (tmp_path / "report").iterdir()]
