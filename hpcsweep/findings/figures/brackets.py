"""Brackets: from the lower to the proved upper bound, and what uniform points would have reported."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator, PercentFormatter

from hpcsweep.findings import series, style
from hpcsweep.findings.figures import panels
from hpcsweep.findings.figures.panels import DENSE
from hpcsweep.findings.style import Heading, Look
from hpcsweep.store import layout

if TYPE_CHECKING:
    from pandas import DataFrame

MOST, WRAP = 12, 4  # panels, and beside each other
FOUND: Look = {"color": style.PALETTE[0], "linewidth": 1.6}
UNPROVED: Look = {"color": style.GREY, "marker": "^", "markersize": 3.2, "linestyle": "", "markeredgewidth": 0}
ENDS = {  # by how the proof ended
    "closed": (style.PALETTE[0], "o"),
    "budget": (style.PALETTE[1], "s"),
    "floor": (style.PALETTE[2], "D"),
}


def brackets(dataset: xarray.Dataset) -> Figure | None:
    """Draw all brackets, sorted, for each target and dimension, and below by how much the upper end exceeds the lower.

    None where no cell has a proved upper bound.
    """
    cells = series.table(dataset).cells
    cells = cells[cells["measured"] & (cells["sup_lower"] > 0)]
    proved = np.isfinite(cells["sup_upper"])
    if not proved.any():
        return None
    every = panels.panels_of(cells[proved])
    shown = every[:MOST]
    rows = math.ceil(len(shown) / WRAP)
    columns = math.ceil(len(shown) / rows)
    about = (
        "Above: from the lower bound to the proved upper bound. Below: how far apart the two are. Proofs end "
        "closed (at the requested gap), out of their budget of boxes, or at the floor of rounding errors."
    )
    title = f"Brackets of the sup-norm error: proved for {proved.sum():,} of {len(cells):,} cells"
    note = panels.UNITS.format(panels.footnote(dataset, series.table(dataset).cells, len(every) - len(shown)))
    size = (0.6 + max(2.4 * columns, 5.4), 0.6 + 3.6 * rows)
    figure = style.make(*size, Heading(title, about, note), _handles(cells))
    grid = figure.subplots(2 * rows, columns, sharey="row", height_ratios=(3, 2) * rows, squeeze=False)
    for number in range(rows * columns):
        row, column = divmod(number, columns)
        above, below = grid[2 * row : 2 * row + 2, column]
        if number >= len(shown):
            above.remove()
            below.remove()
            continue
        _panel(above, below, cells, shown[number])
        if column == 0:
            above.set_ylabel("sup-norm error", **style.LABEL)
            below.set_ylabel("upper / lower − 1", **style.LABEL)
    figure.align_ylabels()
    return figure


def _panel(above: Axes, below: Axes, cells: DataFrame, panel: panels.Panel) -> None:
    """Draw the brackets of one target and dimension above, and how far their ends are apart below."""
    own = panels.of(cells, panel).sort_values("sup_lower", kind="stable")
    above.sharex(below)
    style.title(above, panels.name(panel))
    for axes in (above, below):
        style.apply(axes)
        axes.set_yscale("log")
    _intervals(above, own)
    _gaps(below, own)
    for axes in (above, below):
        axes.yaxis.set_minor_locator(NullLocator())
    above.tick_params(labelbottom=False)
    below.set_xlabel("cells, by error", **style.LABEL)


def _handles(cells: DataFrame) -> list[Line2D]:
    ends = {layout.CERTIFICATES[int(code)] for code in cells["certificate"].dropna().unique()}
    looks: dict[str, Look] = {"bracket": FOUND}
    for name, (color, marker) in ENDS.items():
        if name in ends:
            looks[f"proof ended: {name}"] = {"color": color, "marker": marker, "markersize": 4, "linestyle": ""}
    if not np.isfinite(cells["sup_upper"]).all():
        looks["lower bound only"] = UNPROVED
    return panels.handles({"label": label, **look} for label, look in looks.items())


def _intervals(axes: Axes, cells: DataFrame) -> None:
    """Draw the brackets, as bars that are seen even where both ends are the same to the eye."""
    rank, low, high = np.arange(1, len(cells) + 1), cells["sup_lower"].to_numpy(), cells["sup_upper"].to_numpy()
    proved, many = np.isfinite(high), len(rank) > DENSE
    panels.bars(axes, rank[proved], low[proved], high[proved], **FOUND)
    axes.plot(rank[proved], low[proved], ".", color=FOUND["color"], markersize=2.5, rasterized=many)
    axes.plot(rank[~proved], low[~proved], **UNPROVED, rasterized=many)


def _gaps(axes: Axes, cells: DataFrame) -> None:
    gaps = (cells["sup_upper"] / cells["sup_lower"] - 1).to_numpy()
    codes, rank = cells["certificate"].to_numpy(), np.arange(1, len(cells) + 1)
    look: Look = {
        "linestyle": "",
        "markersize": 2.8,
        "alpha": 0.8,
        "markeredgewidth": 0,
        "rasterized": len(rank) > DENSE,
    }
    for name, (color, marker) in ENDS.items():
        own = (codes == layout.CERTIFICATES.index(name)) & np.isfinite(gaps) & (gaps > 0)
        axes.plot(rank[own], gaps[own], color=color, marker=marker, **look)


def uniform_points(dataset: xarray.Dataset) -> Figure | None:
    """Draw which share of the bracket independent uniform points would have reported; None without such points."""
    cells = series.table(dataset).cells
    cells = cells[cells["measured"] & cells["sup_uniform"].notna() & (cells["sup_lower"] > 0)]
    if not len(cells):
        return None
    every = panels.panels_of(cells)
    shown = every[:MOST]
    about = (
        f"The largest error at {_uniform_count(cells)}independent uniform points, which most studies report, as a "
        "share of the lower bound of the sup-norm error. Black: medians. Pale bars reach down to the share of the "
        "proved upper bound, where the true value may lie."
    )
    note = panels.footnote(dataset, cells, len(every) - len(shown))
    heading = Heading("What uniform points would have reported", about, note)
    figure = style.make(max(5.6, 1.0 + 0.9 * len(shown)), 3.4, heading)
    axes = figure.subplots()
    style.apply(axes)
    for position, panel in enumerate(shown):
        _strip(axes, position, panels.of(cells, panel))
    axes.axhline(1, color=style.GREY, linewidth=0.8)
    axes.set_xticks(range(len(shown)), [f"{style.plain(target)}\n{dimension}-D" for target, dimension in shown])
    axes.set_xlim(-0.6, len(shown) - 0.4)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.set_ylabel("share of the sup-norm error", **style.LABEL)
    return figure


def _uniform_count(cells: DataFrame) -> str:
    """Say how many uniform points there were: they find all but a share of the volume with 95 %."""
    volume = cells["uniform_volume"]
    volume = volume[(volume > 0) & (volume < 1)]
    counts = np.unique(np.round(np.log(0.05) / np.log1p(-volume)))
    if not len(counts):
        return ""
    return f"{counts[0]:,.0f} " if len(counts) == 1 else f"{counts[0]:,.0f} to {counts[-1]:,.0f} "


def _strip(axes: Axes, position: int, cells: DataFrame) -> None:
    """Draw one column of points, spread sideways in the order of the study."""
    share = (cells["sup_uniform"] / cells["sup_lower"]).to_numpy()
    least = (cells["sup_uniform"] / cells["sup_upper"].where(np.isfinite(cells["sup_upper"]))).to_numpy()
    sideways = position + np.linspace(-0.28, 0.28, len(share)) if len(share) > 1 else np.array([position])
    many = len(share) > DENSE
    panels.bars(axes, sideways, least, share, color=style.PALETTE[0], alpha=0.16, linewidth=0.8)
    axes.plot(sideways, share, "o", color=style.PALETTE[0], markersize=3, alpha=0.6, markeredgewidth=0, rasterized=many)
    axes.hlines(np.median(share), position - 0.36, position + 0.36, color="#000000", linewidth=1.6)
