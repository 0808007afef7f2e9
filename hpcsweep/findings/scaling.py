"""How errors fall with weights, samples and compute; and the inverse question, how many it took to reach an error.

Every statement is about one line of `hpcsweep.findings.series`: cells of one target, dimension, optimizer and further
factors. Against weights, the cells of each network of a line with the most samples count; against samples, the widest
network of each line that has several sample counts; against compute, the settings that no cheaper one beats, by their
medians.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hpcsweep.errors import StoreError, unknown
from hpcsweep.findings import powerlaw, series, theory
from hpcsweep.findings.powerlaw import PowerLaw

if TYPE_CHECKING:
    from pandas import DataFrame

COSTS = ("train_seconds", "flops")
AGAINST = ("parameters", "samples", *COSTS)
INVERSE = ("width", "parameters", "samples")
ERRORS = {"sup_lower": "sup-norm error", "l2_error": "L2 error"}
LOOSE = 0.2  # decades of scatter about a line from which on it is said

Smoothness = Mapping[str, float]  # of targets, by label


@dataclass(frozen=True)
class Law:
    """One power law: of which cells, against what, and how it stands to theory."""

    target: str
    dimension: int
    line: int  # index of `series.Table.lines`
    label: str
    against: str
    error: str
    law: PowerLaw
    bound: float | None
    sentence: str

    @property
    def panel(self) -> tuple[str, int]:
        """Target and dimension, which have a panel of a figure together."""
        return self.target, self.dimension

    @property
    def standing(self) -> str:
        """Steeper or shallower than the bound, or consistent with it, in a word; empty where that cannot be said."""
        return theory.standing(self.law, self.bound)


@dataclass(frozen=True)
class Reach:
    """The smallest size whose median error is at most `epsilon`, NaN where none was; `low` and `high` bound it.

    The interval is that of a bootstrap over replicates, 95 %; `high` is inf where too few draws reach `epsilon` at all.
    `smallest` and `largest` are the sizes tried, so that a reader sees what "none" and "the smallest" mean.
    """

    target: str
    dimension: int
    label: str
    against: str
    epsilon: float
    size: float
    low: float
    high: float
    smallest: float
    largest: float

    @property
    def curve(self) -> tuple[str, int, str]:
        """What it is the smallest size of: target, dimension and label."""
        return self.target, self.dimension, self.label

    @property
    def varied(self) -> bool:
        """Whether more than one size was tried."""
        return self.smallest < self.largest

    @property
    def bare(self) -> str:
        """The size without its interval; > and ≤: beyond the sizes tried."""
        if math.isnan(self.size):
            return f"> {self.largest:,.0f}"
        return f"{'≤ ' if self.size == self.smallest else ''}{self.size:,.0f}"

    def __str__(self) -> str:
        if math.isnan(self.size) or self.low == self.high == self.size:
            return self.bare
        most = f"> {self.largest:,.0f}" if math.isinf(self.high) else f"{self.high:,.0f}"
        return f"{self.bare} ({self.low:,.0f} to {most})"


def laws(
    table: series.Table,
    against: str = "parameters",
    error: str = "sup_lower",
    smoothness: Smoothness | None = None,
) -> list[Law]:
    """Fit a power law to each line that has two sizes at least; some exponents are not determined.

    Parameters
    ----------
    against: "parameters", "samples", "train_seconds" or "flops".
    error: "sup_lower" or "l2_error".
    smoothness: by target, the order n up to which derivatives are bounded, beyond what the store itself has.

    Raises
    ------
    StoreError: for another `against` or `error`.
    """
    _require("against", against, AGAINST)
    _require("error", error, ERRORS)
    known = {**table.smoothness, **(smoothness or {})}
    fitted = []
    of_line = table.cells.groupby("line")[["nonlinearity", "depth", "noise"]].first()
    for (target, dimension, line), sizes, errors in _groups(table, against, error):
        if (law := powerlaw.fit(sizes, errors)) is None:
            continue
        case = theory.Case(against, dimension, known.get(target), *of_line.loc[line])
        words = sentence(law, against, error, theory.verdict(law, case))
        fitted.append(Law(target, dimension, line, table.lines[line].label, against, error, law, case.rate, words))
    return fitted


def _require(what: str, value: str, allowed: Collection[str]) -> None:
    if value not in allowed:
        raise StoreError(unknown(what, value, allowed))


def _groups(table: series.Table, against: str, error: str) -> Iterator[tuple[tuple, np.ndarray, np.ndarray]]:
    """Yield ((target, dimension, line), sizes (sizes,), errors (replicates, sizes)) of each line."""
    cells = chosen(table.cells, against)
    cells = cells[cells["measured"]]
    for key, group in cells.groupby(["target", "dimension", "line"], sort=False):
        yield key, *(_front(group, against, error) if against in COSTS else _matrix(group, against, error))


def chosen(cells: DataFrame, against: str) -> DataFrame:
    """Return the cells that count against `against`; those that are not measured among them."""
    line = ["target", "dimension", "line"]
    if against in ("parameters", "width"):
        return series.largest(cells, "samples", [*line, "parameters"])
    if against == "samples":
        measured = cells.assign(samples=cells["samples"].where(cells["measured"]))
        counts = measured.groupby([*line, "size"])["samples"].transform("nunique").clip(upper=powerlaw.FEW)
        return series.largest(series.largest(cells.assign(counts=counts), "counts", line), "size", line)
    return cells


def left_out(table: series.Table, against: str) -> str:
    """Say how many measured cells do not count against weights or samples, and why; empty where all do."""
    measured = table.cells[table.cells["measured"]]
    count = len(measured.index.difference(chosen(table.cells, against).index))
    if not count:
        return ""
    why = {
        "parameters": "there are cells of the same network and line with more samples",
        "samples": "their network is not the widest of those in its line with three sample counts (or the most)",
    }[against]
    return f"{count:,} of {len(measured):,} measured cells are left out of this chapter, because {why}."


def _matrix(cells: DataFrame, size: str, error: str) -> tuple[np.ndarray, np.ndarray]:
    """Return sizes and errors (replicates, sizes)."""
    pivot = cells.pivot_table(error, "replicate", size, aggfunc="median")
    return pivot.columns.to_numpy(dtype=np.float64), pivot.to_numpy()


def _front(cells: DataFrame, cost: str, error: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the costs and errors of the settings that no cheaper one beats, by medians over replicates."""
    setting = ["parameters", "samples"]
    pivot = cells.pivot_table(error, "replicate", setting, aggfunc="median")
    costs = cells.groupby(setting)[cost].median().reindex(pivot.columns)
    medians = pivot.median()
    known = costs[costs > 0].sort_values(kind="stable").index
    best = medians[known] < medians[known].cummin().shift(fill_value=np.inf)
    kept = known[best.to_numpy()]
    kept = kept[~costs[kept].duplicated(keep="last").to_numpy()]
    return costs[kept].to_numpy(), pivot[kept].to_numpy()


