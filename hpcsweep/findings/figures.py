"""One function, one figure: from a dataset to a matplotlib `Figure`, which the caller saves or shows.

Here are the error curves; the pictures of single networks come from `hpcsweep.findings.pictures`. Only measured cells
enter a figure; its footnote counts the others.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from hpcsweep.findings import series, sheet
from hpcsweep.findings.dataset import left_out, sentence
from hpcsweep.findings.pictures import picture, pictures

if TYPE_CHECKING:
    from pandas import DataFrame, Series

__all__ = ["picture", "pictures", "sup_against_samples", "sup_against_weights"]

MOST_ROWS, MOST_COLUMNS, WRAP = 6, 6, 3  # panels of one figure; WRAP: beside each other where only one thing varies
MOST_BANDS = 4  # lines of a figure that still have a band of their range each; more have whiskers only
MARKERS = "osD^v<>ph"
STYLES = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)))
Panel = tuple[str, int]  # target and dimension
Place = tuple[int, int]  # row and column
AXIS_LABELS = {"parameters": "trainable parameters", "samples": "training samples"}


@dataclass(frozen=True)
class _Choice:
    """What a figure shows: cells of `series.Table` over the column `x`, with the column `held` as fixed as can be."""

    cells: DataFrame
    x: str
    held: str
    title: str
    about: str

    @property
    def measured(self) -> DataFrame:
        return self.cells[self.cells["measured"]]


def sup_against_weights(dataset: xarray.Dataset) -> Figure:
    """Draw the sup-norm error over the number of trainable parameters, one panel for each target and dimension.

    Of each network size, the cells with the most samples that the study asks for enter. A line is the median over
    replicates, its bands or whiskers their whole range; see `hpcsweep.findings.series` for what makes a line.
    """
    table = series.table(dataset)
    chosen = _largest(table.cells, "samples", ["target", "dimension", "parameters"])
    title = f"Sup-norm error against weights, at {_span(chosen['samples'])} samples"
    about = "The largest sample count of each network"
    return _curves(dataset, table.lines, _Choice(chosen, "parameters", "samples", title, about))


def sup_against_samples(dataset: xarray.Dataset) -> Figure:
    """Draw the sup-norm error over the number of training samples, one panel for each target and dimension.

    Of each family and depth, the largest networks enter. Lines, bands and whiskers are as in `sup_against_weights`.
    """
    table = series.table(dataset)
    chosen = _largest(table.cells, "parameters", ["target", "dimension", "family", "depth"])
    widths, parameters = _span(chosen["width"]), f"{_span(chosen['parameters'])} parameters"
    title = f"Sup-norm error against samples, at {parameters if widths == '0' else f'width {widths}'}"
    about = f"The largest networks of each depth, {parameters}"
    return _curves(dataset, table.lines, _Choice(chosen, "samples", "width", title, about))


def _largest(cells: DataFrame, column: str, within: list[str]) -> DataFrame:
    """Return the cells with the largest value of `column` among those that agree in the columns `within`.

    Cells that are not measured count, so that a figure of an unfinished study does not compare unlike with unlike.
    """
    return cells[cells[column] == cells.groupby(within, dropna=False)[column].transform("max")]


def _span(values: Series) -> str:
    """Say the range of integers."""
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _curves(dataset: xarray.Dataset, lines: list[series.Line], choice: _Choice) -> Figure:
    """Draw the median error of the chosen cells, a panel for each target and dimension."""
    chosen = choice.cells
    panels = list(chosen.groupby(["target", "dimension"], sort=False).groups)
    places = _arrange(panels)
    looks = {number: _look(number, lines[number]) for number in sorted(chosen["line"].unique())}
    handles = [Line2D([], [], **look) for look in looks.values()]
    rows, columns = (1 + max(place[i] for place in places.values()) for i in (0, 1))
    size = (6.6, 4) if len(places) == 1 else (0.5 + 2.8 * columns, 0.5 + 2.3 * rows)
    figure = sheet.make(*size, _heading(dataset, choice, len(panels) - len(places)), handles)
    for (target, dimension), axes in _grid(figure, places, choice).items():
        cells = chosen[(chosen["target"] == target) & (chosen["dimension"] == dimension)]
        title = f"{target}, {dimension}-D{_held(choice, cells)}"
        sheet.title(axes, textwrap.fill(title, 70 if len(places) == 1 else 36, break_long_words=False))
        _mark(axes, np.unique(cells[choice.x]))
        _draw(axes, cells[cells["measured"]], choice.x, looks)
    figure.align_ylabels()
    return figure


def _held(choice: _Choice, cells: DataFrame) -> str:
    """Say what the cells of one panel hold fixed, where the panels do not agree in it."""
    spans = choice.cells.groupby(["target", "dimension"])[choice.held].agg(_span)
    return f", {choice.held} {_span(cells[choice.held])}" if spans.nunique() > 1 else ""


def _heading(dataset: xarray.Dataset, choice: _Choice, undrawn: int) -> sheet.Heading:
    """Return the words of a figure."""
    missing = sentence(left_out(dataset.sel(cell=choice.cells.index)), len(choice.cells))
    panels = f"{undrawn} further panels are not drawn." if undrawn else ""
    footnote = " ".join(filter(None, ["Errors are in the units of the target.", missing, panels]))
    return sheet.Heading(choice.title, f"{choice.about}; {_repetitions(choice)}.", footnote)


def _arrange(panels: list[Panel]) -> dict[Panel, Place]:
    """Return the place of each panel: a matrix of targets and dimensions, or wrapped if only one of them varies."""
    targets, dimensions = list(dict.fromkeys(t for t, _ in panels)), sorted({d for _, d in panels})
    if min(len(targets), len(dimensions)) == 1:
        columns = 2 if len(panels) == 4 else WRAP
        return {panel: divmod(i, columns) for i, panel in enumerate(panels[: MOST_ROWS * columns])}
    places = {(t, d): (targets.index(t), dimensions.index(d)) for t, d in panels}
    return {panel: place for panel, place in places.items() if place[0] < MOST_ROWS and place[1] < MOST_COLUMNS}


def _grid(figure: Figure, places: Mapping[Panel, Place], choice: _Choice) -> dict[Panel, Axes]:
    """Return the labelled axes of each panel; those of one target share their error axis: dimensions compare."""
    rows, columns = (1 + max(place[i] for place in places.values()) for i in (0, 1))
    grid = figure.add_gridspec(rows, columns)
    lowest = {column: row for row, column in sorted(places.values())}
    leftmost = {row: column for row, column in sorted(places.values(), reverse=True)}
    first: dict[str, Axes] = {}
    made = {}
    for (target, dimension), (row, column) in places.items():
        axes = figure.add_subplot(grid[row, column], sharey=first.get(target))
        axes.set(xscale="log", yscale="log")
        sheet.style(axes)
        errors = choice.measured.loc[choice.measured["target"] == target, "sup_lower"]
        if errors.max() > 100 * errors.min():  # powers of ten are enough, and half the drawing time
            axes.yaxis.set_minor_locator(NullLocator())
        if row == lowest[column]:
            axes.set_xlabel(AXIS_LABELS[choice.x], **sheet.LABEL)
        if column == leftmost[row]:
            axes.set_ylabel(_error_label(choice.measured), **sheet.LABEL)
        elif target in first:
            axes.tick_params(axis="y", which="both", labelleft=False)
        first.setdefault(target, axes)
        made[target, dimension] = axes
    return made


def _look(number: int, line: series.Line) -> dict[str, Any]:
    """Return how a line is drawn, in the panels and in the legend.

    Its first factor is the colour, the others the style; where colours run out, the next round has other styles. All
    markers differ, for prints in grey.
    """
    rounds, colour = divmod(line.first, len(sheet.PALETTE))
    return {
        "label": sheet.plain(line.label),
        "color": sheet.PALETTE[colour],
        "linestyle": STYLES[(line.rest + rounds) % len(STYLES)],
        "linewidth": 1.5,
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 5,
        "markeredgecolor": "white",
        "markeredgewidth": 0.6,
    }


def _draw(axes: Axes, cells: DataFrame, x: str, looks: Mapping[int, dict[str, Any]]) -> None:
    """Draw the lines of one panel."""
    if not len(cells):
        axes.text(0.5, 0.5, "nothing measured", transform=axes.transAxes, ha="center", color=sheet.GREY, size=8)
    for number, look in looks.items():
        errors = cells[cells["line"] == number].groupby(x)["sup_lower"]
        if not len(errors):
            continue
        positions, ends = list(errors.groups), (errors.min(), errors.max())
        if len(looks) <= MOST_BANDS and len(positions) > 1:
            axes.fill_between(positions, *ends, color=look["color"], alpha=0.13, linewidth=0)
        axes.vlines(positions, *ends, color=look["color"], alpha=0.5, linewidth=1)
        axes.plot(positions, errors.median(), **look)


def _mark(axes: Axes, positions: np.ndarray) -> None:
    """Set the range of the axis below, and write values of the data there unless they span many powers of ten."""
    margin = max(1.2, (positions[-1] / positions[0]) ** 0.08)
    axes.set_xlim(positions[0] / margin, positions[-1] * margin)
    room = (positions[-1] / positions[0]) ** 0.16  # for one number
    written = [positions[0]]
    for position in positions[1:]:
        written += [position] if position >= room * written[-1] else []
    if len(written) == len(positions) or positions[-1] < 100 * positions[0]:
        axes.xaxis.set_major_locator(FixedLocator(written))
        axes.xaxis.set_major_formatter(FixedFormatter([f"{position:,}" for position in written]))
        axes.xaxis.set_minor_locator(NullLocator())


def _repetitions(choice: _Choice) -> str:
    """Say over how many cells the medians are taken."""
    counts = choice.measured.groupby(["target", "dimension", "line", choice.x]).size()
    if not len(counts):
        return "nothing is measured"
    return "one replicate each" if counts.max() == 1 else f"median and range over {_span(counts)} replicates"


def _error_label(measured: DataFrame) -> str:
    """Name the error axis; only where every cell has a proved upper bound may it leave out that it is a lower one."""
    proved = len(measured) and measured["sup_upper"].lt(math.inf).all()
    return "sup-norm error" if proved else "sup-norm error (lower bound)"
