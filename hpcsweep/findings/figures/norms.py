"""The worst against the average, and how far replicates of one setting differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from hpcsweep.findings import series, style
from hpcsweep.findings.figures import panels
from hpcsweep.findings.style import Heading

if TYPE_CHECKING:
    from pandas import DataFrame

RATIOS = (1, 10, 100, 1000)  # of sup-norm to L2 error, drawn as guides


def sup_against_l2(dataset: xarray.Dataset) -> Figure | None:
    """Draw the sup-norm error over the L2 error of each cell, with lines of equal ratio; None if none is measured."""
    table = series.table(dataset)
    cells = table.cells[table.cells["measured"] & (table.cells["l2_error"] > 0)]
    if not len(cells):
        return None
    looks, ratio = panels.looks(table.lines, cells["line"].unique()), cells["ratio"]
    about = f"Each mark is one network; the median of the ratio is {ratio.median():.3g}, its maximum {ratio.max():.3g}."
    note = f"Grey: sup = 1, 10, 100 ... × L2 error. {panels.UNITS}"
    heading, labels = Heading("The worst against the average", about, note), ("L2 error", "sup-norm error")
    every, handles = panels.panels_of(cells), panels.handles(looks.values())
    figure, grid = panels.make(dataset, table.cells, every, cells, labels, heading, handles)
    for panel, axes in grid.items():
        own = panels.of(cells, panel)
        for number, look in looks.items():
            line = own[own["line"] == number]
            panels.dots(axes, line["l2_error"], line["sup_lower"], look)
        _guides(axes, own)
        panels.tick(axes.xaxis)
    return figure


def _guides(axes: Axes, cells: DataFrame) -> None:
    """Draw lines of equal ratio, from 1 up to the first that no cell passes."""
    ends = np.array([cells["l2_error"].min() / 1.5, cells["l2_error"].max() * 1.5])
    below = [ratio for ratio in RATIOS if ratio <= cells["ratio"].max()]
    for ratio in (*below, *(ratio for ratio in RATIOS[len(below) : len(below) + 1])):
        axes.plot(ends, ratio * ends, color=style.GREY, linewidth=0.7, alpha=0.7, zorder=1)
        axes.annotate(
            f"{ratio}×", (ends[1], ratio * ends[1]), xytext=(-3, -2), textcoords="offset points", size=7,
            color=style.GREY, ha="right", va="top",
        )  # fmt: skip
    axes.set_xlim(*ends)


def replicates(dataset: xarray.Dataset) -> Figure | None:
    """Draw how the errors of replicates are distributed about the median of their setting; None for single ones."""
    table = series.table(dataset)
    cells = table.cells[table.cells["measured"] & (table.cells["sup_lower"] > 0)]
    setting = ["target", "dimension", "line", "parameters", "samples"]
    groups = cells.groupby(setting, dropna=False)["sup_lower"]
    cells = cells.assign(relative=cells["sup_lower"] / groups.transform("median"), count=groups.transform("size"))
    cells = cells[cells["count"] > 1]
    if not len(cells):
        return None
    looks = panels.looks(table.lines, cells["line"].unique())
    about = "Share of the replicates whose error, relative to the median of their setting, is at most the value below."
    heading, labels = (
        Heading("How far replicates differ", about, "{}"),
        ("sup-norm error / median", "share of replicates"),
    )
    every, handles = panels.panels_of(cells), panels.handles({**look, "marker": ""} for look in looks.values())
    figure, grid = panels.make(dataset, table.cells, every, cells, labels, heading, handles)
    for panel, axes in grid.items():
        own = panels.of(cells, panel)
        axes.set(yscale="linear", ylim=(0, 1))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.axvline(1, color=style.GREY, linewidth=0.7)
        for number, look in looks.items():
            values = np.sort(own.loc[own["line"] == number, "relative"].to_numpy())
            shares = np.arange(1, len(values) + 1) / max(1, len(values))
            axes.step(values, shares, where="post", color=look["color"], linestyle=look["linestyle"], linewidth=1.5)
        panels.tick(axes.xaxis)
    return figure