def sentence(law: PowerLaw, against: str, error: str, verdict: str) -> str:
    """Return a law in words: range, exponent, interval, what is left out, and theory."""
    name = ERRORS[error]
    if not law.determined:
        return f"The exponent of the {name} is not determined: {law.reason}."
    low, high = (f"{x:,.3g}" if x < 1e3 else f"{x:,.0f}" if x < 1e7 else f"{x:.2g}" for x in law.range)
    noun = theory.NOUNS[against] if " " not in theory.NOUNS[against] else f"({theory.NOUNS[against]})"
    course, span = "falls" if law.exponent >= 0 else "grows", f"from {low} to {high} {theory.NOUNS[against]}"
    ends = f"95 % interval {interval(law)}" if interval(law) else "no interval: their slopes do not differ"
    chance = f"{counted(law.replicates)} replicates, {ends}"
    words = f"The {name} {course} on average as {noun}^-a with a = {law.exponent:.2f} {span} ({chance})."
    if not law.distinct:
        words = f"The exponent of the {name} {span} is not distinguishable from 0 ({chance})."
    return " ".join([words, *_unfitted(law), verdict])


def interval(law: PowerLaw) -> str:
    """Return the ends of the interval of an exponent, to two decimals, fewer from 10 on; empty where there are none."""
    ends = (
        f"{end:.2f}" if abs(end) < 10 else f"{end:.0f}" if abs(end) < 1e4 else f"{end:.0e}"
        for end in (law.low, law.high)
    )
    return "" if math.isnan(law.low) else " to ".join(ends)


