"""The tables that answer the three questions: how many weights, how many samples, which training method."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import xarray

from hpcsweep.findings import scaling, series, tables, theory
from hpcsweep.findings.report.noise import NOISE
from hpcsweep.findings.tables import Rows, slim, text

if TYPE_CHECKING:
    from pandas import DataFrame, Series

MOST_SETTINGS = 60
MOST_METHODS = 8
SETTING = [name for name in tables.SETTING if name != "optimizer"]
ALIKE = 1.05  # ratio up to which two errors count as equal
QUESTIONS = ("parameters", "samples")  # what errors fall with
Laws = dict[str, dict[str, list[scaling.Law]]]  # by what errors fall with, and by error


def laws(table: series.Table, smoothness: scaling.Smoothness | None = None) -> Laws:
    """Return the power laws in weights and in samples, of the sup-norm and the L2 error."""
    return {
        against: {error: scaling.laws(table, against, error, smoothness) for error in scaling.ERRORS}
        for against in QUESTIONS
    }


def targets(dataset: xarray.Dataset, known: scaling.Smoothness) -> Rows:
    """Return what is known of each target: its function (not in older stores), smoothness and dimensions."""
    abouts = dataset.get("choice_about", xarray.full_like(dataset["choice_label"], "")).values
    rows = []
    for target, cells in dataset[["target", "target_id", "dimension"]].to_dataframe().groupby("target", sort=False):
        about = next((str(abouts[i]).rstrip(".") for i in cells["target_id"].unique() if abouts[i]), "–")
        dimensions = ", ".join(map(str, sorted(cells["dimension"].unique())))
        rows.append([str(target), about, _smooth(known.get(str(target))), dimensions, _domain(dataset, cells)])
    header = ["target", "function", "smoothness", "dimensions", "domain"]
    if all(row[1] == "–" for row in rows):
        header, rows = [header[0], *header[2:]], [[row[0], *row[2:]] for row in rows]
    return Rows(header, rows)


def _domain(dataset: xarray.Dataset, cells: DataFrame) -> str:
    """Return the domain of a target, as far as the store has it."""
    if "domain_low" not in dataset:
        return "–"
    row = int(cells["dimension"].to_numpy().argmax())
    low, high = (dataset[name].sel(cell=cells.index[row]).values for name in ("domain_low", "domain_high"))
    sides = list(dict.fromkeys(f"[{a:g}, {b:g}]" for a, b in zip(low, high, strict=True) if np.isfinite(a)))
    return f"{sides[0]}^d" if len(sides) == 1 else " × ".join(sides) or "–"


def _smooth(n: float | None) -> str:
    """Describe the smoothness n of a target."""
    if n is None:
        return "unknown"
    words = {math.inf: "smooth", -1: "discontinuous", 0: "continuous", 1: "Lipschitz"}
    return words.get(n, f"derivatives bounded up to order {n:g}")


def exponents(laws: dict[str, list[scaling.Law]]) -> Rows:
    """Return the exponents of the laws in weights or samples, of the sup-norm and the L2 error side by side."""
    average = {(law.panel, law.line): _exponent(law) for law in laws["l2_error"]}
    rows = []
    for law in laws["sup_lower"]:
        floor = f"{law.law.floor:.2g}" if np.isfinite(law.law.floor) else "–"
        fits = [_exponent(law), average.get((law.panel, law.line), "–"), _theory(law.bound), law.standing or "–"]
        rows.append([law.target, text(law.dimension), law.label, *fits, _fitted(law), floor])
    header = ["target", "dimension", "curve", "sup-norm: a", "L2: a", "theory", "compared with theory"]
    note = (
        "Error ~ size⁻ᵃ on average over the sizes fitted, with 95 % intervals of this average; larger sizes may behave "
        "differently. Theory: the exponent a in a lower bound, where a theorem covers these networks and this target; "
        "most bounds are for the worst function of a class, and the errors of a single target may fall faster."
    )
    if any(row[-1] != "–" for row in rows):
        note += " Floor: the error at which large sizes saturate."
    return slim(Rows([*header, "sizes fitted", "floor"], rows, note), "curve", "compared with theory", "floor")


def _theory(bound: float | None) -> str:
    return "not covered" if bound is None else "any power" if math.isinf(bound) else text(bound)


def _exponent(law: scaling.Law) -> str:
    if not law.law.determined:
        return f"not determined: {law.law.reason}"
    exponent = f"{law.law.exponent:.2f}" if law.law.distinct else "not distinguishable from 0"
    return f"{exponent} ({scaling.interval(law.law) or 'replicates do not differ'})"


def _fitted(law: scaling.Law) -> str:
    """Say which sizes a law was fitted to."""
    if not law.law.determined:
        return "–"
    fitted, (low, high) = law.law.fitted, law.law.range
    return f"{low:,.0f} to {high:,.0f} ({int(fitted.sum())} of {len(fitted)})"


def sentences(laws: Sequence[scaling.Law]) -> Iterator[tuple[str, str]]:
    """Yield what each law describes, and the law in a sentence."""
    for law in laws:
        yield f"{law.target}, {law.dimension}-D, {law.label}.", law.sentence


def needed(table: series.Table, against: str) -> Rows:
    """Return the smallest numbers of weights or samples that reached an error, for a few powers of ten.

    The width is given with the weights where networks have one.
    """
    rows: dict[tuple[str, int, str], list[str]] = {}
    levels = scaling.decades(table)
    for epsilon in levels:
        widths = scaling.smallest(table, epsilon, "width") if against == "parameters" else []
        width_of = {reach.curve: reach.bare for reach in widths if reach.varied and not math.isnan(reach.size)}
        for reach in scaling.smallest(table, epsilon, against):
            if reach.varied:  # a single size says nothing
                width = f"; width {width_of[reach.curve].removeprefix('≤ ')}" if reach.curve in width_of else ""
                rows.setdefault(reach.curve, []).append(f"{reach}{width}")
    header = ["target", "dimension", "curve", *(f"error ≤ {level:g}" for level in levels)]
    how = {"parameters": "with the most samples", "samples": "for the widest networks with several sample counts"}
    note = (
        f"The smallest number of {theory.NOUNS[against]} tried, {how[against]}, at which the median sup-norm error "
        "is this small, with its 95 % interval where every size has several replicates; > and ≤ mean that the value "
        "may lie beyond those tried."
    )
    if any("width" in cell for cells in rows.values() for cell in cells):
        note += " The smallest width is given as well."
    return slim(Rows(header, [[key[0], text(key[1]), key[2], *cells] for key, cells in rows.items()], note), "curve")


@dataclass(frozen=True)
class Comparison:
    """Training methods at equal settings, (settings, methods) each: medians, and over how many replicates they are.

    Methods differ in the optimizer, or in axes of the study that vary for one optimizer, which are then part of the
    name; noise in the samples belongs to the setting. `medians` of the sup-norm error are NaN, and `there` is 0, where
    a method was not tried.
    """

    medians: DataFrame
    measured: DataFrame
    there: DataFrame


def compared(table: series.Table) -> Comparison:
    """Return the comparison at the settings that several training methods tried; empty where there are none."""
    varying = [name for name in series.telling(table.cells, table.further) if name != NOISE]
    names = [
        ", ".join([method, *(series.setting(name, value) for name, value in zip(varying, values, strict=True))])
        for method, *values in table.cells[["optimizer", *varying]].itertuples(index=False, name=None)
    ]
    cells = table.cells.assign(method=names, error=table.cells["sup_lower"].where(table.cells["measured"]))
    grouped = cells.groupby([*SETTING, NOISE, "method"], sort=False)["error"]
    medians, measured, there = (
        counted.unstack("method").reindex(columns=list(dict.fromkeys(names)))
        for counted in (grouped.median(), grouped.count(), grouped.size())
    )
    medians = medians[medians.notna().sum(axis=1) > 1].dropna(axis=1, how="all")
    at = (medians.index, medians.columns)
    return Comparison(medians, measured.loc[at].fillna(0), there.loc[at].fillna(0))


def methods(table: series.Table) -> Rows:
    """Return `compared` as texts, with the method that has the smallest error and its lead over the next."""
    comparison = compared(table)
    medians = comparison.medians
    wins = medians.idxmin(axis=1).value_counts().reindex(medians.columns, fill_value=0)
    best = set(wins.sort_values(ascending=False, kind="stable").index[:MOST_METHODS])
    shown = [method for method in medians if method in best]
    rows, noisy = [], table.cells[NOISE].any()
    for setting, errors in medians.head(MOST_SETTINGS).iterrows():
        at = SimpleNamespace(**dict(zip((*SETTING, NOISE), setting, strict=True)))
        cells = [_median(*(frame.at[setting, name] for frame in vars(comparison).values())) for name in shown]
        network = series.network(at.model, at.depth, at.width)
        named = [at.target, text(at.dimension), network, text(at.samples), *([text(at.noise)] if noisy else [])]
        rows.append([*named, *cells, _ahead(errors)])
    note = "Median sup-norm error over replicates for each training method, in the settings tried with several methods."
    if len(medians) > MOST_SETTINGS:
        note += f" The first {MOST_SETTINGS} of {len(medians):,} settings are shown."
    if len(shown) < medians.shape[1]:
        note += f" {len(shown)} of {medians.shape[1]} methods are shown: those that most often have the smallest error."
    header = ["target", "dimension", "network", "samples", *([NOISE] if noisy else []), *shown, "smallest"]
    return slim(Rows(header, rows, note), "network", "samples", NOISE)


def _median(error: float, measured: float, there: float) -> str:
    """Return a median, with the number of replicates behind it where some have no measured error."""
    return text(error) if measured == there else f"{text(error)} ({measured:.0f} of {there:.0f})"


def _ahead(errors: Series) -> str:
    """Say which method has the smallest error, and by which factor that of the next is larger."""
    (best, smallest), (second, next_error) = errors.dropna().sort_values(kind="stable").iloc[:2].items()
    ratio = next_error / smallest if smallest > 0 else math.inf
    return f"{best} ≈ {second}" if ratio < ALIKE else f"{best}, by a factor of {ratio:.2g}"
