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
from hpcsweep.findings.figures import gallery, maps
from hpcsweep.findings.figures.pictures import choose, picture
from hpcsweep.findings.report import answers

LINES = "Lines are medians over replicates; bands and whiskers show the full range."
LAWS = (
    "Straight lines are power laws fitted to the medians over replicates, with 95 % intervals of their exponents; "
    "whiskers span all replicates. Where errors saturate, larger sizes are excluded from the fit (open marks)."
)


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
        for name, caption, make in _FIGURES[chapter]:
            if (figure := make(source)) is not None:
                yield ReportFigure(chapter, name, caption, figure)
        if chapter == Chapter.PLACES:
            yield from _pictures(source)


def _pictures(source: Source) -> Iterator[ReportFigure]:
    cells = source.table.cells
    for number, (key, why) in enumerate(choose(source.dataset, source.path), start=1):
        cell = next(cells[cells["key"] == key].itertuples())
        caption = f"{tables.describe(cell)}. This cell has {why}; the mark shows where the largest error was found."
        if (figure := picture(source.dataset, source.path, key)) is not None:
            yield ReportFigure(Chapter.PLACES, f"picture_{number}", caption, figure)


def _curves(against: str, source: Source) -> Figure | None:
    """Draw errors against weights or samples, unless the figure of the power laws already shows all their lines."""
    fitted = source.laws[against]["sup_lower"]
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


def _of_dataset(make: Callable[[xarray.Dataset], Figure | None]) -> Callable[[Source], Figure | None]:
    return lambda source: make(source.dataset)


def _of_files(make: Callable[[xarray.Dataset, Files], Figure | None]) -> Callable[[Source], Figure | None]:
    return lambda source: make(source.dataset, source.path)


_FIGURES: dict[Chapter, tuple[tuple[str, str, Callable[[Source], Figure | None]], ...]] = {
    Chapter.WEIGHTS: (
        ("scaling_weights", f"The largest error against the number of weights. {LAWS}", partial(_laws, "parameters")),
        (
            "sup_against_weights",
            f"The largest error of each network against its number of weights and biases. {LINES}",
            partial(_curves, "parameters"),
        ),
    ),
    Chapter.SAMPLES: (
        (
            "scaling_samples",
            f"The largest error against the number of samples. {LAWS}",
            partial(_laws, "samples"),
        ),
        (
            "sup_against_samples",
            f"The largest error against the number of training samples, for the largest networks. {LINES}",
            partial(_curves, "samples"),
        ),
    ),
    Chapter.METHODS: (
        (
            "optimizer_race",
            "The error of every network against its training time: which method reaches a given error first.",
            _of_dataset(partial(figures.optimizer_race, cost="train_seconds")),
        ),
        (
            "optimizer_race_flops",
            "The same comparison in arithmetic operations, which do not depend on the machine or on other networks "
            "trained in the same pack.",
            _race_in_flops,
        ),
        ("scaling_seconds", f"The largest error against training time. {LAWS}", partial(_laws, "train_seconds")),
    ),
    Chapter.AVERAGE: (
        (
            "sup_against_l2",
            "The largest error of each network against its root mean square error.",
            _of_dataset(figures.sup_against_l2),
        ),
        (
            "uniform_points",
            "The error that a study using the maximum over random points would have reported for these networks.",
            _of_dataset(figures.uniform_points),
        ),
    ),
    Chapter.PROOFS: (
        (
            "brackets",
            "The true sup-norm error of each cell lies between the largest error found and the proved upper bound.",
            _of_dataset(figures.brackets),
        ),
    ),
    Chapter.PLACES: (
        (
            "glitches",
            "The networks with the largest errors, from different targets and methods where possible: each with its "
            "target and training samples, and enlarged around its largest error.",
            _of_files(gallery.glitches),
        ),
        (
            "places",
            "Where the largest error was found: on the boundary, in a gap between training samples, or elsewhere in "
            "the interior.",
            _of_dataset(figures.worst_points),
        ),
        (
            "error_maps",
            "The error |target − network| over the domain for the best network of each method in two dimensions.",
            _of_files(maps.error_maps),
        ),
    ),
    Chapter.CHANCE: (
        (
            "replicates",
            "How strongly the sup-norm error depends on chance: each replicate draws new weights and samples.",
            _of_dataset(figures.replicates),
        ),
        (
            "costs",
            "The time each cell took against the time predicted when it was planned.",
            _of_dataset(figures.costs),
        ),
    ),
}
