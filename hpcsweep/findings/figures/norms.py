"""The worst against the average, and how far replicates of one setting differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from hpcsweep.findings import series, sheet
from hpcsweep.findings.figures import panels
from hpcsweep.findings.figures.panels import DENSE

if TYPE_CHECKING:
    from pandas import DataFrame

RATIOS = (1, 10, 100, 1000)  # of sup-norm to L2 error, drawn as guides


def sup_against_l2(dataset: xarray.Dataset) -> Figure | None:
    """Draw the sup-norm error over the L2 error of each cell, with lines of equal ratio; None if none is measured."""
    table = series.table(dataset)
    cells = table.cells[table.cells["measured"] & (table.cells["l2_error"] > 0)]
    if not len(cells):
        return None
    every = panels.panels_of(cells)
    places = panels.arrange(every)
    looks = panels.looks(table.lines, cells["line"].unique())
    ratio = cells["ratio"]
    about = f"Each mark is one network; the median of the ratio is {ratio.median():.3g}, its maximum {ratio.max():.3g}."
    footnote = panels.footnote(dataset, table.cells, len(every) - len(places), "Grey: sup = 1, 10, 100 ... × L2 error.")
    figure = panels.make(
        places, sheet.Heading("The worst against the average", about, footnote), panels.handles(looks.values())
    )
    for panel, axes in panels.grid(figure, places, cells, ("L2 error", "sup-norm error")).items():
        own = panels.of(cells, panel)
        panels.title(axes, f"{panel[0]}, {panel[1]}-D", len(places) == 1)
        for number, look in looks.items():
            line = own[own["line"] == number]
            axes.plot(line["l2_error"], line["sup_lower"], **panels.dots(look), rasterized=len(line) > DENSE)
        _guides(axes, own)
        panels.tick(axes.xaxis)
    figure.align_ylabels()
    return figure


def _guides(axes: Axes, cells: DataFrame) -> None:
    """Draw lines of equal ratio, from 1 up to the first that no cell passes."""
    ends = np.array([cells["l2_error"].min() / 1.5, cells["l2_error"].max() * 1.5])
    below = [ratio for ratio in RATIOS if ratio <= cells["ratio"].max()]
    for ratio in (*below, *(ratio for ratio in RATIOS[len(below) : len(below) + 1])):
        axes.plot(ends, ratio * ends, color=sheet.GREY, linewidth=0.7, alpha=0.7, zorder=1)
        axes.annotate(
            f"{ratio}×", (ends[1], ratio * ends[1]), xytext=(-3, -2), textcoords="offset points", size=7,
            color=sheet.GREY, ha="right", va="top",
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
    every = panels.panels_of(cells)
    places = panels.arrange(every)
    looks = panels.looks(table.lines, cells["line"].unique())
    about = "Share of the replicates whose error, relative to the median of their setting, is at most the value below."
    heading = sheet.Heading(
        "How far replicates differ",
        about,
        panels.footnote(dataset, table.cells, len(every) - len(places)).removeprefix(panels.UNITS).strip(),
    )
    plain = [{**look, "marker": ""} for look in looks.values()]
    figure = panels.make(places, heading, panels.handles(plain))
    for panel, axes in panels.grid(figure, places, cells, ("sup-norm error / median", "share of replicates")).items():
        own = panels.of(cells, panel)
        panels.title(axes, f"{panel[0]}, {panel[1]}-D", len(places) == 1)
        axes.set(yscale="linear", ylim=(0, 1))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.axvline(1, color=sheet.GREY, linewidth=0.7)
        for number, look in looks.items():
            values = np.sort(own.loc[own["line"] == number, "relative"].to_numpy())
            shares = np.arange(1, len(values) + 1) / max(1, len(values))
            axes.step(values, shares, where="post", color=look["color"], linestyle=look["linestyle"], linewidth=1.5)
        panels.tick(axes.xaxis)
    return figure
