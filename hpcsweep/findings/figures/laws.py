"""Power laws in a picture: medians, the fitted lines with their exponents, and the slope of the theory beside."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hpcsweep.findings import scaling, series, sheet
from hpcsweep.findings.figures import panels
from hpcsweep.findings.scaling import Law, Smoothness
from hpcsweep.findings.theory import NOUNS

AXIS = {
    "parameters": "trainable parameters",
    "samples": "training samples",
    "train_seconds": "training time (s)",
    "flops": "training flops (estimate)",
}
CHOSEN = {
    "parameters": "At the largest sample count of each network",
    "samples": "For the largest networks of each depth",
    "train_seconds": "Settings that no faster one beats",
    "flops": "Settings that no cheaper one beats",
}
BOUND = {"color": "#000000", "linestyle": (0, (1, 1.2)), "linewidth": 1.4}
UNFITTED = {"markerfacecolor": "white", "alpha": 1.0}
MOST_WORDS = 4  # exponents that are written into a panel
LINE = 0.08  # of a panel's height, for one line of words
SWEPT = 200  # sizes at which the band is drawn


def scaling_laws(
    dataset: xarray.Dataset,
    against: str = "parameters",
    error: str = "sup_lower",
    smoothness: Smoothness | None = None,
) -> Figure | None:
    """Draw the laws of `hpcsweep.findings.scaling.laws`, whose parameters these are; None where there is none.

    Marks are medians over replicates; open ones are not fitted. The band is what the interval of the exponent allows,
    turned about the middle of the fitted range. The dotted line has the slope of the theory's lower bound; its height
    means nothing, since the constant of the bound is not known.
    """
    table = series.table(dataset)
    laws = scaling.laws(table, against, error, smoothness)
    if not laws:
        return None
    cells = scaling.chosen(table.cells, against)
    every = list(dict.fromkeys((law.target, law.dimension) for law in laws))
    places = panels.arrange(every)
    looks = panels.looks(table.lines, {law.line for law in laws})
    figure = panels.make(
        places, _heading(dataset, cells, laws, len(every) - len(places)), _handles(looks.values(), laws)
    )
    errors = cells[cells["measured"]].assign(sup_lower=lambda rows: rows[error])
    labels = (AXIS[against], scaling.ERRORS[error])
    drawn = panels.grid(figure, places, errors, labels)
    own = {panel: [law for law in laws if (law.target, law.dimension) == panel] for panel in drawn}
    for panel, axes in drawn.items():
        panels.title(axes, f"{panel[0]}, {panel[1]}-D", len(places) == 1)
        for law in own[panel]:
            _draw(axes, law, looks[law.line])
        _bound(axes, own[panel])
        if against in scaling.COSTS:
            panels.tick(axes.xaxis)
        else:
            panels.mark(axes, np.unique(np.concatenate([law.law.sizes for law in own[panel]]).round().astype(int)))
    for target in dict.fromkeys(target for target, _ in drawn):
        _write({panel: axes for panel, axes in drawn.items() if panel[0] == target}, own, looks)
    figure.align_ylabels()
    return figure


def _heading(dataset: xarray.Dataset, cells: object, laws: list[Law], undrawn: int) -> sheet.Heading:
    law = laws[0]
    about = (
        f"{CHOSEN[law.against]}. Marks: medians over replicates, open ones not fitted. Lines: power laws; bands: "
        "95\u00a0% intervals of their exponents, bootstrap over replicates."
    )
    footnote = panels.footnote(dataset, cells, undrawn)  # type: ignore[arg-type]
    slope = " The height of the dotted line means nothing, only its slope." if _bounded(laws) else ""
    name = scaling.ERRORS[law.error]
    return sheet.Heading(
        f"{name[0].upper()}{name[1:]}: how it scales with {NOUNS[law.against]}", about, footnote + slope
    )


def _bounded(laws: Iterable[Law]) -> bool:
    return any(_has_slope(law.bound) for law in laws)


def _has_slope(bound: float | None) -> bool:
    return bound is not None and 0 < bound < math.inf


def _handles(looks: Iterable[dict], laws: list[Law]) -> list[Line2D]:
    bound = [Line2D([], [], label="slope of the theory's lower bound", **BOUND)] if _bounded(laws) else []
    return [*panels.handles(looks), *bound]


def _draw(axes: Axes, found: Law, look: dict) -> None:
    """Draw medians, line, band and floor of one law."""
    law = found.law
    style = {**look, "linestyle": ""}
    axes.plot(law.sizes[law.fitted], law.medians[law.fitted], **style)
    hollow = {**style, "markeredgecolor": look["color"], "markeredgewidth": 1.1, **UNFITTED, "label": "_"}
    axes.plot(law.sizes[~law.fitted], law.medians[~law.fitted], **hollow)
    x = np.geomspace(*law.range, SWEPT)
    line = law.at(x)
    axes.plot(x, line, color=look["color"], linestyle=look["linestyle"], linewidth=1.5)
    if not math.isnan(law.low):
        middle = math.sqrt(law.range[0] * law.range[1])
        ends = [line * (x / middle) ** (law.exponent - end) for end in (law.low, law.high)]
        axes.fill_between(x, np.minimum(*ends), np.maximum(*ends), color=look["color"], alpha=0.13, linewidth=0)
    if np.isfinite(law.floor):
        axes.hlines(law.floor, law.sizes[~law.fitted][0], law.sizes[-1], color=look["color"], linewidth=1, alpha=0.7)


def _bound(axes: Axes, laws: list[Law]) -> None:
    """Draw the slope of the theory above the highest line; all laws of a panel have the same."""
    if not laws or not _has_slope(laws[0].bound):
        return
    bound = laws[0].bound
    assert bound is not None
    low, high = min(one.law.sizes[0] for one in laws), max(one.law.sizes[-1] for one in laws)
    start = 1.6 * max(one.law.medians.max() for one in laws)
    least = min(one.law.medians.min() for one in laws) / 3
    end = min(high, low * (start / least) ** (1 / bound))  # a steep slope leaves the picture early
    x = np.array([low, end])
    axes.plot(x, start * (x / low) ** -bound, **BOUND)


def _write(drawn: dict[panels.Panel, Axes], laws: dict[panels.Panel, list[Law]], looks: dict[int, dict]) -> None:
    """Write the exponents into the lower left corners of panels that share an error axis, with room for them."""
    words = {
        panel: [_words(law, looks) for law in laws[panel][:MOST_WORDS]] + _bound_words(laws[panel]) for panel in drawn
    }
    axes = next(iter(drawn.values()))
    low, high = axes.get_ylim()
    share = LINE * max(len(texts) for texts in words.values()) + 0.03
    axes.set_ylim(low * (low / high) ** (share / (1 - share)), high)
    for panel, texts in words.items():
        for row, (text, color) in enumerate(reversed(texts)):
            place = (0.03, 0.03 + LINE * row)
            drawn[panel].text(*place, text, transform=drawn[panel].transAxes, size=7.5, color=color)


def _bound_words(laws: list[Law]) -> list[tuple[str, str]]:
    """Return what theory says of a panel."""
    bound = laws[0].bound if laws else None
    if bound is None:
        return []
    return [
        (f"theory: {'any power' if math.isinf(bound) else 'no decay' if bound == 0 else f'{bound:.2g}'}", "#000000")
    ]


def _words(found: Law, looks: dict[int, dict]) -> tuple[str, str]:
    return _exponent(found), looks[found.line]["color"]


def _exponent(found: Law) -> str:
    law = found.law
    interval = "" if math.isnan(law.low) else f" [{law.low:.2f}, {law.high:.2f}]"
    return f"exponent {law.exponent:.2f}{interval}{', then a floor' if np.isfinite(law.floor) else ''}".replace(
        "-", "−"
    )
