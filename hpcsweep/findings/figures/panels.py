"""What figures with a panel for each target and dimension share: where the panels stand, and how lines look."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from hpcsweep.findings import series, sheet
from hpcsweep.findings.dataset import left_out, sentence

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_ROWS, MOST_COLUMNS, WRAP = 6, 6, 3  # panels of one figure; WRAP: beside each other where only one thing varies
MARKERS = "osD^v<>ph"
STYLES = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)))
UNITS = "Errors are in the units of the target."
DENSE = 2000  # marks from which on the PDF has them as an image
CHUNK = 1000  # bars of one path
Panel = tuple[str, int]  # target and dimension
Place = tuple[int, int]  # row and column


def panels_of(cells: DataFrame) -> list[Panel]:
    """Return the targets and dimensions of cells, in their order."""
    return list(cells.groupby(["target", "dimension"], sort=False).groups)


def of(cells: DataFrame, panel: Panel) -> DataFrame:
    """Return the cells of a panel."""
    return cells[(cells["target"] == panel[0]) & (cells["dimension"] == panel[1])]


def arrange(panels: list[Panel]) -> dict[Panel, Place]:
    """Return the place of each panel: a matrix of targets and dimensions, or wrapped if only one of them varies."""
    targets, dimensions = list(dict.fromkeys(t for t, _ in panels)), sorted({d for _, d in panels})
    if min(len(targets), len(dimensions)) == 1:
        columns = 2 if len(panels) == 4 else WRAP
        return {panel: divmod(i, columns) for i, panel in enumerate(panels[: MOST_ROWS * columns])}
    places = {(t, d): (targets.index(t), dimensions.index(d)) for t, d in panels}
    return {panel: place for panel, place in places.items() if place[0] < MOST_ROWS and place[1] < MOST_COLUMNS}


def shape(places: Mapping[Panel, Place]) -> tuple[int, int]:
    """Return the numbers of rows and columns."""
    rows, columns = (1 + max(place[i] for place in places.values()) for i in (0, 1))
    return rows, columns


def make(places: Mapping[Panel, Place], heading: sheet.Heading, handles: Sequence[Artist]) -> Figure:
    """Return a sheet with room for the panels."""
    rows, columns = shape(places)
    width, height = (6.6, 4) if len(places) == 1 else (0.5 + 2.8 * columns, 0.5 + 2.3 * rows)
    return sheet.make(width, height, heading, handles)


def grid(
    figure: Figure, places: Mapping[Panel, Place], errors: DataFrame, labels: tuple[str, str]
) -> dict[Panel, Axes]:
    """Return the labelled axes of each panel, logarithmic; those of one target share their error axis.

    `errors` are the columns target and sup_lower of what will be drawn.
    """
    rows, columns = shape(places)
    matrix = figure.add_gridspec(rows, columns)
    lowest = {column: row for row, column in sorted(places.values())}
    leftmost = {row: column for row, column in sorted(places.values(), reverse=True)}
    first: dict[str, Axes] = {}
    made = {}
    for (target, dimension), (row, column) in places.items():
        axes = figure.add_subplot(matrix[row, column], sharey=first.get(target))
        axes.set(xscale="log", yscale="log")
        sheet.style(axes)
        own = errors.loc[errors["target"] == target, "sup_lower"]
        if own.max() > 100 * own.min():  # powers of ten are enough, and half the drawing time
            axes.yaxis.set_minor_locator(NullLocator())
        if row == lowest[column]:
            axes.set_xlabel(labels[0], **sheet.LABEL)
        if column == leftmost[row]:
            axes.set_ylabel(labels[1], **sheet.LABEL)
        elif target in first:
            axes.tick_params(axis="y", which="both", labelleft=False)
        first.setdefault(target, axes)
        made[target, dimension] = axes
    return made


def title(axes: Axes, text: str, alone: bool) -> None:
    """Write the title of a panel, in more than one line if need be."""
    sheet.title(axes, textwrap.fill(text, 70 if alone else 36, break_long_words=False))


def footnote(dataset: xarray.Dataset, cells: DataFrame, undrawn: int = 0, more: str = "") -> str:
    """Say what a figure of these cells leaves out."""
    missing = sentence(left_out(dataset.sel(cell=cells.index)), len(cells))
    panels = f"{undrawn} further panels are not drawn." if undrawn else ""
    return " ".join(filter(None, [more, UNITS, missing, panels]))


def look(number: int, line: series.Line) -> dict[str, Any]:
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


def looks(lines: list[series.Line], numbers: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Return how the lines of these numbers are drawn."""
    return {number: look(number, lines[number]) for number in sorted(numbers)}


def dots(line: Mapping[str, Any], size: float = 3.2) -> dict[str, Any]:
    """Return how single cells of a line are drawn: its colour and marker, small, without a line."""
    return {
        "color": line["color"],
        "marker": line["marker"],
        "markersize": size,
        "linestyle": "",
        "alpha": 0.65,
        "markeredgewidth": 0,
    }


def handles(found: Iterable[Mapping[str, Any]]) -> list[Line2D]:
    """Return what the legend shows of each."""
    return [Line2D([], [], **one) for one in found]


def bars(axes: Axes, positions: np.ndarray, low: np.ndarray, high: np.ndarray, **look: Any) -> None:
    """Draw vertical bars; where they are many, as few long paths with gaps, in a tenth of the time of `vlines`."""
    if len(positions) <= DENSE:
        axes.vlines(positions, low, high, **look)
        return
    gaps = np.full(len(positions), np.nan)
    x, y = (np.stack(columns, axis=1) for columns in ((positions, positions, gaps), (low, high, gaps)))
    for start in range(0, len(positions), CHUNK):
        piece = slice(start, start + CHUNK)
        axes.plot(x[piece].ravel(), y[piece].ravel(), **look, solid_capstyle="butt", rasterized=True)


def mark(axes: Axes, positions: np.ndarray) -> None:
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


def tick(axis: Axis) -> None:
    """Write few numbers along a logarithmic axis: powers of ten, or 1, 2, 5 times them where they are few."""
    low, high = axis.get_view_interval()
    decades = np.log10(high / low) if low > 0 else 0
    axis.set_minor_formatter(NullFormatter())
    if decades < 2:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 1.7 else (1, 3)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if 1e-4 < value < 1e4 else f"{value:.0e}"))


def empty(axes: Axes, words: str = "nothing measured") -> None:
    """Say that a panel has nothing to show."""
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", color=sheet.GREY, size=8)
