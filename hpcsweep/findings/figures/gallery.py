"""The gallery of glitches: the worst networks, each beside its target and its samples, and close to its worst point."""

from __future__ import annotations

import textwrap

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpcsweep.findings import series, stored_pictures, style
from hpcsweep.findings.dataset import Files
from hpcsweep.findings.figures import panels
from hpcsweep.findings.style import Heading, Look
from hpcsweep.store.weights import Pictures

MOST = 4
LONGEST = 0.12  # of a panel's height: the tick of a sample that lies on the line
LOOKS: dict[str, Look] = {
    "target": {"color": "#000000", "linewidth": 3.2, "alpha": 0.3},
    "network": {"color": style.PALETTE[0], "linewidth": 1.3},
    "error, and the largest found": {"color": style.PALETTE[1], "linewidth": 1.8},
}
MARK = LOOKS["error, and the largest found"]
TICKS: Look = {"color": style.PALETTE[2]}
MANY = 150  # ticks in one panel, from which on they are thinner
ABOUT = (
    "Left: along the first coordinate through the worst point. Right: close to it, as far as the glitch reaches, and "
    "below the error there. Other coordinates stay where the worst point has them."
)


def choose(dataset: xarray.Dataset, path: Files, most: int = MOST) -> dict[str, Pictures]:
    """Return the keys of the cells with the largest sup-norm errors that have a slice, largest first.

    As far as there are enough, they have different targets, and then different models and training methods.
    """
    cells = series.table(dataset).cells
    ordered = cells[cells["measured"]].sort_values("sup_lower", ascending=False, kind="stable")
    again = ordered.duplicated("target") * 1 + ordered.duplicated(["target", "model", "optimizer"])
    chosen = stored_pictures.first("slice", ordered.loc[again.sort_values(kind="stable").index, "key"], path, most)
    return {key: chosen[key] for key in ordered["key"] if key in chosen}


def glitches(dataset: xarray.Dataset, path: Files, most: int = MOST) -> Figure | None:
    """Draw the cells of `choose`; None where no measured cell has a slice.

    Ticks are the training samples, drawn again from their seed; in more than one dimension those nearer to the line
    than the samples are to each other on average, the longer the nearer.
    """
    chosen = choose(dataset, path, most)
    if not chosen:
        return None
    note = "Errors are in the units of the target; maxima were sought on many more points than these curves have."
    if "resample" in " ".join(dataset["choice_text"].values.tolist()):
        note += " Where training adds samples of its own, there are no ticks."
    title = f"Glitches: the worst {'network' if len(chosen) == 1 else 'of different networks'}"
    looks = LOOKS | {"training samples": {"marker": "|", "markersize": 7, "linestyle": "", **TICKS}}
    handles = panels.handles({"label": label, **look} for label, look in looks.items())
    figure = style.make(7.4, 2.5 * len(chosen), Heading(title, ABOUT, note), handles)
    grid = figure.add_gridspec(2 * len(chosen), 2, width_ratios=(3, 2), height_ratios=(3, 2) * len(chosen))
    row_of = {key: row for row, key in enumerate(dataset["key"].values.tolist())}
    for row, (key, stored) in enumerate(chosen.items()):
        whole, near = figure.add_subplot(grid[2 * row : 2 * row + 2, 0]), figure.add_subplot(grid[2 * row, 1])
        error = figure.add_subplot(grid[2 * row + 1, 1], sharex=near)
        _row((whole, near, error), dataset.isel(cell=row_of[key]), stored, row + 1)
    return figure


