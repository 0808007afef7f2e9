"""Maps of the error in two dimensions: where each method's best network is still wrong."""

from __future__ import annotations

import math
import textwrap
from typing import Literal

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpcsweep.findings import series, stored_pictures, style
from hpcsweep.findings.dataset import Files
from hpcsweep.findings.figures import panels
from hpcsweep.findings.style import Heading, Look
from hpcsweep.store.weights import Pictures

MOST, BESIDE = 6, 3  # maps, and those in one row
COLOURS = "cividis"  # the same to colour-blind readers, and in grey from dark to light
CIRCLE: Look = {"marker": "o", "linestyle": ""}
WORST = CIRCLE | {
    "markersize": 9,
    "markerfacecolor": "none",
    "markeredgecolor": style.PALETTE[1],
    "markeredgewidth": 1.8,
}
SAMPLES = CIRCLE | {"markersize": 2.4, "markerfacecolor": "white", "markeredgecolor": "black", "markeredgewidth": 0.4}


def choose(dataset: xarray.Dataset, path: Files, most: int = MOST) -> dict[str, Pictures]:
    """Return the keys of the two-dimensional cells with the smallest sup-norm error of each target and line that have
    a raster: the best of each target, then the second of each."""
    cells = series.table(dataset).cells
    cells = cells[cells["measured"] & (cells["dimension"] == 2)]
    best = cells.sort_values("sup_lower", kind="stable").drop_duplicates(["target", "line"])
    best = best.iloc[best.groupby("target").cumcount().argsort(kind="stable")]
    return stored_pictures.first("raster", best["key"], path, most)


def error_maps(dataset: xarray.Dataset, path: Files, most: int = MOST) -> Figure | None:
    """Draw |target - network| over the domain for the cells of `choose`; None where none has a raster."""
    row_of = {key: row for row, key in enumerate(dataset["key"].values.tolist())}
    cells = [(dataset.isel(cell=row_of[key]), stored) for key, stored in choose(dataset, path, most).items()]
    chosen = [pair for pair in cells if stored_pictures.domain(*pair) is not None]
    if not chosen:
        return None
    columns = min(len(chosen), BESIDE)
    rows = math.ceil(len(chosen) / columns)
    about = (
        f"The network with the smallest sup-norm error of each line, {most} at most, the best of each target first. "
        "Each map has its own scale from 0 to its maximum."
    )
    note = "Errors are in the units of the target. The maximum was sought on many more points than the raster has."
    looks = {"largest error found": WORST, "training samples": {**SAMPLES, "markersize": 3.5}}
    handles = panels.handles({"label": label, **look} for label, look in looks.items())
    heading = Heading("Where networks of two variables are wrong", about, note)
    figure = style.make(max(5.6, 0.3 + 3.1 * columns), 3.1 * rows, heading, handles)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (cell, stored) in zip(grid, chosen, strict=False):
        _map(figure, axes, cell, stored)
    for axes in grid[len(chosen) :]:
        axes.remove()
    return figure


def _map(figure: Figure, axes: Axes, cell: xarray.Dataset, stored: Pictures) -> None:
    """Draw one map with its samples, its worst point and its scale."""
    box = stored_pictures.domain(cell, stored)
    assert stored.raster is not None and box is not None
    error = np.abs(stored.raster.astype(np.float64))
    image = axes.imshow(error.T, origin="lower", extent=(*box[0], *box[1]), aspect=_aspect(box), cmap=COLOURS, vmin=0)
    points, where = stored_pictures.samples(cell, stored), cell["sup_where"].values[:2]
    if points is not None:
        size = SAMPLES["markersize"] * min(1.0, (150 / len(points)) ** 0.3)
        axes.plot(*points.T, **{**SAMPLES, "markersize": size}, alpha=0.8, rasterized=len(points) > 2000)
    axes.plot(*where[:, None], **WORST, clip_on=False, zorder=5)
    axes.set(xlim=box[0], ylim=box[1])
    axes.tick_params(labelsize=style.SIZES["tick"], color=style.GREY, labelcolor="#262626")
    axes.locator_params(nbins=5)
    axes.set_ylabel("second coordinate", **style.LABEL)
    most = float(np.nanmax(error, initial=0))
    scale = figure.colorbar(image, ax=axes, pad=0.02, fraction=0.06, shrink=0.85, ticks=[0, most / 2, most])
    scale.ax.set_yticklabels([f"{value:.2g}" for value in (0, most / 2, most)])
    scale.outline.set_visible(False)
    scale.ax.tick_params(labelsize=style.SIZES["tick"] - 1, color=style.GREY)
    style.title(axes, f"{cell['target'].item()}: error {float(cell['sup_lower']):.3g}")
    axes.set_xlabel(f"first coordinate\n{_described(cell)}", size=8, color="#262626", linespacing=1.4)


def _aspect(box: np.ndarray) -> Literal["equal", "auto"]:
    """Return "equal" where the sides are nearly as long as each other."""
    first, second = np.ptp(box, axis=1)
    return "equal" if 0.5 <= first / second <= 2 else "auto"


def _described(cell: xarray.Dataset) -> str:
    at = series.coordinates(cell)
    words = f"{at.optimizer}; {series.network(at.model, at.depth, at.width)}, {at.samples:,} samples"
    return textwrap.fill(style.plain(words), 38)
