"""Power laws in a picture: medians, the fitted lines with their exponents, and the slope of the theory beside."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hpcsweep.findings import scaling, series, style
from hpcsweep.findings.figures import panels
from hpcsweep.findings.scaling import Law, Smoothness
from hpcsweep.findings.style import Heading, Look
from hpcsweep.findings.theory import NOUNS

if TYPE_CHECKING:
    from pandas import DataFrame

AXIS = {
    "parameters": "trainable parameters",
    "samples": "training samples",
    "train_seconds": "training time (s)",
    "flops": "training flops (estimate)",
}
CHOSEN = {
    "parameters": "At the largest sample count of each network and line",
    "samples": "For the widest network of each line that has several sample counts",
    "train_seconds": "Settings with a smaller error than any faster one",
    "flops": "Settings with a smaller error than any cheaper one",
}
BOUND: Look = {"color": "#000000", "linestyle": (0, (1, 1.2)), "linewidth": 1.4}
PALER: Look = {"color": style.GREY, "marker": "D", "markersize": 3.4, "linestyle": "--"}  # of the error beside
UNFITTED: Look = {"markerfacecolor": "white", "alpha": 1.0}
MOST_WORDS = 4  # exponents that are written into a panel
LINE = 0.08  # of a panel's height, for one line of words
SWEPT = 200  # sizes at which the band is drawn


def scaling_laws(
    dataset: xarray.Dataset,
    against: str = "parameters",
    error: str = "sup_lower",
    smoothness: Smoothness | None = None,
    beside: str | None = None,
) -> Figure | None:
    """Draw the laws of `hpcsweep.findings.scaling.laws`, whose parameters these are; None where none is determined.

    Marks are medians over replicates; open ones are not fitted. The band is what the interval of the exponent allows,
    turned about the middle of the fitted range. The dotted line has the slope of the theory's lower bound; its height
    means nothing, since the constant of the bound is not known. The laws of another error stand `beside`, paler, where
    every panel has but one line.
    """
    table = series.table(dataset)
    laws = _determined(table, against, error, smoothness)
    if not laws:
        return None
    beside = beside if len({law.line for law in laws}) == 1 else None
    others = _determined(table, against, beside, smoothness) if beside else []
    others = [law for law in others if law.line == laws[0].line]  # the other error may have a law where ours has none
    cells = scaling.chosen(table.cells, against)
    looks = panels.looks(table.lines, {law.line for law in laws})
    measured = cells[cells["measured"]]
    spread = pandas.concat([measured.assign(sup_lower=measured[name]) for name in (error, beside) if name])
    labels = (AXIS[against], "error" if others else scaling.ERRORS[error])
    every, handles = list(dict.fromkeys(law.panel for law in laws)), _handles(looks.values(), laws, others)
    figure, grid = panels.make(dataset, cells, every, spread, labels, _heading(laws, others, measured), handles)
    drawn = [
        _Panel(axes, [law for law in laws if law.panel == panel], [law for law in others if law.panel == panel])
        for panel, axes in grid.items()
    ]
    for panel in drawn:
        _draw_panel(panel, looks)
    for target in dict.fromkeys(target for target, _ in grid):
        _write([panel for panel in drawn if panel.laws[0].target == target], looks)
    return figure


def _determined(table: series.Table, against: str, error: str, smoothness: Smoothness | None) -> list[Law]:
    return [law for law in scaling.laws(table, against, error, smoothness) if law.law.determined]


@dataclass(frozen=True)
class _Panel:
    """The axes of one target and dimension, its laws, and those of the error beside."""

    axes: Axes
    laws: list[Law]
    others: list[Law]


def _draw_panel(panel: _Panel, looks: dict[int, Look]) -> None:
    """Draw the laws of one panel, those of the other error below them, and the slope of the theory."""
    axes, laws = panel.axes, panel.laws
    for law in panel.others:
        _draw(axes, law, looks[law.line] | PALER)
    for law in laws:
        _draw(axes, law, looks[law.line])
    _bound(axes, laws)
    if laws[0].against in scaling.COSTS:
        panels.tick(axes.xaxis)
    else:
        panels.mark(axes, np.unique(np.concatenate([law.law.sizes for law in laws]).round().astype(int)))


def _heading(laws: list[Law], others: list[Law], cells: DataFrame) -> Heading:
    """Return title, explanation and footnote of a figure that draws these cells."""
    against = laws[0].against
    about = (
        f"{CHOSEN[against]}. Marks: medians over replicates, open ones not fitted. Lines: power laws; bands: "
        f"95\u00a0% intervals of their exponents. {series.activations(cells)}"
    ).strip()
    slope = " The height of the dotted line means nothing, only its slope." if _bounded(laws) else ""
    names = [scaling.ERRORS[fitted[0].error] for fitted in (laws, others) if fitted]
    title = f"{' and '.join(names)}: how {'they scale' if others else 'it scales'} with {NOUNS[against]}"
    return Heading(title[0].upper() + title[1:], about, panels.UNITS + slope)


def _bounded(laws: Iterable[Law]) -> bool:
    return any(law.bound is not None and 0 < law.bound < math.inf for law in laws)


def _handles(looks: Iterable[Look], laws: list[Law], others: list[Law]) -> list[Line2D]:
    looks = list(looks)
    if others:  # of the one line that there is
        names = [scaling.ERRORS[fitted[0].error] for fitted in (laws, others)]
        looks = [looks[0] | {"label": f"{looks[0]['label']}: {names[0]}"}, looks[0] | PALER | {"label": names[1]}]
    bound = [Line2D([], [], label="slope of the theory's lower bound", **BOUND)] if _bounded(laws) else []
    return [*panels.handles(looks), *bound]


def _draw(axes: Axes, fitted: Law, look: Look) -> None:
    """Draw medians with the range of the replicates, line, band and floor of one law."""
    law = fitted.law
    axes.vlines(law.sizes, *law.ends, color=look["color"], linewidth=0.8, alpha=0.45)
    marks = {**look, "linestyle": ""}
    axes.plot(law.sizes[law.fitted], law.medians[law.fitted], **marks)
    hollow = {**marks, "markeredgecolor": look["color"], "markeredgewidth": 1.1, **UNFITTED, "label": "_"}
    axes.plot(law.sizes[~law.fitted], law.medians[~law.fitted], **hollow)
    x = np.geomspace(*law.range, SWEPT)
    line = law.at(x)
    axes.plot(x, line, color=look["color"], linestyle=look["linestyle"], linewidth=1.5)
    middle = math.sqrt(law.range[0] * law.range[1])
    ends = [line * (x / middle) ** (law.exponent - end) for end in (law.low, law.high)]
    axes.fill_between(x, np.minimum(*ends), np.maximum(*ends), color=look["color"], alpha=0.13, linewidth=0)
    if np.isfinite(law.floor):
        axes.hlines(law.floor, law.range[1], law.sizes[-1], color=look["color"], linewidth=1, alpha=0.7)


def _bound(axes: Axes, laws: list[Law]) -> None:
    """Draw the slopes of the theory above the highest line: one, or one for each depth of networks."""
    fitted = [law.law for law in laws]
    low, high = min(law.sizes[0] for law in fitted), max(law.sizes[-1] for law in fitted)
    start = 1.6 * max(law.medians.max() for law in fitted)
    least = min(law.medians.min() for law in fitted) / 3
    for bound in _bounds(laws):
        if 0 < bound < math.inf:
            end = min(high, low * (start / least) ** (1 / bound))  # a steep slope leaves the picture early
            axes.plot([low, end], [start, start * (end / low) ** -bound], **BOUND)


def _bounds(laws: list[Law]) -> list[float]:
    """Return the different bounds of the laws of a panel that theory covers."""
    return sorted({law.bound for law in laws if law.bound is not None})


def _write(row: list[_Panel], looks: dict[int, Look]) -> None:
    """Write the exponents into the lower left corners of panels that share an error axis, with room for them."""
    words = []
    for panel in row:
        own = [(_exponent(law, bool(panel.others)), looks[law.line]["color"]) for law in panel.laws[:MOST_WORDS]]
        words.append(own + [(_exponent(law, True), PALER["color"]) for law in panel.others] + _bound_words(panel.laws))
    low, high = row[0].axes.get_ylim()
    share = LINE * max(map(len, words)) + 0.03
    row[0].axes.set_ylim(low * (low / high) ** (share / (1 - share)), high)
    for axes, texts in ((panel.axes, texts) for panel, texts in zip(row, words, strict=True)):
        for number, (text, color) in enumerate(reversed(texts)):
            axes.text(0.03, 0.03 + LINE * number, text, transform=axes.transAxes, size=7.5, color=color)


def _bound_words(laws: list[Law]) -> list[tuple[str, str]]:
    """Return what theory says of a panel."""
    words = {0.0: "no decay", math.inf: "any power"}
    powers = " or ".join(words.get(bound, f"{bound:.2g}") for bound in _bounds(laws))
    whose = " (only without noise)" if laws[0].against == "samples" else " (only ReLU)"
    whose = whose if any(law.bound is None for law in laws) else ""
    return [(f"theory{whose}: {powers}", "#000000")] if powers else []


def _exponent(fitted: Law, named: bool) -> str:
    law = fitted.law
    name = scaling.ERRORS[fitted.error].removesuffix(" error") if named else "exponent"
    value = f"{law.exponent:.2f}" if law.distinct else "in"
    interval = f" [{ends.replace(' to ', ', ')}]" if (ends := scaling.interval(law)) else ""
    floor = ", then a floor" if np.isfinite(law.floor) else ""
    return f"{name} {value}{interval}{floor}".replace("-", "−").replace("sup−norm", "sup-norm")
