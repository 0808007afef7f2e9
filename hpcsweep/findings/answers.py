"""The tables that answer the three questions: how many weights, how many samples, which training method."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray

from hpcsweep.findings import scaling, series, theory
from hpcsweep.findings.tables import Rows, slim, text

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_SETTINGS = 60
SETTING = ["target", "dimension", "model", "width", "depth", "parameters", "samples"]
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
    abouts = dataset["choice_about"].values if "choice_about" in dataset else None
    frame = dataset[["target", "target_id", "dimension"]].to_dataframe()
    rows = []
    for target, cells in frame.groupby("target", sort=False):
        about = str(abouts[cells["target_id"].iloc[0]]).rstrip(".") if abouts is not None else ""
        dimensions = ", ".join(f"{dimension}" for dimension in sorted(set(cells["dimension"].tolist())))
        rows.append([str(target), about or "–", _smooth(known.get(str(target))), dimensions])
    header = ["target", "function", "smoothness", "dimensions"]
    if all(row[1] == "–" for row in rows):
        header, rows = [header[0], *header[2:]], [[row[0], *row[2:]] for row in rows]
    return Rows(header, rows)


def _smooth(n: float | None) -> str:
    """Say n of C^n."""
    if n is None:
        return "not known"
    return "smooth" if math.isinf(n) else "jumps" if n < 0 else "continuous" if n == 0 else f"C^{n:g}"


def exponents(found: dict[str, list[scaling.Law]]) -> Rows:
    """Return the exponents of the laws in one thing, of the sup-norm and the L2 error side by side."""
    average = {(law.target, law.dimension, law.line): law for law in found["l2_error"]}
    rows = []
    for law in found["sup_lower"]:
        other = average.get((law.target, law.dimension, law.line))
        floor = f"{law.law.floor:.2g}" if np.isfinite(law.law.floor) else "–"
        named = [law.target, text(law.dimension), law.label]
        theirs = [_theory(law.bound), law.standing or "–"]
        rows.append([*named, _exponent(law), _exponent(other) if other else "–", *theirs, _fitted(law), floor])
    header = ["target", "dimension", "of", "sup-norm exponent a", "L2 exponent a", "theory", "to theory"]
    note = (
        "Error ~ size⁻ᵃ, with 95 % intervals from a bootstrap over replicates. Theory: the lower bound for the worst "
        "function of the class, which a single target may beat."
    )
    return slim(Rows([*header, "sizes fitted", "saturates near"], rows, note), "of", "saturates near")


def _theory(bound: float | None) -> str:
    return "–" if bound is None else "any power" if math.isinf(bound) else text(bound)


def _exponent(law: scaling.Law) -> str:
    if np.isnan(law.law.low):
        return f"{law.law.exponent:.2f}"
    return f"{law.law.exponent:.2f} ({law.law.low:.2f} to {law.law.high:.2f})"


def _fitted(law: scaling.Law) -> str:
    """Say which sizes a law rests on."""
    fitted, (low, high) = law.law.fitted, law.law.range
    return f"{low:,.0f} to {high:,.0f} ({int(fitted.sum())} of {len(fitted)})"


def sentences(found: Sequence[scaling.Law]) -> Iterator[tuple[str, str]]:
    """Yield of what each law is, and the law in a sentence."""
    for law in found:
        yield f"{law.target}, {law.dimension}-D, {law.label}.", law.sentence


def needed(table: series.Table, against: str) -> Rows:
    """Return the smallest weights or samples that reached an error, for a few powers of ten.

    Beside the weights stands the width, where networks have one.
    """
    rows: dict[tuple[str, int, str], list[str]] = {}
    levels = scaling.decades(table)
    for epsilon in levels:
        widths = {}
        if against == "parameters":
            widths = {_line(reach): reach for reach in scaling.smallest(table, epsilon, "width")}
        for reach in scaling.smallest(table, epsilon, against):
            if reach.smallest < reach.largest:  # one size tried says nothing
                wide = widths.get(_line(reach))
                known = wide is not None and wide.smallest < wide.largest and not math.isnan(wide.size)
                told = f"{reach}; width {wide.size:,.0f}" if known and wide else str(reach)
                rows.setdefault(_line(reach), []).append(told)
    noun = theory.NOUNS[against]
    header = ["target", "dimension", "of", *(f"error ≤ {level:g}" for level in levels)]
    how = "at the most samples" if against == "parameters" else "of the largest networks"
    note = (
        f"The smallest number of {noun} tried, {how}, whose median sup-norm error is so small, with its 95 % interval; "
        "> and ≤: beyond what was tried."
    )
    return slim(Rows(header, [[key[0], text(key[1]), key[2], *told] for key, told in rows.items()], note), "of")


def _line(reach: scaling.Reach) -> tuple[str, int, str]:
    return reach.target, reach.dimension, reach.label


def compared(cells: DataFrame) -> DataFrame:
    """Return the median sup-norm error, (settings, training methods), of the settings that all methods tried."""
    measured = cells[cells["measured"]]
    medians = measured.groupby([*SETTING, "optimizer"], sort=False)["sup_lower"].median()
    return medians.unstack("optimizer").reindex(columns=measured["optimizer"].unique()).dropna()


def methods(table: series.Table) -> Rows:
    """Return `compared` as texts, and which method has the smallest error by how much; empty for a single method."""
    medians = compared(table.cells)
    if medians.shape[1] < 2:
        return Rows([], [])
    rows = []
    for setting, errors in medians.head(MOST_SETTINGS).iterrows():
        target, dimension, model, width, depth, _, samples = setting  # type: ignore[misc]
        first, second = errors.sort_values(kind="stable").iloc[:2]
        ahead = f", by {second / first:.2g} ×" if first > 0 else ""
        network = series.network(model, depth, width)
        named = [target, text(dimension), network, text(samples)]
        rows.append([*named, *(text(error) for error in errors), f"{errors.idxmin()}{ahead}"])
    header = ["target", "dimension", "network", "samples", *map(str, medians), "smallest"]
    note = "Median sup-norm error over replicates of each training method, at the settings that all of them tried."
    if len(medians) > MOST_SETTINGS:
        note += f" {MOST_SETTINGS} of {len(medians):,} settings."
    return slim(Rows(header, rows, note), "network", "samples")