def counted(span: tuple[int, int]) -> str:
    """Say the ends of a range of counts, or the one there is."""
    return " to ".join(f"{count:,}" for count in dict.fromkeys(span))


def _unfitted(law: PowerLaw) -> Iterator[str]:
    """Say which sizes a law leaves out, what its interval presumes, and how well it fits."""
    single = int((law.counts < powerlaw.REPEATED).sum())
    if single:
        yield f"{_sizes(single)} left out, which {'has' if single == 1 else 'have'} a single replicate."
    if np.isfinite(law.floor):
        left = int((~law.fitted).sum()) - single
        excluded = f"; {_sizes(left)} excluded from the fit" if left else ""
        yield f"It saturates near {law.floor:.2g}{excluded}."
    least, most = law.replicates
    if least == powerlaw.REPEATED < most:
        yield "A size has two replicates; the interval holds if errors scatter alike at all sizes."
    if law.scatter > LOOSE:
        yield f"Medians scatter by {law.scatter:.1f} decades about the line, which fits them poorly."


def _sizes(count: int) -> str:
    return f"{count} size{' was' if count == 1 else 's were'}"


def smallest(
    table: series.Table,
    epsilon: float,
    against: str = "parameters",
    error: str = "sup_lower",
    draws: int = powerlaw.DRAWS,
    seed: int = 0,
) -> list[Reach]:
    """Return for each line the smallest width, weights or samples whose median error is at most `epsilon`.

    The sizes are those tried, nothing is interpolated. Parameters are as in `laws`; `against` may be "width".
    """
    _require("against", against, INVERSE)
    _require("error", error, ERRORS)
    return [
        Reach(
            *(target, dimension, table.lines[line].label, against, epsilon),
            *reached(sizes, errors, epsilon, draws, seed),
            *(float(sizes.min()), float(sizes.max())),
        )
        for (target, dimension, line), sizes, errors in _groups(table, against, error)
    ]


def reached(
    sizes: np.ndarray, errors: np.ndarray, epsilon: float, draws: int = powerlaw.DRAWS, seed: int = 0
) -> tuple[float, float, float]:
    """Return the smallest of the sizes (ascending) whose median of errors (replicates, sizes) is at most `epsilon`.

    Returns
    -------
    size, low, high: NaN, and inf at the ends, where none reaches it. Where a size has a single replicate there is no
    interval: its ends are the size.
    """
    medians = powerlaw.medians(errors)
    drawn = powerlaw.resample(errors, draws, seed)  # where no replicate of a size is drawn, its median stays
    hit = np.vstack([medians, np.where(np.isfinite(drawn), drawn, medians)]) <= epsilon
    first = np.where(hit.any(axis=1), sizes[hit.argmax(axis=1)], np.inf)
    size = float(first[0]) if np.isfinite(first[0]) else math.nan
    if np.isfinite(errors).sum(axis=0).min() < powerlaw.REPEATED:
        return size, float(first[0]), float(first[0])
    tail = (1 - powerlaw.CONFIDENCE) / 2
    ordered = np.sort(first[1:])  # inf among them: no interpolation
    low, high = ordered[[math.floor(tail * (len(ordered) - 1)), math.ceil((1 - tail) * (len(ordered) - 1))]]
    return size, float(low), float(high)


def decades(table: series.Table, most: int = 4) -> list[float]:
    """Return powers of ten that the medians of some settings have reached and of others not."""
    cells = table.cells[table.cells["measured"]]
    errors = cells.groupby(["target", "dimension", "line", "parameters", "samples"])["sup_lower"].median()
    errors = errors[errors > 0]
    if not len(errors):
        return []
    low, high = math.ceil(math.log10(errors.min())), math.floor(math.log10(errors.quantile(0.95)))
    powers = np.unique(np.linspace(high, low, most).round()) if high >= low else np.empty(0)
    levels = [10.0 ** int(power) for power in powers[::-1]]
    return [level for level in levels if (errors > level).any()]
