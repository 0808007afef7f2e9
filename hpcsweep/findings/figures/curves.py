"""Error curves: the median over replicates, with the whole range, over weights or samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpcsweep.findings import series, sheet
from hpcsweep.findings.figures import panels
from hpcsweep.findings.series import largest

if TYPE_CHECKING:
    from pandas import DataFrame, Series

MOST_BANDS = 4  # lines of a figure that still have a band of their range each; more have whiskers only
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
    chosen = largest(table.cells, "samples", ["target", "dimension", "parameters"])
    title = f"Sup-norm error against weights, at {_span(chosen['samples'])} samples"
    about = "The largest sample count of each network"
    return _curves(dataset, table.lines, _Choice(chosen, "parameters", "samples", title, about))


def sup_against_samples(dataset: xarray.Dataset) -> Figure:
    """Draw the sup-norm error over the number of training samples, one panel for each target and dimension.

    Of each family and depth, the largest networks enter. Lines, bands and whiskers are as in `sup_against_weights`.
    """
    table = series.table(dataset)
    chosen = largest(table.cells, "size", ["target", "dimension", "family", "depth"])
    widths, parameters = _span(chosen["width"]), f"{_span(chosen['parameters'])} parameters"
    title = f"Sup-norm error against samples, at {parameters if widths == '0' else f'width {widths}'}"
    about = f"The largest networks of each depth, {parameters}"
    return _curves(dataset, table.lines, _Choice(chosen, "samples", "width", title, about))


def _span(values: Series) -> str:
    """Say the range of integers; 0, the width of what has no layers, counts only where there is nothing else."""
    values = values[values > 0] if (values > 0).any() else values
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _curves(dataset: xarray.Dataset, lines: list[series.Line], choice: _Choice) -> Figure:
    """Draw the median error of the chosen cells, a panel for each target and dimension."""
    chosen = choice.cells
    all_panels = panels.panels_of(chosen)
    places = panels.arrange(all_panels)
    looks = panels.looks(lines, chosen["line"].unique())
    heading = _heading(dataset, choice, len(all_panels) - len(places))
    figure = panels.make(places, heading, panels.handles(looks.values()))
    labels = (AXIS_LABELS[choice.x], _error_label(choice.measured))
    for panel, axes in panels.grid(figure, places, choice.measured, labels).items():
        cells = panels.of(chosen, panel)
        panels.title(axes, f"{panel[0]}, {panel[1]}-D{_held(choice, cells)}", len(places) == 1)
        panels.mark(axes, np.unique(cells[choice.x]))
        _draw(axes, cells[cells["measured"]], choice.x, looks)
    figure.align_ylabels()
    return figure


def _held(choice: _Choice, cells: DataFrame) -> str:
    """Say what the cells of one panel hold fixed, where the panels do not agree in it."""
    spans = choice.cells.groupby(["target", "dimension"])[choice.held].agg(_span)
    return f", {choice.held} {_span(cells[choice.held])}" if spans.nunique() > 1 else ""


def _heading(dataset: xarray.Dataset, choice: _Choice, undrawn: int) -> sheet.Heading:
    """Return the words of a figure."""
    footnote = panels.footnote(dataset, choice.cells, undrawn)
    return sheet.Heading(choice.title, f"{choice.about}; {_repetitions(choice)}.", footnote)


def _draw(axes: Axes, cells: DataFrame, x: str, looks: Mapping[int, dict[str, Any]]) -> None:
    """Draw the lines of one panel."""
    if not len(cells):
        panels.empty(axes)
    for number, look in looks.items():
        errors = cells[cells["line"] == number].groupby(x)["sup_lower"]
        if not len(errors):
            continue
        positions, ends = list(errors.groups), (errors.min(), errors.max())
        if len(looks) <= MOST_BANDS and len(positions) > 1:
            axes.fill_between(positions, *ends, color=look["color"], alpha=0.13, linewidth=0)
        axes.vlines(positions, *ends, color=look["color"], alpha=0.5, linewidth=1)
        axes.plot(positions, errors.median(), **look)


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
