"""Where networks are worst: on the boundary, in a gap between the training samples, or elsewhere inside."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from hpcsweep.findings import series, style
from hpcsweep.findings.figures import panels
from hpcsweep.findings.style import Heading, Look

if TYPE_CHECKING:
    from pandas import DataFrame

EXPECTED = -math.log(
    0.05
)  # samples that the empty ball should hold: 5 % of random points have as wide a gap around them
MOST = 14  # bars
KINDS: dict[str, Look] = {
    "on the boundary": {"facecolor": style.PALETTE[1], "hatch": ""},
    "inside, in a gap between samples": {"facecolor": style.PALETTE[0], "hatch": "///"},
    "inside, elsewhere": {"facecolor": style.PALETTE[5], "hatch": ""},
}


def worst_points(dataset: xarray.Dataset) -> Figure | None:
    """Draw which share of networks is worst on the boundary, in a gap, or elsewhere; None where it was not stored.

    A gap: the ball around the worst point that holds no training sample is so large that as many uniform samples would
    leave it empty with a probability of 5 % at most.
    """
    table = series.table(dataset)
    known = table.cells["measured"] & table.cells["boundary"].notna()
    cells = table.cells[known & ~table.cells["data"]]  # whose places are not uniform, in axes of their own units
    if not len(cells):
        return None
    every = panels.panels_of(cells)
    shown = every[:MOST]
    about = "Gap: the nearest sample is farther away than it would be, with probability 95 %, for random samples."
    note = "The volume of the domain is taken as that of the smallest box with all worst points of a target."
    note = f"{note} {panels.footnote(dataset, table.cells, len(every) - len(shown))}"
    legend = [Patch(label=label, **look, edgecolor="white") for label, look in KINDS.items()]
    figure = style.make(6.6, 0.8 + 0.34 * len(shown), Heading("Where networks are worst", about, note), legend)
    axes = figure.subplots()
    style.apply(axes)
    for row, panel in enumerate(shown):
        own = panels.of(cells, panel)
        _bar(axes, row, kinds(own, dataset["sup_where"].values[own.index]))
    axes.set_yticks(range(len(shown)), [style.plain(panels.name(panel)) for panel in shown])
    axes.set(ylim=(len(shown) - 0.4, -0.6), xlim=(0, 1))
    axes.grid(False, axis="y")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("share of the networks", **style.LABEL)
    return figure


def kinds(cells: DataFrame, where: np.ndarray) -> np.ndarray:
    """Return for the cells of one target and dimension the entry of `KINDS`, (cells,) int; `where` is (cells, axes)."""
    dimension = int(cells["dimension"].iloc[0])
    box = np.ptp(where[:, :dimension], axis=0).prod()
    ball = math.pi ** (dimension / 2) / math.gamma(dimension / 2 + 1) * cells["sample_distance"].to_numpy() ** dimension
    gap = cells["samples"].to_numpy() * ball > EXPECTED * box if box > 0 else np.zeros(len(cells), dtype=bool)
    return np.where(cells["boundary"].to_numpy() == 1, 0, np.where(gap, 1, 2))


def _bar(axes: Axes, row: int, numbers: np.ndarray) -> None:
    """Draw one bar of shares of the kinds of these `numbers`, each share written where there is room."""
    start = 0.0
    for kind, look in enumerate(KINDS.values()):
        share = float(np.mean(numbers == kind))
        axes.barh(row, share, left=start, height=0.72, edgecolor="white", linewidth=0.8, **look)
        if share >= 0.06:
            box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
            axes.text(start + share / 2, row, f"{share:.0%}", ha="center", va="center", size=8, bbox=box)
        start += share