def _row(axes: tuple[Axes, Axes, Axes], cell: xarray.Dataset, stored: Pictures, number: int) -> None:
    """Draw one cell: the whole slice, the zoom (or what the slice has of it), and the error there."""
    assert stored.slice is not None
    whole, near, below = axes
    at, sup = series.coordinates(cell), float(cell["sup_lower"])
    where = cell["sup_where"].values[: at.dimension]
    zoom = stored.zoom if stored.zoom is not None else _middle(stored.slice, where[0])
    points = stored_pictures.samples(cell, stored)
    _curves(whole, stored.slice, points, where)
    _curves(near, zoom, points, where)
    whole.set_ylabel("value", **style.LABEL)
    _error(below, zoom, where[0], sup)
    near.tick_params(labelbottom=False)
    whole.set_xlabel(textwrap.fill(style.plain(series.described(at)), 68), size=7.5, color=style.GREY, loc="left")
    below.set_xlabel("x" if len(where) == 1 else "first coordinate", size=7.5, color=style.GREY)
    style.title(whole, f"{number}. {at.target}, {at.dimension}-D: error {sup:.3g}")
    near.set_title(_whereabouts(cell, where), loc="left", size=7.5, color="#262626")


def _curves(axes: Axes, line: np.ndarray, points: np.ndarray | None, where: np.ndarray) -> None:
    """Draw target and network along a line (3, points), the samples below, and the gap at the worst point."""
    style.apply(axes)
    axes.plot(line[0], line[1], **LOOKS["target"])
    axes.plot(line[0], line[2], **LOOKS["network"])
    axes.set_xlim(line[0, 0], line[0, -1])
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.2 * (high - low), high)
    axes.locator_params(axis="y", nbins=5)
    if points is not None:
        _ticks(axes, points, where)
    ends = [np.interp(where[0], line[0], values) for values in line[1:]]
    axes.vlines(where[0], *sorted(ends), zorder=4, clip_on=False, **MARK)


def _error(axes: Axes, line: np.ndarray, where: float, largest: float) -> None:
    """Draw |target - network| along a line (3, points), and the largest error found."""
    style.apply(axes)
    axes.plot(line[0], np.abs(line[1] - line[2]), **MARK)
    axes.plot(where, largest, "o", color=MARK["color"], markersize=5, markeredgecolor="black", clip_on=False, zorder=5)
    axes.set_ylim(0, 1.15 * largest)
    axes.locator_params(nbins=4)
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.ticklabel_format(axis="y", scilimits=(-3, 4), useMathText=True)
    axes.yaxis.get_offset_text().set_fontsize(style.SIZES["tick"] - 1)


def _middle(line: np.ndarray, where: float, reach: int = 8) -> np.ndarray:
    """Return the part of a slice that is close to a place."""
    nearest = int(np.argmin(np.abs(line[0] - where)))
    return line[:, max(0, nearest - reach) : nearest + reach + 1]


def _ticks(axes: Axes, points: np.ndarray, where: np.ndarray) -> None:
    """Draw the samples (samples, dimension) near the line through `where`, the longer the nearer."""
    low, high = axes.get_xlim()
    seen = points[(points[:, 0] >= low) & (points[:, 0] <= high)]
    distance = np.linalg.norm(seen[:, 1:] - where[1:], axis=1)  # (seen,), 0 in one dimension
    spacing = max((np.ptp(points, axis=0).prod() / len(points)) ** (1 / len(where)), np.finfo(float).tiny)
    near = distance <= spacing
    length = LONGEST * (1 - 0.75 * distance[near] / spacing)
    thin = {"linewidth": 0.4, "alpha": 0.6} if near.sum() > MANY else {"linewidth": 1}
    axes.vlines(seen[near, 0], 0, length, transform=axes.get_xaxis_transform(), **TICKS, **thin)


def _whereabouts(cell: xarray.Dataset, where: np.ndarray) -> str:
    """Say where the maximum is, and how far from the nearest sample."""
    place = ", ".join(f"{x:.5g}" for x in where[:4]) + (", …" if len(where) > 4 else "")
    place = f"x = {place}" if len(where) == 1 else f"x = ({place})"
    distance = float(cell["sample_distance"])
    gap = f"{distance:.2g} from the nearest sample" if np.isfinite(distance) else "distance to samples unknown"
    edge = " (boundary)" if cell["boundary"] == 1 else ""
    return f"at {place}{edge}\n{gap}".replace("-", "−")
