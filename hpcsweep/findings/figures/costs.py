"""Time: which method reaches an error first, and how well costs were predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpcsweep.findings import series, style
from hpcsweep.findings.figures import panels
from hpcsweep.findings.style import Heading, Look

if TYPE_CHECKING:
    from pandas import DataFrame

AXIS = {"train_seconds": "training time (s)", "flops": "training flops (estimate)"}
WORDS = {"train_seconds": "seconds", "flops": "flops"}
REMARKS = {  # what a cost counts
    "train_seconds": "Times are those of a network that trains alone, or else its share of the time of its pack.",
    "flops": "Flops: 6 × parameters × batch × steps, without line searches and products with matrices.",
}


def optimizer_race(dataset: xarray.Dataset, cost: str = "train_seconds") -> Figure:
    """Draw the sup-norm error over the training time (or "flops") of each cell.

    The steps are the smallest median over replicates that a setting had reached within that time.
    """
    table = series.table(dataset)
    cells = table.cells[table.cells["measured"] & (table.cells[cost] > 0) & (table.cells["sup_lower"] > 0)]
    looks = panels.looks(table.lines, table.cells["line"].unique())
    about = "Each mark is one network. Steps: the smallest median over replicates of all settings up to this cost."
    title = f"The race: sup-norm error against {WORDS[cost]} of training"
    heading = Heading(title, about, f"{panels.UNITS} {REMARKS[cost]}")
    every, labels = panels.panels_of(table.cells), (AXIS[cost], "sup-norm error")
    figure, grid = panels.make(dataset, table.cells, every, cells, labels, heading, panels.handles(looks.values()))
    for panel, axes in grid.items():
        own = panels.of(cells, panel)
        for number, look in looks.items():
            _runner(axes, own[own["line"] == number], cost, look)
        if not len(own):
            panels.empty(axes)
        panels.tick(axes.xaxis)
    return figure


def _runner(axes: Axes, cells: DataFrame, cost: str, look: Look) -> None:
    """Draw one line's cells, and the best medians by cost."""
    if not len(cells):
        return
    panels.dots(axes, cells[cost], cells["sup_lower"], look)
    settings = cells.groupby(["parameters", "samples"])[[cost, "sup_lower"]].median().sort_values(cost, kind="stable")
    best = settings["sup_lower"].cummin()
    axes.step(settings[cost], best, where="post", color=look["color"], linestyle=look["linestyle"], linewidth=1.6)


def costs(dataset: xarray.Dataset) -> Figure | None:
    """Draw the seconds that cells took over those predicted when they were planned; None where none were."""
    table = series.table(dataset)
    cells = table.cells.assign(taken=table.cells["train_seconds"] + table.cells["eval_seconds"])
    cells = cells[(cells["taken"] > 0) & (cells["predicted_seconds"] > 0)]
    if not len(cells):
        return None
    looks = panels.looks(table.lines, cells["line"].unique())
    low, median, high = (cells["taken"] / cells["predicted_seconds"]).quantile([0.05, 0.5, 0.95])
    about = f"Measured over predicted time: median {median:.2g}, 90 % of cells {low:.2g} to {high:.2g}."
    note = "The time of evaluation is a share of that of the pack. Band: within a factor of 2."
    heading = Heading("Cost: predicted and measured", about, note)
    figure = style.make(5.2, 4, heading, panels.handles(looks.values()))
    axes = figure.subplots()
    style.apply(axes)
    both = cells[["taken", "predicted_seconds"]].to_numpy()
    ends = np.array([both.min() / 1.5, both.max() * 1.5])
    axes.fill_between(ends, ends / 2, ends * 2, color=style.PALE, alpha=0.5, linewidth=0)
    axes.plot(ends, ends, color=style.GREY, linewidth=0.9)
    for number, look in looks.items():
        own = cells[cells["line"] == number]
        panels.dots(axes, own["predicted_seconds"], own["taken"], look, 3.6)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    panels.tick(axes.xaxis)
    panels.tick(axes.yaxis)
    axes.set_xlabel("predicted (s)", **style.LABEL)
    axes.set_ylabel("training and evaluation (s)", **style.LABEL)
    return figure
