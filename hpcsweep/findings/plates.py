"""The figures of a report, each with its file name and caption."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import xarray
from matplotlib.figure import Figure

from hpcsweep.findings import figures, gallery, maps, pictures, series, tables
from hpcsweep.findings.dataset import Files
from hpcsweep.findings.scaling import Smoothness

LINES = "Lines are medians over replicates, bands and whiskers the whole range."
LAWS = (
    "Straight lines are power laws fitted to the medians over replicates, with 95 % intervals of their exponents; "
    "where errors saturate, the sizes beyond are left out (open marks)."
)


@dataclass(frozen=True)
class Plate:
    """A figure with its file name and caption."""

    name: str
    caption: str
    figure: Figure


def plates(
    dataset: xarray.Dataset, table: series.Table, path: Files, smoothness: Smoothness | None = None
) -> Iterator[Plate]:
    """Yield the figures that the store has data for, one at a time."""
    if not table.cells["measured"].any():
        return
    for name, caption, make in _DRAWN:
        figure = make(dataset)
        if figure is not None and (name != "sup_against_samples" or _has_lines(figure)):
            yield Plate(name, caption, figure)
    for against, name, told in _SCALED:
        if (figure := figures.scaling_laws(dataset, against, smoothness=smoothness)) is not None:
            yield Plate(f"scaling_{name}", f"{told} {LAWS}", figure)
    for name, caption, make_from in _LOOKED_AT:
        if (figure := make_from(dataset, path)) is not None:
            yield Plate(name, caption, figure)
    for number, (key, why) in enumerate(pictures.choose(dataset, path), start=1):
        cell = next(table.cells[table.cells["key"] == key].itertuples())
        caption = f"{tables.describe(cell)}. This cell has {why}; the mark is where the meter found it."
        if (figure := pictures.picture(dataset, path, key)) is not None:
            yield Plate(f"picture_{number}", caption, figure)


def _has_lines(figure: Figure) -> bool:
    return any(len(line.get_xdata()) > 1 for axes in figure.axes for line in axes.lines)


_DRAWN: tuple[tuple[str, str, Callable[[xarray.Dataset], Figure | None]], ...] = (
    (
        "sup_against_weights",
        f"The largest error of each network against the number of its weights and biases. {LINES}",
        figures.sup_against_weights,
    ),
    (
        "sup_against_samples",
        f"The largest error against the number of training samples, for the largest networks. {LINES}",
        figures.sup_against_samples,
    ),
    (
        "optimizer_race",
        "Which training method reaches which error first: every network by the time that its training took.",
        partial(figures.optimizer_race, cost="train_seconds"),
    ),
    (
        "sup_against_l2",
        "The largest error against the root mean square: how far an average is from the worst.",
        figures.sup_against_l2,
    ),
    (
        "brackets",
        "Between the largest error found and the proved upper bound lies the true sup-norm error, for every cell.",
        figures.brackets,
    ),
    (
        "uniform_points",
        "What a study that takes the maximum over random points would have reported of the same networks.",
        figures.uniform_points,
    ),
    (
        "places",
        "Where the largest error was found: on the boundary, in a gap between training samples, or elsewhere inside.",
        figures.places,
    ),
    (
        "replicates",
        "How much the sup-norm error depends on chance: weights and samples drawn anew.",
        figures.replicates,
    ),
    ("costs", "The time that cells took against the time that was predicted when they were planned.", figures.costs),
)
_LOOKED_AT: tuple[tuple[str, str, Callable[[xarray.Dataset, Files], Figure | None]], ...] = (
    (
        "glitches",
        "The worst networks, of different targets and methods where there are enough: each beside its target and its "
        "training samples, and close to where the meter found its largest error.",
        gallery.glitches,
    ),
    (
        "error_maps",
        "|target − network| over the domain, for the best network of each method in two dimensions.",
        maps.error_maps,
    ),
)
_SCALED = (
    ("parameters", "weights", "How the largest error falls with weights."),
    ("samples", "samples", "How the largest error falls with samples."),
    ("train_seconds", "seconds", "How the largest error falls with training time."),
)
