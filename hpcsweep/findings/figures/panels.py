"""What figures with a panel for each target and dimension share: where the panels stand, and how lines look."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from hpcsweep.findings import series, style
from hpcsweep.findings.dataset import left_out, sentence
from hpcsweep.findings.style import Heading, Look

if TYPE_CHECKING:
    from pandas import DataFrame, Series

MOST_ROWS, MOST_COLUMNS, WRAP = 6, 6, 3  # panels of one figure; WRAP: beside each other where only one thing varies
MARKERS = "osD^v<>ph"
STYLES = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)))
UNITS = "Errors are in the units of the target. {}"  # the footnote of most figures
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


def name(panel: Panel) -> str:
    """Return the title of a panel."""
    return f"{panel[0]}, {panel[1]}-D"


def make(
    dataset: xarray.Dataset,
    cells: DataFrame,
    panels: list[Panel],
    errors: DataFrame,
    labels: tuple[str, str],
    heading: Heading,
    handles: Sequence[Artist],
    title_of: Callable[[Panel], str] = name,
) -> tuple[Figure, dict[Panel, Axes]]:
    """Return a figure and the titled, labelled, logarithmic axes of its panels, as many of `panels` as it has room for.

    Parameters
    ----------
    cells: of `series.Table`, those that the figure is about; its footnote counts those without a measured error.
    errors: the columns target and sup_lower of what will be drawn: panels of one target share their error axis.
    heading: the footnote has `{}` where the words of `footnote` belong.
    """
    places = arrange(panels)
    words = " ".join(heading.footnote.format(footnote(dataset, cells, len(panels) - len(places))).split())
    rows, columns = (1 + max(place[i] for place in places.values()) for i in (0, 1))
    width, height = (6.6, 4) if len(places) == 1 else (0.5 + 2.8 * columns, 0.5 + 2.3 * rows)
    figure = style.make(width, height, replace(heading, footnote=words), handles)
    axes = _grid(figure, places, (rows, columns), errors, labels)
    for panel in places:
        style.title(axes[panel], textwrap.fill(title_of(panel), 70 if len(places) == 1 else 36, break_long_words=False))
    figure.align_ylabels()
    return figure, axes


def _grid(
    figure: Figure, places: dict[Panel, Place], shape: tuple[int, int], errors: DataFrame, labels: tuple[str, str]
) -> dict[Panel, Axes]:
    matrix = figure.add_gridspec(*shape)
    lowest = {column: row for row, column in sorted(places.values())}
    leftmost = {row: column for row, column in sorted(places.values(), reverse=True)}
    first: dict[str, Axes] = {}
    grid = {}
    for (target, dimension), (row, column) in places.items():
        axes = figure.add_subplot(matrix[row, column], sharey=first.get(target))
        axes.set(xscale="log", yscale="log")
        style.apply(axes)
        own = errors.loc[errors["target"] == target, "sup_lower"]
        if own.max() > 100 * own.min():  # powers of ten are enough, and half the drawing time
            axes.yaxis.set_minor_locator(NullLocator())
        if row == lowest[column]:
            axes.set_xlabel(labels[0], **style.LABEL)
        if column == leftmost[row]:
            axes.set_ylabel(labels[1], **style.LABEL)
        elif target in first:
            axes.tick_params(axis="y", which="both", labelleft=False)
        first.setdefault(target, axes)
        grid[target, dimension] = axes
    return grid


def footnote(dataset: xarray.Dataset, cells: DataFrame, undrawn: int = 0) -> str:
    """Say what a figure of these cells leaves out."""
    missing = sentence(left_out(dataset.sel(cell=cells.index)), len(cells))
    return f"{missing} {f'{undrawn} further panels are not drawn.' if undrawn else ''}".strip()


def look(number: int, line: series.Line) -> Look:
    """Return how a line is drawn, in the panels and in the legend.

    Its first factor is the colour, the others the style; where colours run out, the next round has other styles. All
    markers differ, for prints in grey.
    """
    rounds, colour = divmod(line.first, len(style.PALETTE))
    return {
        "label": style.plain(line.label),
        "color": style.PALETTE[colour],
        "linestyle": STYLES[(line.rest + rounds) % len(STYLES)],
        "linewidth": 1.5,
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 5,
        "markeredgecolor": "white",
        "markeredgewidth": 0.6,
    }


def looks(lines: list[series.Line], numbers: Iterable[int]) -> dict[int, Look]:
    """Return how the lines of these numbers are drawn."""
    return {number: look(number, lines[number]) for number in sorted(numbers)}


def dots(axes: Axes, x: Series, y: Series, line: Look, size: float = 3.2) -> None:
    """Draw single cells of a line: its colour and marker, small, without a line; many as an image in the PDF."""
    look = {"color": line["color"], "marker": line["marker"], "markersize": size, "linestyle": ""}
    axes.plot(x, y, **look, alpha=0.65, markeredgewidth=0, rasterized=len(x) > DENSE)


def handles(looks: Iterable[Look]) -> list[Line2D]:
    """Return what the legend shows of each."""
    return [Line2D([], [], **look) for look in looks]


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
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", color=style.GREY, size=8)
