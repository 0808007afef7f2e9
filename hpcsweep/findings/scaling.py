"""How errors fall with weights, samples and compute; and the inverse question, how many it took to reach an error.

Every statement is about one line of `hpcsweep.findings.series`: cells of one target, dimension, optimizer and further
factors. Against weights, the cells with the most samples of each network count; against samples, the largest networks
of each family and depth; against compute, the settings that no cheaper one beats, by their medians.
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
FEW = 3  # sizes that a law needs: any two lie on a line
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
    draws: int = powerlaw.DRAWS,
    seed: int = 0,
) -> list[Law]:
    """Fit a power law to each line that has three sizes at least.

    Parameters
    ----------
    against: "parameters", "samples", "train_seconds" or "flops".
    error: "sup_lower" or "l2_error".
    smoothness: by target, the order n up to which derivatives are bounded, beyond what the store itself has.
    draws, seed: of the bootstrap.

    Raises
    ------
    StoreError: for another `against` or `error`.
    """
    _require("against", against, AGAINST)
    _require("error", error, ERRORS)
    known = {**table.smoothness, **(smoothness or {})}
    fitted = []
    for (target, dimension, line), sizes, errors in _groups(table, against, error):
        law = powerlaw.fit(sizes, errors, draws, seed) if len(sizes) >= FEW else None
        if law is None or len(law.sizes) < FEW:
            continue
        n = known.get(target)
        words = sentence(law, against, error, theory.verdict(law, against, dimension, n))
        bound = theory.rate(against, dimension, n)
        fitted.append(Law(target, dimension, line, table.lines[line].label, against, error, law, bound, words))
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
    if against in ("parameters", "width"):
        return series.largest(cells, "samples", ["target", "dimension", "parameters"])
    if against == "samples":
        return series.largest(cells, "size", ["target", "dimension", "family", "depth"])
    return cells


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
    """Return a law in words: exponent, interval, range, floor and theory."""
    low, high = (f"{x:,.3g}" if x < 1e3 else f"{x:,.0f}" if x < 1e7 else f"{x:.2g}" for x in law.range)
    interval = "no interval from one replicate"
    if not math.isnan(law.low):
        interval = f"95 % interval of the exponent {-law.high:.2f} to {-law.low:.2f}, {law.replicates} replicates"
    noun = theory.NOUNS[against] if " " not in theory.NOUNS[against] else f"({theory.NOUNS[against]})"
    course = "falls" if law.exponent >= 0 else "grows"
    power = f"{noun}^{-law.exponent:.2f} ({interval}), fitted from {low} to {high}."
    parts = [f"The {ERRORS[error]} {course} as {power}"]
    if law.low <= 0 <= law.high:
        parts = [f"No fall of the {ERRORS[error]} is established, because the interval contains 0: {power}"]
    if np.isfinite(law.floor):
        left = int((~law.fitted).sum())
        excluded = f"{left} size{' was' if left == 1 else 's were'} excluded from the fit"
        parts.append(f"Beyond this range it saturates near {law.floor:.2g}; {excluded}.")
    if law.scatter > LOOSE:
        parts.append(f"Medians scatter by {law.scatter:.1f} decades about the line, which fits them poorly.")
    return " ".join([*parts, verdict])


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
    size, low, high: NaN, and inf at the ends, where none reaches it. A single replicate has no interval but its size.
    """
    medians = np.concatenate([powerlaw.medians(errors)[None], powerlaw.resample(errors, draws, seed)])
    hit = medians <= epsilon
    first = np.where(hit.any(axis=1), sizes[hit.argmax(axis=1)], np.inf)
    tail = (1 - powerlaw.CONFIDENCE) / 2
    ordered = np.sort(first[1:])  # inf among them: no interpolation
    low, high = ordered[[math.floor(tail * (len(ordered) - 1)), math.ceil((1 - tail) * (len(ordered) - 1))]]
    return (float(first[0]) if np.isfinite(first[0]) else math.nan), float(low), float(high)


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
