"""Published figures beside ours: cases in a TOML file, each row a number worked out of a store and a range to accept.

    [[case]]
    name = "michaud-teacher"                # of the study: results/michaud-teacher.h5
    source = "Michaud, Liu, Tegmark (2023)"

    [[case.row]]
    figure = "RMSE, BFGS, one network"
    value = "l2_error"                      # a column, or a formula of columns such as "sup_lower / l1_error"
    where = { optimizer = "bfgs", stages = 1 }       # the cells: a value, or a list of values, by column
    over = ["median replicate"]             # how every axis that varies among them is reduced, in this order
    published = "4.10e-8"
    accept = [1e-9, 5e-7]                   # left out: for comparison only

`divided_by = "l2_error"` divides by another column, reduced likewise: the ratio of two aggregates, as papers give it,
where `value = "sup_lower / l2_error"` aggregates ratios. `slope = "samples"` takes the slope of log(value) over
log(samples), left after `over`, in place of the value. `beside = { dimension = 1 }` divides by the same number of other
cells, `where` with these values instead.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray
from pandas import DataFrame

from hpcsweep.errors import StoreError, unknown
from hpcsweep.findings.dataset import further_axes
from hpcsweep.findings.grids import AXES, CHOICES, axes_of, frame

if TYPE_CHECKING:
    from pandas import Series

REDUCTIONS = ("median", "mean", "max", "min")
FIELDS = ("figure", "value", "divided_by", "where", "over", "slope", "beside", "published", "accept")


@dataclass(frozen=True)
class Row:
    """One number of a published experiment: what to work out of a store, and what to accept."""

    case: str
    source: str
    figure: str
    value: str
    divided_by: str = ""
    over: tuple[str, ...] = ()
    where: Mapping[str, Any] | None = None
    slope: str = ""
    beside: Mapping[str, Any] | None = None
    published: str = ""
    accept: tuple[float, float] | None = None


@dataclass(frozen=True)
class Compared:
    """A row with our figure: NaN where a cell that counts has no measured error, or where there is no such cell."""

    row: Row
    ours: float
    cells: int  # that count
    missing: int  # of these without a measured value

    @property
    def verdict(self) -> str:
        """`yes`, or by how much it is not, or why nothing can be said."""
        if not self.cells:
            return "not run"
        if self.missing:
            return f"no: {self.missing} of {self.cells} cells have no measured error"
        if self.row.accept is None:
            return "shown only"
        least, most = self.row.accept
        if least <= self.ours <= most:
            return "yes"
        bound = most if self.ours > most else least
        if math.isfinite(self.ours) and self.ours * bound > 0:
            return f"no: {self.ours / bound:.2g} times the {'largest' if bound == most else 'smallest'} accepted"
        return f"no: {self.ours:.3g} is not within [{least:g}, {most:g}]"


def rows(path: str | Path) -> Iterator[Row]:
    """Yield the rows of a file of cases. Raises StoreError, naming the row and the key, for one that cannot be read."""
    for case in tomllib.loads(Path(path).read_text()).get("case", []):
        for number, row in enumerate(case.get("row", [])):
            where = f"{path}: {case.get('name')}, row {number}"
            for key in row:
                if key not in FIELDS:
                    raise StoreError(unknown(where, key, FIELDS))
            if not {"figure", "value"} <= row.keys():
                raise StoreError(f"{where}: needs `figure` and `value`.")
            lists = {key: tuple(row[key]) for key in ("over", "accept") if key in row}
            yield Row(case["name"], case.get("source", ""), **{**row, **lists})


def compare(dataset: xarray.Dataset, row: Row) -> Compared:
    """Work one number out of a store's dataset (`hpcsweep.findings.dataset.read`).

    Raises
    ------
    StoreError: for a column that does not exist, or an axis that varies and is not reduced.
    """
    chosen, values = _selected(dataset, row, row.where or {})
    if not len(values):
        return Compared(row, math.nan, 0, 0)
    ours, count, missing = _reduced(chosen, values, row), len(values), _missing(values)
    if row.beside is not None:
        other, divisors = _selected(dataset, row, {**(row.where or {}), **row.beside})
        ours = ours / _reduced(other, divisors, row) if len(divisors) else math.nan
        count, missing = count + len(divisors), missing + _missing(divisors) + (not len(divisors))
    return Compared(row, ours, count, missing)


def _missing(values: DataFrame) -> int:
    return int((~np.isfinite(values).all(axis=1)).sum())


def _selected(dataset: xarray.Dataset, row: Row, where: Mapping[str, Any]) -> tuple[DataFrame, DataFrame]:
    """Return the cells that count, by their axes, and the value of each, and the divisor if there is one."""
    numbers = frame(dataset)
    mask = np.ones(len(numbers), dtype=bool)
    for name, values in where.items():
        if name not in numbers:
            raise StoreError(unknown(f"{row.case}, {row.figure}: where", name, numbers.columns))
        mask &= numbers[name].isin(values if isinstance(values, list) else [values]).to_numpy()
    columns = [*AXES, *CHOICES, *further_axes(dataset)]
    cells = dataset[columns].to_dataframe()[columns].reset_index(drop=True).assign(parameters=numbers["parameters"])
    worked_out = {"value": _worked_out(numbers, row.value, row)[mask]}
    if row.divided_by:
        worked_out["divisor"] = _worked_out(numbers, row.divided_by, row)[mask]
    return cells[mask], DataFrame(worked_out)


def _worked_out(numbers: DataFrame, formula: str, row: Row) -> Series:
    """Return the value of a formula for each cell."""
    try:
        return numbers.eval(formula).astype(float)
    except Exception as error:  # pandas raises many kinds for a formula that is none
        raise StoreError(f"{row.case}, {row.figure}: {formula!r} cannot be evaluated: {error}.") from None


def _reduced(cells: DataFrame, values: DataFrame, row: Row) -> float:
    """Reduce one axis after the other, a missing value staying missing; at last the number, or the slope."""
    steps = [_step(text, row) for text in row.over]
    kept = [name for _, name in steps] + ([row.slope] if row.slope else [])
    if cells.groupby(kept, dropna=False).ngroups < len(cells) if kept else len(cells) > 1:
        left = [name for name in axes_of(cells) if name not in kept and name not in CHOICES]
        raise StoreError(f"{row.case}, {row.figure}: cells differ in {', '.join(left)} too: reduce these with `over`.")
    table = cells[kept].join(values)
    for reduction, name in steps:
        kept.remove(name)
        rest = table.groupby(kept, dropna=False, sort=True) if kept else table.groupby(lambda _: 0)
        # Without skipping: a network that has no error is no reason for a better median.
        reduced = rest[list(values)].agg(lambda group, how=reduction: getattr(group, how)(skipna=False))
        table = reduced.reset_index()
    ours = (table["value"] / table["divisor"] if row.divided_by else table["value"]).to_numpy(float)
    if not row.slope:
        return float(ours[0])
    x, y = np.log(table[row.slope].to_numpy(float)), np.log(ours)
    return float(np.polyfit(x, y, 1)[0]) if len(x) > 1 and np.isfinite(y).all() else math.nan


def _step(text: str, row: Row) -> tuple[str, str]:
    """Return reduction and axis of a text such as "median replicate"."""
    reduction, _, name = text.partition(" ")
    if reduction not in REDUCTIONS:
        raise StoreError(unknown(f"{row.case}, {row.figure}: over", reduction, REDUCTIONS))
    return reduction, name
