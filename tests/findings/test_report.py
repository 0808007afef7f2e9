"""The report: a page that carries everything within itself, whatever the state of the store."""

from __future__ import annotations

import base64
from collections.abc import Callable
from configparser import ConfigParser
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from hpcsweep.config import Cell
from hpcsweep.errors import StoreError
from hpcsweep.findings import series, tables
from hpcsweep.findings.dataset import read
from hpcsweep.findings.report import report, summary
from hpcsweep.store.store import Record
from tests.findings.stores import STUDY, Maker, cells_of, error, make, record

PLAIN = """
title = "Plain"
[[grid]]
target = "wave"
dimension = 1
width = [4, 8]
depth = 1
samples = 10
optimizer = "adam"
replicate = 2
"""
TWO_COUNTS = PLAIN.replace("samples = 10", "samples = [10, 100]")
WITHOUT = "[store]\nweights = false\n"
VOID = {"img", "meta", "br"}  # elements without an end


class Page(HTMLParser):
    """A page taken apart: its words, images and tables; elements must be closed in order."""

    def __init__(self, path: Path) -> None:
        HTMLParser.__init__(self)
        self.open: list[str] = []
        self.words: list[str] = []
        self.images: list[str] = []
        self.names: list[str] = []  # of attributes
        self.attributes: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.tags: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names += [name for name, _ in attributes]
        self.attributes += [str(value) for _, value in attributes]
        self.open += [] if tag in VOID else [tag]
        if tag == "img":
            self.images.append(str(dict(attributes)["src"]))
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.words.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1].append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def written(full: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The files of the report of the full store."""
    return report.write(full, tmp_path_factory.mktemp("report") / "deep" / "folder")


def test_the_files(written: list[Path]) -> None:
    assert written[0].name == "index.html"
    stems = ["scaling_weights", "sup_against_samples", "optimizer_race", "optimizer_race_flops", "sup_against_l2"]
    stems += ["glitches", "picture_1", "picture_2", "picture_3", "picture_4", "replicates"]
    assert [path.name for path in written[1:]] == [f"{stem}.{kind}" for stem in stems for kind in ("png", "pdf")]
    assert {path.name for path in written[0].parent.iterdir()} == {path.name for path in written}  # nothing temporary
    for path in written[1:]:
        assert path.read_bytes().startswith(b"\x89PNG" if path.suffix == ".png" else b"%PDF-")
    height, width = imread(written[1]).shape[:2]
    assert width >= 150 * 6 and height >= 150 * 4  # 150 dots per inch


def test_the_page_needs_nothing_but_itself(written: list[Path]) -> None:
    page = Page(written[0])
    assert [base64.b64decode(image.removeprefix("data:image/png;base64,")) for image in page.images] == [
        path.read_bytes() for path in written if path.suffix == ".png"
    ]
    assert not {"link", "iframe", "object"} & page.tags
    source = written[0].read_text()
    assert not any(link in source for link in ("http:", "https:", "@import", "url("))
    assert "//" not in "".join(value for value in page.attributes if not value.startswith("data:"))
    assert "width=device-width, initial-scale=1" in page.attributes


def test_markup_in_names_and_messages_stays_text(make_store: Maker, tmp_path: Path) -> None:
    title, label = '"It\'s" {{ 7 * 7 }} </title>', "<script>alert(1)</script>"
    target, message = "' onload=alert(2)", "<b>"
    text = PLAIN.replace('"Plain"', f"'''{title}'''").replace('"wave"', f'{{ name = "wave", label = "{target}" }}')
    text = text.replace('"adam"', f'{{ name = "adam", label = "{label}" }}')
    path = report.write(make_store(text, lambda cell: record(cell, message=message)), tmp_path / "report")[0]
    page, source = Page(path), path.read_text()
    assert source.count("<script>") == 1 and source.count("</script>") == 1 and "b" not in page.tags
    assert page.text.count(title) == 3 and label in page.text and "onload" not in page.names  # title, heading, study
    assert any(target in value for value in page.attributes)  # the text of a figure
    assert [row[2] for row in page.tables[-2]] == ["message", message]


def test_an_installed_package_has_the_templates() -> None:
    settings, folder = ConfigParser(), Path(report.__file__).parent
    settings.read(folder.parents[2] / "setup.cfg")
    patterns = settings["options.package_data"]["hpcsweep.findings.report"].split()
    installed = {path for pattern in patterns for path in folder.glob(pattern)}
    assert installed == {path for path in folder.rglob("*") if path.is_file() and not path.match("*.py*")} != set()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A store of four cells without weights, and the files of its report."""
    folder = tmp_path_factory.mktemp("plain")
    store = make(folder / "results.h5", PLAIN + WITHOUT)
    return store, report.write(store, folder / "report")


def test_the_summary_has_the_numbers(plain: tuple[Path, list[Path]]) -> None:
    text = Page(plain[1][0]).text
    best = min(error(cell) for cell in cells_of(PLAIN)[1])
    assert "4 cells: 4 done." in text
    assert "The ratio of the sup-norm to the L2 error has a median of 5 and a maximum of 5." in text
    assert f"For wave in 1-D, the smallest sup-norm error is {best:.3g}: mlp, depth 1, width 8, " in text
    assert "trained with adam on 10 samples" in text
    assert "Sup-norm errors are the largest errors found and thus lower bounds; no upper bound has been proved." in text
    assert "No network of one variable is pictured because no slices were stored" in text


def test_a_report_is_replaced_whole(plain: tuple[Path, list[Path]]) -> None:
    store, files = plain
    files[0].write_text("an old page of hpcsweep")
    assert report.write(store, files[0].parent) == files
    assert "4 cells: 4 done." in Page(files[0]).text
    assert {path.name for path in files[0].parent.iterdir()} == {path.name for path in files}


def test_the_best_of_each_target_and_dimension(written: list[Path]) -> None:
    best = Page(written[0]).tables[2]  # after the targets and what was trained
    assert [row[:2] for row in best[1:]] == [["bumps", "1"], ["bumps", "2"], ["wave", "1"], ["wave", "2"]]
    for target, dimension, sup, l2, *_ in best[1:]:
        cells = [c for c in cells_of(STUDY)[1] if (c.target["name"], str(c.dimension)) == (target, dimension)]
        smallest = min(map(error, cells))
        assert (sup, l2) == (f"{smallest:.3g}", f"{smallest / 5:.3g}")


def test_medians_over_replicates(full: Path) -> None:
    rows = tables.medians(series.table(read(full)))
    assert len(rows.rows) == 48 and rows.note == ""
    row = dict(zip(rows.header, rows.rows[0], strict=True))
    chosen = [c for c in cells_of(STUDY)[1] if c.samples == 100 and c.model["hidden"] == [16] and c.dimension == 1]
    errors = sorted(error(c) for c in chosen if (c.target["name"], c.optimizer["name"]) == ("bumps", "adam"))
    expected = [f"{errors[i]:.3g}" for i in (1, 0, 2)]
    assert [row["sup-norm error"], row["smallest"], row["largest"]] == expected
    assert (row["cells"], row["sup/L2"], row["optimizer"], row["samples"]) == ("3", "5", "adam", "100")


def test_few_medians_are_the_best_of_each_target_and_dimension(full: Path) -> None:
    everything = tables.medians(series.table(read(full))).rows
    rows = tables.medians(series.table(read(full)), most=9)
    assert [row[:2] for row in rows.rows] == [[t, d] for t in ("bumps", "wave") for d in "12" for _ in range(2)]
    assert rows.rows == [row for i, row in enumerate(everything) if i % 12 < 2]
    assert "8 of 48 settings" in rows.note


@pytest.fixture
def page_of(make_store: Maker, tmp_path: Path) -> Callable[..., Page]:
    """Make a store, and return the page of its report."""
    return lambda text, records=record: Page(report.write(make_store(text, records), tmp_path / "report")[0])


def failing(cell: Cell) -> Record | None:
    return Record("failed", {"message": "ValueError: <nan> & 'more'"}) if cell.replicate else Record("diverged", {})


def test_only_failures(page_of: Callable[..., Page]) -> None:
    page = page_of(TWO_COUNTS, failing)
    assert not page.images and "8 cells: 4 diverged, 4 failed. Accuracy. No cell has a measured error." in page.text
    first = "wave, 1-D, mlp, depth 1, width 4, 10 samples, adam, replicate"
    assert [row[:4] for row in page.tables[0][1:]] == [
        ["failed", "4", "ValueError: <nan> & 'more'", f"{first} 1"],
        ["diverged", "4", "no message", f"{first} 0"],
    ]


def test_nothing_done_yet(page_of: Callable[..., Page]) -> None:
    page = page_of(TWO_COUNTS, lambda cell: None)
    assert "8 cells: 8 pending. Accuracy. No cell has a measured error." in page.text
    assert len(page.tables) == 1  # the launches


def test_half_done(page_of: Callable[..., Page]) -> None:
    def half(cell: Cell) -> Record | None:
        changes = {"status": "out of budget", "message": "100 s over"} if cell.samples == 100 else {"sup_lower": np.nan}
        return None if cell.model["hidden"] == [8] else record(cell, **changes)

    page = page_of(TWO_COUNTS, half)
    assert "8 cells: 4 pending, 2 done, 2 out of budget." in page.text
    assert "In 2 cells, the error is not finite everywhere." in page.text
    assert "Errors are not drawn against samples" in page.text and "is pictured because" not in page.text
    assert ["out of budget", "2", "100 s over"] in [row[:3] for row in page.tables[-2]]


@pytest.mark.parametrize(
    ("dimensions", "reason"),
    [("2", "no one-dimensional cells."), ("[1, 2]", "no one-dimensional cell has been measured")],
)
def test_it_says_why_there_is_no_picture(dimensions: str, reason: str, page_of: Callable[..., Page]) -> None:
    text = PLAIN.replace("dimension = 1", f"dimension = {dimensions}")
    page = page_of(text, lambda cell: record(cell) if cell.dimension == 2 else None)
    assert reason in page.text and len(page.images) >= 1


@pytest.mark.parametrize(
    ("excess", "words"),
    [
        ((1.2, 1.5), "exceed the lower bound by a factor of 1.2 (median) and of 1.5 at most."),
        (
            (1.0001, 1.5),
            "are about as large as the lower bound in the median, and exceed it by a factor of 1.5 at most.",
        ),
        ((1.0001, 1.001), "are about as large as the lower bound."),
    ],
)
def test_it_says_how_close_bounds_are(excess: tuple[float, float], words: str, make_store: Maker) -> None:
    def bounded(cell: Cell) -> Record:
        return record(cell, certificate=2, sup_upper=error(cell) * excess[cell.parameters == 13 and cell.replicate])

    sentences = dict(summary.sentences(series.table(read(make_store(PLAIN, bounded))), {}))
    assert sentences["How sure."].endswith(f"0 of them to the requested gap. The other bounds {words}")


def test_where_it_comes_from(written: list[Path]) -> None:
    page = Page(written[0])
    launch = page.tables[-1][1]
    assert launch[0] == "2025-06-15 15:06 UTC" and launch[2:] == ["node017", "4821", "2", "2 x GPU", "hpcsweep 0.1"]
    assert "Training took 0:04:48" in page.text  # 144 cells of 2 s
    assert " ".join(STUDY.split()) in page.text


def test_many_messages_are_counted(make_store: Maker) -> None:
    def counted(cell: Cell) -> Record:
        return Record("diverged", {"message": f"at step {cell.replicate % 60}"})

    path = make_store(TWO_COUNTS.replace("replicate = 2", "replicate = 70"), counted)
    rows = tables.messages(series.table(read(path)))
    assert len(rows.rows) == 50 and rows.note == "50 of 60 different messages."
    assert [row[1] for row in rows.rows] == ["8"] * 10 + ["4"] * 40


def test_a_folder_that_cannot_be_written(make_store: Maker, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        report.write(make_store(TWO_COUNTS, failing), tmp_path / "file" / "report")
