"""Error curves: the median over replicates, with the whole range, over weights or samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpcsweep.findings import scaling, series
from hpcsweep.findings.figures import panels
from hpcsweep.findings.style import Heading, Look

if TYPE_CHECKING:
    from pandas import DataFrame, Series

MOST_BANDS = 4  # lines of a figure that still have a band of their range each; more have whiskers only
AXIS_LABELS = {"parameters": "trainable parameters", "samples": "training samples"}


@dataclass(frozen=True)
class _Selection:
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
    chosen = scaling.chosen(table.cells, "parameters")
    title = f"Sup-norm error against weights, at {_span(chosen['samples'])} samples"
    about = "The largest sample count of each network and line"
    return _curves(dataset, table.lines, _Selection(chosen, "parameters", "samples", title, about))


def sup_against_samples(dataset: xarray.Dataset) -> Figure:
    """Draw the sup-norm error over the number of training samples, one panel for each target and dimension.

    The widest network of each line that has several sample counts enters. Lines, bands and whiskers are as in
    `sup_against_weights`.
    """
    table = series.table(dataset)
    chosen = scaling.chosen(table.cells, "samples")
    widths, parameters = _span(chosen["width"]), f"{_span(chosen['parameters'])} parameters"
    title = f"Sup-norm error against samples, at {parameters if widths == '0' else f'width {widths}'}"
    about = f"The widest network of each line that has several sample counts, {parameters}"
    return _curves(dataset, table.lines, _Selection(chosen, "samples", "width", title, about))


def _span(values: Series) -> str:
    """Say the range of integers; 0, the width of what has no layers, counts only where there is nothing else."""
    values = values[values > 0] if (values > 0).any() else values
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _curves(dataset: xarray.Dataset, lines: list[series.Line], chosen: _Selection) -> Figure:
    """Draw the median error of the chosen cells, a panel for each target and dimension."""
    cells, measured = chosen.cells, chosen.measured
    looks = panels.looks(lines, cells["line"].unique())
    about = f"{chosen.about}; {_repetitions(chosen)}. {series.activations(cells)}".strip()
    heading = Heading(chosen.title, about, panels.UNITS)
    labels, handles = (AXIS_LABELS[chosen.x], _error_label(measured)), panels.handles(looks.values())
    held = cells.groupby(["target", "dimension"])[chosen.held].agg(_span)
    differs = held.nunique() > 1  # then each panel says what it holds

    def title(panel: panels.Panel) -> str:
        return f"{panels.name(panel)}, {chosen.held} {held[panel]}" if differs else panels.name(panel)

    every = panels.panels_of(cells)
    figure, grid = panels.make(dataset, cells, every, measured, labels, heading, handles, title)
    for panel, axes in grid.items():
        panels.mark(axes, np.unique(panels.of(cells, panel)[chosen.x]))
        _draw(axes, panels.of(measured, panel), chosen.x, looks)
    return figure


def _draw(axes: Axes, cells: DataFrame, x: str, looks: Mapping[int, Look]) -> None:
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


def _repetitions(chosen: _Selection) -> str:
    """Say over how many cells the medians are taken."""
    counts = chosen.measured.groupby(["target", "dimension", "line", chosen.x]).size()
    if not len(counts):
        return "nothing is measured"
    return "one replicate each" if counts.max() == 1 else f"median and range over {_span(counts)} replicates"


def _error_label(measured: DataFrame) -> str:
    """Name the error axis; only where every cell has a proved upper bound may it leave out that it is a lower one."""
    proved = len(measured) and measured["sup_upper"].lt(math.inf).all()
    return "sup-norm error" if proved else "sup-norm error (lower bound)"
