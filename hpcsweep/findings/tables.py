"""The tables of a report: headings, rows of texts, and a note on what they leave out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray

from hpcsweep import layout
from hpcsweep.findings import scaling, series
from hpcsweep.findings.theory import NOUNS

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_MEDIANS = 200
MOST_MESSAGES = 50
SETTING = ("target", "dimension", "model", "width", "depth", "parameters", "samples", "optimizer")
MEDIANS = {  # heading: column and how it is combined over the replicates
    "cells": ("sup_lower", "size"),
    "sup-norm error": ("sup_lower", "median"),
    "smallest": ("sup_lower", "min"),
    "largest": ("sup_lower", "max"),
    "L2 error": ("l2_error", "median"),
    "sup/L2": ("ratio", "median"),
    "training RMSE": ("train_rmse", "median"),
}


@dataclass(frozen=True)
class Rows:
    """A table of texts."""

    header: list[str]
    rows: list[list[str]]
    note: str = ""


def best_cells(cells: DataFrame) -> DataFrame:
    """Return the measured cell with the smallest sup-norm error for each target and dimension, in their order."""
    pairs = ["target", "dimension"]
    ordered = cells.assign(pair=cells.groupby(pairs, sort=False).ngroup())[cells["measured"]]
    return ordered.sort_values(["pair", "sup_lower"], kind="stable").drop_duplicates("pair")


def best(table: series.Table) -> Rows:
    """Return `best_cells` as texts."""
    header = ["target", "dimension", "sup-norm error", "L2 error", "network", "parameters", "samples", "optimizer"]
    cells = best_cells(table.cells)
    cells = cells.assign(network=[series.network(cell.model, cell.depth, cell.width) for cell in cells.itertuples()])
    columns = ["target", "dimension", "sup_lower", "l2_error", "network", "parameters", "samples", "optimizer"]
    rows = cells[columns].itertuples(index=False, name=None)
    return Rows(header, [[text(value) for value in row] for row in rows])


def medians(table: series.Table, most: int = MOST_MEDIANS) -> Rows:
    """Return the medians over replicates of each setting, the smallest first for each target and dimension.

    Where there are more than `most` settings, every target and dimension gets equally many rows.
    """
    cells = table.cells[table.cells["measured"]]
    setting = [*SETTING, *(name for name in table.further if cells[name].nunique(dropna=False) > 1)]
    results = cells.groupby(setting, sort=False, dropna=False).agg(**MEDIANS).reset_index()
    pairs = results.groupby(["target", "dimension"], sort=False)
    share = max(1, most // max(1, pairs.ngroups))
    ranked = results.assign(pair=pairs.ngroup()).sort_values(["pair", "sup-norm error"], kind="stable")
    shown = (ranked if len(ranked) <= most else ranked.groupby("pair").head(share).head(most)).drop(columns="pair")
    note = (
        f"{len(shown):,} of {len(results):,} settings: per target and dimension the {share} with the smallest median."
    )
    rows = [[text(value) for value in row] for row in shown.itertuples(index=False, name=None)]
    return Rows([name.replace("_", " ") for name in shown], rows, note if len(shown) < len(results) else "")


Laws = dict[str, dict[str, list[scaling.Law]]]  # by what errors fall with, and by error


def laws(table: series.Table, smoothness: scaling.Smoothness | None = None) -> Laws:
    """Return the power laws in weights and in samples, of the sup-norm and the L2 error."""
    return {
        against: {error: scaling.laws(table, against, error, smoothness) for error in scaling.ERRORS}
        for against in ("parameters", "samples")
    }


def exponents(fitted: Laws) -> Rows:
    """Return the exponents of `laws`, of the sup-norm and the L2 error side by side."""
    rows = []
    for against, found in fitted.items():
        average = {(law.target, law.dimension, law.line): law for law in found["l2_error"]}
        for law in found["sup_lower"]:
            other = average.get((law.target, law.dimension, law.line))
            named = [law.target, text(law.dimension), law.label, NOUNS[against]]
            bound = "–" if law.bound is None else "any power" if np.isinf(law.bound) else text(law.bound)
            rows.append([*named, _exponent(law), _exponent(other) if other else "–", bound, law.sentence])
    header = ["target", "dimension", "of", "in", "sup-norm exponent", "L2 exponent", "theory", "in words"]
    note = "95 % intervals: bootstrap over replicates. Theory: the lower bound for the worst function of a class."
    return Rows(header, rows, note)


def _exponent(law: scaling.Law) -> str:
    if np.isnan(law.law.low):
        return f"{law.law.exponent:.2f}"
    return f"{law.law.exponent:.2f} ({law.law.low:.2f} to {law.law.high:.2f})"


def needed(table: series.Table) -> Rows:
    """Return the smallest width, weights and samples that reached an error, for a few powers of ten."""
    rows: dict[tuple[str, int, str, str], list[str]] = {}
    levels = scaling.decades(table)
    for against in scaling.INVERSE:
        for epsilon in levels:
            for reach in scaling.smallest(table, epsilon, against):
                if reach.smallest < reach.largest:  # one size tried says nothing
                    rows.setdefault((reach.target, reach.dimension, reach.label, against), []).append(str(reach))
    header = ["target", "dimension", "of", "smallest", *(f"for error ≤ {level:.0e}" for level in levels)]
    note = (
        "The smallest size tried whose median sup-norm error is so small, with its 95 % interval; > and ≤: beyond the "
        "sizes that were tried. Widths and weights at the most samples, samples for the largest networks."
    )
    return Rows(header, [[key[0], text(key[1]), key[2], NOUNS[key[3]], *told] for key, told in rows.items()], note)


def messages(table: series.Table, most: int = MOST_MESSAGES) -> Rows:
    """Return what was said of cells, failures first, and which failed or diverged without a word."""
    cells = table.cells
    told = cells[(cells["message"] != "") | cells["status"].isin([layout.FAILED, layout.DIVERGED])]
    grouped = told.groupby(["status_name", "message"], sort=False)
    counted = told.assign(cells=grouped["key"].transform("size")).drop_duplicates(["status_name", "message"])
    counted = counted.sort_values(["status", "cells"], ascending=False, kind="stable")
    rows = [
        [cell.status_name, text(cell.cells), cell.message or "no message", describe(cell), cell.key]
        for cell in counted.head(most).itertuples()
    ]
    note = f"{most} of {len(counted):,} different messages." if len(counted) > most else ""
    return Rows(["status", "cells", "message", "first such cell", "its key"], rows, note)


def describe(cell: Any) -> str:
    """Say in words which cell a row of `series.Table.cells` is."""
    network = series.network(cell.model, cell.depth, cell.width)
    what = f"{cell.target}, {cell.dimension}-D, {network}, {cell.samples:,} samples, {cell.optimizer}"
    return f"{what}, replicate {cell.replicate}"


def launches(dataset: xarray.Dataset) -> Rows:
    """Return the launches that filled the store."""
    names = ("run_host", "run_job", "run_ranks", "run_devices", "run_versions", "run_started", "run_seconds")
    columns = zip(*(dataset[name].values.tolist() for name in names), strict=True)
    rows = [
        [moment(started), duration(seconds), host, job or "–", text(ranks), devices, versions]
        for host, job, ranks, devices, versions, started, seconds in columns
    ]
    return Rows(["started", "took", "host of rank 0", "job", "ranks", "devices", "versions"], rows)


def text(value: object) -> str:
    """Write a number to three digits, a count in full, NaN as a dash, a text as it is."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    number = float(value)  # type: ignore[arg-type]
    if 1e3 <= abs(number) < 1e7 and number.is_integer():  # a count with gaps is stored as floats
        return f"{int(number):,}"
    return "–" if np.isnan(number) else f"{number:.3g}"


def moment(seconds: float) -> str:
    """Write a Unix time."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def duration(seconds: float) -> str:
    """Write a duration in hours, minutes and seconds."""
    return "–" if np.isnan(seconds) else str(timedelta(seconds=round(seconds)))
