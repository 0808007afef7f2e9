"""The figures of a report, chapter by chapter, each with its file name and caption."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import numpy as np
import xarray
from matplotlib.figure import Figure

from hpcsweep.findings import figures, scaling, series, tables
from hpcsweep.findings.dataset import Files
from hpcsweep.findings.figures.pictures import choose
from hpcsweep.findings.report import answers
from hpcsweep.findings.report.page import caption


class Chapter(StrEnum):
    """The titles of the sections that have figures, in their order; leads.html.jinja has a paragraph by each name."""

    WEIGHTS = "How many weights?"
    SAMPLES = "How many samples?"
    METHODS = "Which training method?"
    AVERAGE = "How far is the worst from the average?"
    PROOFS = "How sure are these errors?"
    PLACES = "Where are the networks wrong?"
    CHANCE = "Chance and cost"


@dataclass(frozen=True)
class ReportFigure:
    """A figure with its chapter, file name and caption."""

    chapter: Chapter
    name: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Source:
    """What figures are drawn from."""

    dataset: xarray.Dataset
    table: series.Table
    path: Files
    smoothness: scaling.Smoothness
    laws: answers.Laws


def report_figures(source: Source) -> Iterator[ReportFigure]:
    """Yield the figures that the store has data for, one at a time, in the order of their chapters."""
    if not source.table.cells["measured"].any():
        return
    for chapter in Chapter:
        for name, make in _FIGURES[chapter].items():
            if (figure := make(source)) is not None:
                yield ReportFigure(chapter, name, caption(name), figure)
        if chapter == Chapter.PLACES:
            yield from _pictures(source)


def _pictures(source: Source) -> Iterator[ReportFigure]:
    cells = source.table.cells
    for number, (key, why) in enumerate(choose(source.dataset, source.path), start=1):
        cell = next(cells[cells["key"] == key].itertuples())
        about = f"{tables.describe(cell)}. This cell has {why}; the mark shows where the largest error was found."
        if (figure := figures.picture(source.dataset, source.path, key)) is not None:
            yield ReportFigure(Chapter.PLACES, f"picture_{number}", about, figure)


def _curves(against: str, source: Source) -> Figure | None:
    """Draw errors against weights or samples, unless the figure of the power laws already shows all their lines."""
    fitted = [law for law in source.laws[against]["sup_lower"] if law.law.determined]
    if fitted and _lines(source.table, against) <= {(law.target, law.dimension, law.line) for law in fitted}:
        return None
    make = figures.sup_against_weights if against == "parameters" else figures.sup_against_samples
    figure = make(source.dataset)
    return figure if against == "parameters" or _has_lines(figure) else None


def _lines(table: series.Table, against: str) -> set[tuple[str, int, int]]:
    """Return target, dimension and line of the cells that are measured at two or more sizes."""
    cells = scaling.chosen(table.cells, against)
    sizes = cells[cells["measured"]].groupby(["target", "dimension", "line"])[against].nunique()
    return set(sizes[sizes > 1].index)


def _has_lines(figure: Figure) -> bool:
    return any(np.size(line.get_xdata()) > 1 for axes in figure.axes for line in axes.lines)


def _race_in_flops(source: Source) -> Figure | None:
    """Draw the comparison in arithmetic operations where the study has more than one method."""
    methods = source.table.cells["optimizer"].nunique()
    return figures.optimizer_race(source.dataset, cost="flops") if methods > 1 else None


def _laws(against: str, source: Source) -> Figure | None:
    return figures.scaling_laws(source.dataset, against, smoothness=source.smoothness, beside="l2_error")


_FIGURES: dict[Chapter, dict[str, Callable[[Source], Figure | None]]] = {  # by file name; see captions.html.jinja
    Chapter.WEIGHTS: {
        "scaling_weights": partial(_laws, "parameters"),
        "sup_against_weights": partial(_curves, "parameters"),
    },
    Chapter.SAMPLES: {
        "scaling_samples": partial(_laws, "samples"),
        "sup_against_samples": partial(_curves, "samples"),
    },
    Chapter.METHODS: {
        "optimizer_race": lambda source: figures.optimizer_race(source.dataset),
        "optimizer_race_flops": _race_in_flops,
        "scaling_seconds": partial(_laws, "train_seconds"),
    },
    Chapter.AVERAGE: {
        "sup_against_l2": lambda source: figures.sup_against_l2(source.dataset),
        "uniform_points": lambda source: figures.uniform_points(source.dataset),
    },
    Chapter.PROOFS: {"brackets": lambda source: figures.brackets(source.dataset)},
    Chapter.PLACES: {
        "glitches": lambda source: figures.glitches(source.dataset, source.path),
        "places": lambda source: figures.worst_points(source.dataset),
        "error_maps": lambda source: figures.error_maps(source.dataset, source.path),
    },
    Chapter.CHANCE: {
        "replicates": lambda source: figures.replicates(source.dataset),
        "costs": lambda source: figures.costs(source.dataset),
    },
}
