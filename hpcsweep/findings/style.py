"""What all figures share: colours, and a frame with a heading, a legend above the panels and a footnote below.

Figures are made without pyplot and set every size explicitly, so that nothing global is touched and no display is
needed. The colours are those of Okabe and Ito (jfly.uni-koeln.de/color), which colour-blind readers tell apart.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from hpcsweep.texts import visible

Look = dict[str, Any]  # how something is drawn: keywords of matplotlib

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#595959"
PALE = "#d9d9d9"
MARGIN = 0.12  # inches
SIZES = {"title": 11.5, "subtitle": 9, "panel": 9, "label": 9, "tick": 8, "legend": 8.5, "footnote": 7.5}  # points
LABEL: Look = {"size": SIZES["label"], "color": "#262626"}  # of an axis
CHARACTER = 0.0078  # inches of width per point of size, a little more than the average


@dataclass(frozen=True)
class Heading:
    """The words around the panels of a figure."""

    title: str
    subtitle: str = ""
    footnote: str = ""


def make(width: float, height: float, heading: Heading, handles: Sequence[Artist] = ()) -> Figure:
    """Return a figure whose panels will fill `width` x `height` inches, between a heading, a legend and a footnote.

    Panels that are added later arrange themselves (constrained layout) in the space that the words leave.
    """
    subtitle, footnote = _wrap(heading.subtitle, width, "subtitle"), _wrap(heading.footnote, width, "footnote")
    columns = _legend_columns(handles, width)
    legend_rows = math.ceil(len(handles) / columns)
    top = MARGIN + 0.26 + 0.18 * len(subtitle) + 0.165 * legend_rows + 0.12 * bool(legend_rows)
    bottom = MARGIN / 2 + 0.15 * len(footnote)
    total = height + top + bottom
    layout = ConstrainedLayoutEngine(rect=(0, bottom / total, 1, height / total), w_pad=0.07, h_pad=0.07)
    figure = Figure(figsize=(width, total), layout=layout, facecolor="white")
    left = MARGIN / width
    below = 1 - (MARGIN + 0.26) / total  # the lower edge of what stands above
    figure.text(left, 1 - MARGIN / total, plain(heading.title), size=SIZES["title"], weight="bold", va="top")
    figure.text(left, below, "\n".join(subtitle), size=SIZES["subtitle"], color=GREY, va="top", linespacing=1.35)
    figure.text(left, MARGIN / 2 / total, "\n".join(footnote), size=SIZES["footnote"], color=GREY, va="bottom")
    if handles:
        corner = (MARGIN / 2 / width, below - 0.18 * len(subtitle) / total)
        figure.legend(handles=handles, loc="upper left", bbox_to_anchor=corner, ncols=columns, **_LEGEND)
    return figure


_LEGEND = {"frameon": False, "fontsize": SIZES["legend"], "handlelength": 2.4, "labelspacing": 0.35, "borderpad": 0.4}


def _wrap(text: str, width: float, kind: str) -> list[str]:
    return textwrap.wrap(plain(text), int((width - 2 * MARGIN) / (CHARACTER * SIZES[kind])))


def _legend_columns(handles: Sequence[Artist], width: float) -> int:
    """Return how many entries of the legend stand beside each other."""
    longest = max((len(str(handle.get_label())) for handle in handles), default=0)
    entry = CHARACTER * SIZES["legend"] * longest + 0.55
    most = max(1, min(len(handles), int((width - MARGIN) / entry)))
    rows = math.ceil(len(handles) / most)
    return max(1, math.ceil(len(handles) / max(1, rows)))  # equally full columns


def plain(text: str) -> str:
    """Return a text that matplotlib shows as it stands: the names in a study are no formulas, even with dollars."""
    return visible(text).replace("$", r"\$")


def apply(axes: Axes) -> None:
    """Give a panel its plain look: two spines, a pale grid, small ticks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(which="both", color=GREY, labelsize=SIZES["tick"], labelcolor="#262626")
    axes.grid(True, color=PALE, linewidth=0.5)
    axes.set_axisbelow(True)


def title(axes: Axes, text: str) -> None:
    """Write the title of a panel."""
    axes.set_title(plain(text), loc="left", size=SIZES["panel"], weight="bold", color="#262626")
