"""The tables of a report: headings, rows of texts, and a note on what they leave out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray

from hpcsweep.findings import series
from hpcsweep.store import layout

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


def slim(table: Rows, *names: str) -> Rows:
    """Return a table without those of the named columns that say the same, or nothing, in all of several rows.

    The first column of a name counts: behind it may be one that a user has called so.
    """
    if len(table.rows) < 2:
        return table
    columns = [table.header.index(name) for name in names if name in table.header]
    same = [i for i in columns if len({row[i] for row in table.rows}) == 1]
    said = ", ".join(_said(table.header[i], table.rows[0][i]) for i in same if table.rows[0][i] != "–")
    shown = [i for i in range(len(table.header)) if i not in same]
    note = f"{table.note} All: {said}." if said else table.note
    return Rows([table.header[i] for i in shown], [[row[i] for i in shown] for row in table.rows], note.strip())


def _said(name: str, value: str) -> str:
    """Say what a column has in all rows; names speak for themselves."""
    if name in ("curve", "network", "optimizer"):
        return value
    return f"{value} samples" if name == "samples" else f"{name} {value}"


def best_cells(cells: DataFrame) -> DataFrame:
    """Return the measured cell with the smallest sup-norm error for each target and dimension, in their order."""
    pairs = ["target", "dimension"]
    ordered = cells.assign(pair=cells.groupby(pairs, sort=False).ngroup())[cells["measured"]]
    return ordered.sort_values(["pair", "sup_lower"], kind="stable").drop_duplicates("pair")


def best(table: series.Table) -> Rows:
    """Return `best_cells` as texts."""
    header = ["target", "dimension", "sup-norm error", "proved ≤", "L2 error", "network", "parameters", "samples"]
    rows = []
    for cell in best_cells(table.cells).itertuples():
        errors = [cell.sup_lower, cell.sup_upper if np.isfinite(cell.sup_upper) else np.nan, cell.l2_error]
        network = series.network(cell.model, cell.depth, cell.width)
        values = [cell.target, cell.dimension, *errors, network, cell.parameters, cell.samples, cell.optimizer]
        rows.append([text(value) for value in values])
    note = "The sup-norm error is its lower bound; the true value lies between this and the proved one, if any."
    if table.cells["data"].any():
        of_data = "The sup-norm error of data is the maximum over the held-out rows."
        note = of_data if table.cells["data"].all() else f"{note} {of_data}"
    return slim(Rows([*header, "optimizer"], rows, note), "proved ≤", "optimizer")


def medians(table: series.Table, most: int = MOST_MEDIANS) -> Rows:
    """Return the medians over replicates of each setting, the smallest first for each target and dimension.

    Where there are more than `most` settings, every target and dimension gets equally many rows.
    """
    cells = table.cells[table.cells["measured"]]
    setting = [*SETTING, *series.telling(cells, table.further)]
    results = cells.groupby(setting, sort=False, dropna=False).agg(**MEDIANS).reset_index()
    pairs = results.groupby(["target", "dimension"], sort=False)
    share = max(1, most // max(1, pairs.ngroups))
    ranked = results.assign(pair=pairs.ngroup()).sort_values(["pair", "sup-norm error"], kind="stable")
    shown = (ranked if len(ranked) <= most else ranked.groupby("pair").head(share).head(most)).drop(columns="pair")
    which = f"for each target and dimension the {share} with the smallest median{'' if share == 1 else 's'}"
    note = f"{len(shown):,} of {len(results):,} settings: {which}."
    rows = [[text(value) for value in row] for row in shown.itertuples(index=False, name=None)]
    return Rows([name.replace("_", " ") for name in shown], rows, note if len(shown) < len(results) else "")


def messages(table: series.Table, most: int = MOST_MESSAGES) -> Rows:
    """Return the messages of cells, failures first, with those that failed or diverged without one."""
    cells = table.cells
    chosen = cells[(cells["message"] != "") | cells["status"].isin([layout.FAILED, layout.DIVERGED])]
    grouped = chosen.groupby(["status_name", "message"], sort=False)
    counted = chosen.assign(cells=grouped["key"].transform("size")).drop_duplicates(["status_name", "message"])
    counted = counted.sort_values(["status", "cells"], ascending=False, kind="stable")
    rows = [
        [cell.status_name, text(cell.cells), cell.message or "no message", describe(cell), cell.key]
        for cell in counted.head(most).itertuples()
    ]
    note = f"{most} of {len(counted):,} different messages." if len(counted) > most else ""
    return Rows(["status", "cells", "message", "first such cell", "key"], rows, note)


def describe(cell: Any) -> str:
    """Describe the cell of a row of `series.Table.cells`."""
    return f"{cell.target}, {cell.dimension}-D, {series.described(cell)}"


def launches(dataset: xarray.Dataset) -> Rows:
    """Return the launches that filled the store."""
    names = ("run_host", "run_job", "run_ranks", "run_devices", "run_versions", "run_started", "run_seconds")
    columns = zip(*(dataset[name].values.tolist() for name in names), strict=True)
    rows = [
        [moment(started), duration(seconds), host, job or "–", text(ranks), devices, versions]
        for host, job, ranks, devices, versions, started, seconds in columns
    ]
    return Rows(["started", "duration", "host of rank 0", "job", "ranks", "devices", "versions"], rows)


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
