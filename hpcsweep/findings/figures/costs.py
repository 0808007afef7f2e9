"""Time: which method reaches an error first, and how well costs were predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpcsweep.findings import series, sheet
from hpcsweep.findings.figures import panels
from hpcsweep.findings.figures.panels import DENSE

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
    every = panels.panels_of(table.cells)
    places = panels.arrange(every)
    looks = panels.looks(table.lines, table.cells["line"].unique())
    about = "Each mark is one network. Steps: the smallest median over replicates of all settings up to this cost."
    footnote = f"{panels.footnote(dataset, table.cells, len(every) - len(places))} {REMARKS[cost]}"
    heading = sheet.Heading(f"The race: sup-norm error against {WORDS[cost]} of training", about, footnote)
    figure = panels.make(places, heading, panels.handles(looks.values()))
    for panel, axes in panels.grid(figure, places, cells, (AXIS[cost], "sup-norm error")).items():
        panels.title(axes, f"{panel[0]}, {panel[1]}-D", len(places) == 1)
        own = panels.of(cells, panel)
        for number, look in looks.items():
            _runner(axes, own[own["line"] == number], cost, look)
        if not len(own):
            panels.empty(axes)
        panels.tick(axes.xaxis)
    figure.align_ylabels()
    return figure


def _runner(axes: Axes, cells: DataFrame, cost: str, look: dict[str, Any]) -> None:
    """Draw one line's cells, and the best medians by cost."""
    if not len(cells):
        return
    axes.plot(cells[cost], cells["sup_lower"], **panels.dots(look), rasterized=len(cells) > DENSE)
    settings = cells.groupby(["parameters", "samples"])[[cost, "sup_lower"]].median().sort_values(cost, kind="stable")
    x, y = settings[cost].to_numpy(), np.minimum.accumulate(settings["sup_lower"].to_numpy())
    axes.step(x, y, where="post", color=look["color"], linestyle=look["linestyle"], linewidth=1.6)


def costs(dataset: xarray.Dataset) -> Figure | None:
    """Draw the seconds that cells took over those predicted when they were planned; None where none were."""
    table = series.table(dataset)
    cells = table.cells.assign(taken=table.cells["train_seconds"] + table.cells["eval_seconds"])
    cells = cells[(cells["taken"] > 0) & (cells["predicted_seconds"] > 0)]
    if not len(cells):
        return None
    looks = panels.looks(table.lines, cells["line"].unique())
    ratio = (cells["taken"] / cells["predicted_seconds"]).to_numpy()
    low, high = np.quantile(ratio, [0.05, 0.95])
    about = f"Measured over predicted time: median {np.median(ratio):.2g}, 90 % of cells {low:.2g} to {high:.2g}."
    note = "The time of evaluation is a share of that of the pack. Band: within a factor of 2."
    figure = sheet.make(
        5.2, 4, sheet.Heading("Cost: predicted and measured", about, note), panels.handles(looks.values())
    )
    axes = figure.subplots()
    sheet.style(axes)
    ends = np.array(
        [
            cells[["taken", "predicted_seconds"]].min().min() / 1.5,
            cells[["taken", "predicted_seconds"]].max().max() * 1.5,
        ]
    )
    axes.fill_between(ends, ends / 2, ends * 2, color=sheet.PALE, alpha=0.5, linewidth=0)
    axes.plot(ends, ends, color=sheet.GREY, linewidth=0.9)
    for number, look in looks.items():
        own = cells[cells["line"] == number]
        axes.plot(own["predicted_seconds"], own["taken"], **panels.dots(look, 3.6), rasterized=len(own) > DENSE)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    panels.tick(axes.xaxis)
    panels.tick(axes.yaxis)
    axes.set_xlabel("predicted (s)", **sheet.LABEL)
    axes.set_ylabel("training and evaluation (s)", **sheet.LABEL)
    return figure
