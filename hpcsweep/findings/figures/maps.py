"""Maps of the error in two dimensions: where each method's best network is still wrong."""

from __future__ import annotations

import math
import textwrap
from typing import Literal

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hpcsweep.findings import kept, series, sheet
from hpcsweep.findings.dataset import Files
from hpcsweep.store.weights import Pictures

MOST, BESIDE = 6, 3  # maps, and those in one row
COLOURS = "cividis"  # the same to colour-blind readers, and in grey from dark to light
WORST: sheet.Look = {
    "marker": "o",
    "markersize": 9,
    "markerfacecolor": "none",
    "markeredgecolor": sheet.PALETTE[1],
    "markeredgewidth": 1.8,
    "linestyle": "",
}
SAMPLES: sheet.Look = {
    "marker": "o",
    "markersize": 2.4,
    "markerfacecolor": "white",
    "markeredgecolor": "black",
    "markeredgewidth": 0.4,
    "linestyle": "",
}


def choose(dataset: xarray.Dataset, path: Files, most: int = MOST) -> dict[str, Pictures]:
    """Return the keys of the two-dimensional cells with the smallest sup-norm error of each target and line that have
    a raster, in the order of the study."""
    cells = series.table(dataset).cells
    cells = cells[cells["measured"] & (cells["dimension"] == 2)]
    best = cells.sort_values("sup_lower", kind="stable").drop_duplicates(["target", "line"]).sort_index()
    return kept.with_raster(best["key"], path, most)


def error_maps(dataset: xarray.Dataset, path: Files, most: int = MOST) -> Figure | None:
    """Draw |target - network| over the domain for the cells of `choose`; None where none has a raster."""
    row_of = {key: row for row, key in enumerate(dataset["key"].values.tolist())}
    cells = [(dataset.isel(cell=row_of[key]), found) for key, found in choose(dataset, path, most).items()]
    chosen = [(cell, found) for cell, found in cells if kept.domain(cell, found) is not None]
    if not chosen:
        return None
    columns = min(len(chosen), BESIDE)
    rows = math.ceil(len(chosen) / columns)
    about = (
        "The network with the smallest sup-norm error of each method, each map on its own scale from 0 to its maximum."
    )
    note = "Errors are in the units of the target. The maximum was sought on many more points than the raster has."
    size = (max(5.6, 0.3 + 3.1 * columns), 3.1 * rows)
    figure = sheet.make(*size, sheet.Heading("Where networks of two variables are wrong", about, note), _handles())
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (cell, found) in zip(grid, chosen, strict=False):
        _map(figure, axes, cell, found)
    for axes in grid[len(chosen) :]:
        axes.remove()
    return figure


def _handles() -> list[Line2D]:
    looks = {"largest error found": WORST, "training samples": {**SAMPLES, "markersize": 3.5}}
    return [Line2D([], [], label=label, **look) for label, look in looks.items()]


def _map(figure: Figure, axes: Axes, cell: xarray.Dataset, found: Pictures) -> None:
    """Draw one map with its samples, its worst point and its scale."""
    box = kept.domain(cell, found)
    assert found.raster is not None and box is not None
    error = np.abs(found.raster.astype(np.float64))
    image = axes.imshow(error.T, origin="lower", extent=(*box[0], *box[1]), aspect=_aspect(box), cmap=COLOURS, vmin=0)
    points, where = kept.samples(cell, found), cell["sup_where"].values[:2]
    if points is not None:
        size = SAMPLES["markersize"] * min(1.0, (150 / len(points)) ** 0.3)
        axes.plot(*points.T, **{**SAMPLES, "markersize": size}, alpha=0.8, rasterized=len(points) > 2000)
    axes.plot(*where[:, None], **WORST, clip_on=False, zorder=5)
    axes.set(xlim=box[0], ylim=box[1])
    axes.tick_params(labelsize=sheet.SIZES["tick"], color=sheet.GREY, labelcolor="#262626")
    axes.locator_params(nbins=5)
    axes.set_ylabel("second coordinate", **sheet.LABEL)
    most = float(np.nanmax(error, initial=0))
    scale = figure.colorbar(image, ax=axes, pad=0.02, fraction=0.06, shrink=0.85, ticks=[0, most / 2, most])
    scale.ax.set_yticklabels([f"{value:.2g}" for value in (0, most / 2, most)])
    scale.outline.set_visible(False)
    scale.ax.tick_params(labelsize=sheet.SIZES["tick"] - 1, color=sheet.GREY)
    sheet.title(axes, f"{cell['target'].item()}: error {float(cell['sup_lower']):.3g}")
    axes.set_xlabel(f"first coordinate\n{_described(cell)}", size=8, color="#262626", linespacing=1.4)


def _aspect(box: np.ndarray) -> Literal["equal", "auto"]:
    """Return "equal" where the sides are nearly as long as each other."""
    first, second = np.ptp(box, axis=1)
    return "equal" if 0.5 <= first / second <= 2 else "auto"


def _described(cell: xarray.Dataset) -> str:
    network = series.network(str(cell["model"].item()), int(cell["depth"]), int(cell["width"]))
    told = f"{cell['optimizer'].item()}; {network}, {int(cell['samples']):,} samples"
    return textwrap.fill(sheet.plain(told), 38)
