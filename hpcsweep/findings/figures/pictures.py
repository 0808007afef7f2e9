"""Pictures of single networks: target and network along a line, and the error with its maximum."""

from __future__ import annotations

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpcsweep.errors import StoreError
from hpcsweep.findings import series, stored_pictures, style
from hpcsweep.findings.dataset import Files
from hpcsweep.findings.figures import panels
from hpcsweep.findings.style import Heading, Look
from hpcsweep.store import layout

LOOKS: dict[str, Look] = {
    "target": {"color": "#000000", "linewidth": 3, "alpha": 0.3},
    "network": {"color": style.PALETTE[0], "linewidth": 1.3},
    "|target − network|": {"color": style.PALETTE[1], "linewidth": 1.2},
    "L2 error": {"color": style.GREY, "linewidth": 1, "linestyle": "--"},
    "maximum found": {
        "color": style.PALETTE[1],
        "marker": "o",
        "markersize": 6,
        "markeredgecolor": "black",
        "linestyle": "",
    },
}


def picture(dataset: xarray.Dataset, path: Files, key: str | None = None) -> Figure | None:
    """Draw one network beside its target, and its error with the place of the maximum.

    Parameters
    ----------
    dataset: what `hpcsweep.findings.dataset.read` returned for `path`.
    path: the store or stores, beside which the slices lie.
    key: the cell; by default the first of `choose`. In more than one dimension the picture follows the first
        coordinate through the place of the maximum.

    Returns
    -------
    None if there is no such cell with a slice. The maximum is drawn where the meter found it, on many more points
    than the slice has.

    Raises
    ------
    StoreError: if the store has no cell `key`.
    """
    if key is None:
        return next(iter(pictures(dataset, path, 1)), None)
    rows = np.flatnonzero(dataset["key"].values == key)
    if not len(rows):
        raise StoreError(f"{path} has no cell {key!r}; the coordinate 'key' of its dataset lists them.")
    values = stored_pictures.pictures(path, key).slice
    if values is None:
        return None
    table = series.table(dataset)
    return _draw(dataset.isel(cell=int(rows[0])), values, series.telling(table.cells, table.further))


def pictures(dataset: xarray.Dataset, path: Files, most: int = 3) -> list[Figure]:
    """Draw the cells of `choose`; empty where none has a slice."""
    figures = [picture(dataset, path, key) for key, _ in choose(dataset, path, most)]
    return [figure for figure in figures if figure is not None]


def choose(dataset: xarray.Dataset, path: Files, most: int = 3) -> list[tuple[str, str]]:
    """Return (key, why) of the one-dimensional cells most worth looking at, of those that have a slice.

    These are the `most` settings with the largest ratio of sup-norm to L2 error, where an average tells least of the
    worst, each by its worst replicate and, as far as there are enough, of another target; and then, unless it is among
    them or `most` is 1, the cell with the smallest sup-norm error.
    """
    table = series.table(dataset)
    cells = table.cells[table.cells["measured"] & (table.cells["dimension"] == 1)]
    setting = [name for name in (*layout.NAMED, *table.further) if name not in ("key", "replicate")]
    worst = cells.dropna(subset=["ratio"]).sort_values("ratio", ascending=False, kind="stable").drop_duplicates(setting)
    why = "one of the largest ratios of sup-norm to L2 error"
    keys = worst.loc[worst.duplicated("target").sort_values(kind="stable").index, "key"]  # other targets first
    chosen = dict.fromkeys(stored_pictures.first("slice", keys, path, most), why)
    if most > 1:
        for key in stored_pictures.first("slice", cells.sort_values("sup_lower", kind="stable")["key"], path, 1):
            chosen.setdefault(key, "the smallest sup-norm error of all one-dimensional cells")
    return list(chosen.items())


def _draw(cell: xarray.Dataset, values: np.ndarray, telling: list[str]) -> Figure:
    """Draw one cell, a dataset without the dimension `cell`, and its slice (3, points); `telling` axes are named."""
    positions, target, network = values
    handles = panels.handles({"label": label, **look} for label, look in LOOKS.items())
    figure = style.make(6.6, 4.4, _heading(cell, len(positions), telling), handles)
    above, below = figure.subplots(2, sharex=True, height_ratios=(3, 2))
    above.plot(positions, target, **LOOKS["target"])
    above.plot(positions, network, **LOOKS["network"])
    below.plot(positions, np.abs(target - network), **LOOKS["|target − network|"])
    below.axhline(float(cell["l2_error"]), **LOOKS["L2 error"])
    for axes, name in ((above, "value"), (below, "error")):
        style.apply(axes)
        axes.set_ylabel(name, **style.LABEL)
        axes.margins(x=0.01)
    below.set_xlabel("x" if cell["dimension"] == 1 else "first coordinate, through the maximum", **style.LABEL)
    below.ticklabel_format(axis="y", scilimits=(-3, 4), useMathText=True)
    below.yaxis.get_offset_text().set_size(style.SIZES["tick"])
    if np.isfinite(cell["sup_lower"]) and np.isfinite(cell["sup_where"][0]):
        _mark(above, below, cell)
    return figure


def _heading(cell: xarray.Dataset, points: int, telling: list[str]) -> Heading:
    """Say which cell it is, and what its curves can and cannot show."""
    at = series.coordinates(cell)
    network = f"{series.network(at.model, at.depth, at.width)} ({at.parameters:,} parameters)"
    further = [series.setting(name, cell[name].item()) for name in telling]
    about = ", ".join([network, f"{at.samples:,} samples", at.optimizer, *further, f"replicate {at.replicate}"])
    measured = f"; the maximum was sought on {int(cell['points']):,}" if np.isfinite(cell["points"]) else ""
    note = f"Cell {at.key}. Each curve has {points} points{measured}."
    return Heading(f"{at.target}, {at.dimension}-D", about, note)


def _mark(above: Axes, below: Axes, cell: xarray.Dataset) -> None:
    """Mark the maximum where the meter found it, which may be between two points of the curve."""
    sup, l2, where = float(cell["sup_lower"]), float(cell["l2_error"]), float(cell["sup_where"][0])
    where = 0.0 if abs(where) < np.finfo(float).eps else where
    for axes in (above, below):
        axes.axvline(where, color=style.PALETTE[1], linewidth=0.8, linestyle=":", zorder=1)
    below.plot([where], [sup], **LOOKS["maximum found"], zorder=5)
    below.set_ylim(0, 1.2 * max(sup, *below.get_ylim()) / 1.05)
    left, right = below.get_xlim()
    side = -1 if where > (left + right) / 2 else 1  # the text stands on the wider side
    text = f"error {sup:.3g} at x = {where:.5g}" + (f"\n{sup / l2:.3g} × the L2 error" if l2 > 0 else "")
    below.annotate(
        text.replace("-", "−"),
        (where, sup),
        xytext=(9 * side, 5),
        textcoords="offset points",
        ha="right" if side < 0 else "left",
        va="top",
        size=8.5,
        bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1},
    )
