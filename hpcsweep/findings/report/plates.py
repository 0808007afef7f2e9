"""The figures of a report, chapter by chapter, each with its file name and caption."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import xarray
from matplotlib.figure import Figure

from hpcsweep.findings import figures, scaling, series, tables
from hpcsweep.findings.dataset import Files
from hpcsweep.findings.figures import gallery, maps
from hpcsweep.findings.figures.pictures import choose, picture
from hpcsweep.findings.report import answers

WEIGHTS, SAMPLES, METHODS = "How many weights?", "How many samples?", "Which training method?"
AVERAGE, PROOFS = "How far is the worst from the average?", "How sure are these errors?"
PLACES, CHANCE = "Where are the networks wrong?", "Chance and cost"
CHAPTERS = (WEIGHTS, SAMPLES, METHODS, AVERAGE, PROOFS, PLACES, CHANCE)
LINES = "Lines are medians over replicates, bands and whiskers the whole range."
LAWS = (
    "Straight lines are power laws fitted to the medians over replicates, with 95 % intervals of their exponents; "
    "whiskers reach over all replicates. Where errors saturate, the sizes beyond are left out (open marks)."
)


@dataclass(frozen=True)
class Plate:
    """A figure with its chapter, file name and caption."""

    chapter: str
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


def plates(source: Source) -> Iterator[Plate]:
    """Yield the figures that the store has data for, one at a time, in the order of their chapters."""
    if not source.table.cells["measured"].any():
        return
    for chapter in CHAPTERS:
        for name, caption, make in _SKETCHES[chapter]:
            if (figure := make(source)) is not None:
                yield Plate(chapter, name, caption, figure)
        if chapter == PLACES:
            yield from _pictures(source)


def _pictures(source: Source) -> Iterator[Plate]:
    cells = source.table.cells
    for number, (key, why) in enumerate(choose(source.dataset, source.path), start=1):
        cell = next(cells[cells["key"] == key].itertuples())
        caption = f"{tables.describe(cell)}. This cell has {why}; the mark is where the meter found it."
        if (figure := picture(source.dataset, source.path, key)) is not None:
            yield Plate(PLACES, f"picture_{number}", caption, figure)


def _curves(against: str, source: Source) -> Figure | None:
    """Draw errors against weights or samples, unless the figure of the laws has all lines that run along these."""
    fitted = source.laws[against]["sup_lower"]
    if fitted and _lines(source.table, against) <= {(law.target, law.dimension, law.line) for law in fitted}:
        return None
    make = figures.sup_against_weights if against == "parameters" else figures.sup_against_samples
    figure = make(source.dataset)
    return figure if against == "parameters" or _has_lines(figure) else None


def _lines(table: series.Table, against: str) -> set[tuple[str, int, int]]:
    """Return target, dimension and line of the cells that are measured at two sizes at least."""
    cells = scaling.chosen(table.cells, against)
    sizes = cells[cells["measured"]].groupby(["target", "dimension", "line"])[against].nunique()
    return set(sizes[sizes > 1].index)


def _has_lines(figure: Figure) -> bool:
    return any(np.size(line.get_xdata()) > 1 for axes in figure.axes for line in axes.lines)


def _race_in_flops(source: Source) -> Figure | None:
    """Draw the race in arithmetic, where there is more than one method to race."""
    methods = source.table.cells["optimizer"].nunique()
    return figures.optimizer_race(source.dataset, cost="flops") if methods > 1 else None


def _laws(against: str, source: Source) -> Figure | None:
    return figures.scaling_laws(source.dataset, against, smoothness=source.smoothness, beside="l2_error")


def _drawn(make: Callable[[xarray.Dataset], Figure | None]) -> Callable[[Source], Figure | None]:
    return lambda source: make(source.dataset)


def _looked_at(make: Callable[[xarray.Dataset, Files], Figure | None]) -> Callable[[Source], Figure | None]:
    return lambda source: make(source.dataset, source.path)


_SKETCHES: dict[str, tuple[tuple[str, str, Callable[[Source], Figure | None]], ...]] = {
    WEIGHTS: (
        ("scaling_weights", f"How the largest error falls with weights. {LAWS}", partial(_laws, "parameters")),
        (
            "sup_against_weights",
            f"The largest error of each network against the number of its weights and biases. {LINES}",
            partial(_curves, "parameters"),
        ),
    ),
    SAMPLES: (
        ("scaling_samples", f"How the largest error falls with samples. {LAWS}", partial(_laws, "samples")),
        (
            "sup_against_samples",
            f"The largest error against the number of training samples, for the largest networks. {LINES}",
            partial(_curves, "samples"),
        ),
    ),
    METHODS: (
        (
            "optimizer_race",
            "Which training method reaches which error first: every network by the time that its training took.",
            _drawn(partial(figures.optimizer_race, cost="train_seconds")),
        ),
        (
            "optimizer_race_flops",
            "The same race in arithmetic, which no machine's speed and no companion in a pack changes.",
            _race_in_flops,
        ),
        ("scaling_seconds", f"How the largest error falls with training time. {LAWS}", partial(_laws, "train_seconds")),
    ),
    AVERAGE: (
        (
            "sup_against_l2",
            "The largest error against the root mean square: how far an average is from the worst.",
            _drawn(figures.sup_against_l2),
        ),
        (
            "uniform_points",
            "What a study that takes the maximum over random points would have reported of the same networks.",
            _drawn(figures.uniform_points),
        ),
    ),
    PROOFS: (
        (
            "brackets",
            "Between the largest error found and the proved upper bound lies the true sup-norm error, for every cell.",
            _drawn(figures.brackets),
        ),
    ),
    PLACES: (
        (
            "glitches",
            "The worst networks, of different targets and methods where there are enough: each beside its target and "
            "its training samples, and close to where the meter found its largest error.",
            _looked_at(gallery.glitches),
        ),
        (
            "places",
            "Where the largest error was found: on the boundary, in a gap between training samples, or elsewhere "
            "inside.",
            _drawn(figures.places),
        ),
        (
            "error_maps",
            "|target − network| over the domain, for the best network of each method in two dimensions.",
            _looked_at(maps.error_maps),
        ),
    ),
    CHANCE: (
        (
            "replicates",
            "How much the sup-norm error depends on chance: weights and samples drawn anew.",
            _drawn(figures.replicates),
        ),
        (
            "costs",
            "The time that cells took against the time that was predicted when they were planned.",
            _drawn(figures.costs),
        ),
    ),
}
