"""A dataset over the axes of its study instead of one row for each cell."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import xarray

from hpcsweep.errors import StoreError
from hpcsweep.findings.dataset import further_axes, is_measured
from hpcsweep.store import layout

if TYPE_CHECKING:
    from pandas import DataFrame

AXES = ("target", "dimension", "model", "width", "depth", "samples", "optimizer", "replicate")
CHOICES = ("target_id", "model_id", "optimizer_id")  # tell cells apart whose labels are equal
SPARSE = 64  # a grid may have so many times as many places as there are cells


def unstacked(dataset: xarray.Dataset) -> xarray.Dataset:
    """Return a dataset with a dimension for each axis of the study, so that `sel` and `median` work along it.

    Parameters
    ----------
    dataset: what `hpcsweep.findings.dataset.read` returned, or a selection of its cells.

    Returns
    -------
    Dataset over the axes that vary; those that do not are scalar coordinates. What other axes determine (the learning
    rate of a method, samples that are counted by parameters) is a variable and no dimension. `missing` is true where
    the study has no such cell (its `status` is -1) or the cell has no measured error. Integers that can be missing are
    floats.

    Raises
    ------
    StoreError: if the union of the study's grids is far from one Cartesian product: select a part of it first.
    """
    columns = [*AXES, *CHOICES, *further_axes(dataset)]
    cells = dataset[columns].to_dataframe()[columns]
    axes = axes_of(cells)
    coded = [_codes(cells, name) for name in axes]
    shape = tuple(len(values) for _, values in coded)
    _refuse_sparse(len(cells), axes, shape)
    flat = np.zeros(len(cells), dtype=np.int64)
    for (codes, _), size in zip(coded, shape, strict=True):
        flat = flat * size + codes
    constant = {name: cells[name].iloc[0] for name in cells if name not in axes and cells[name].nunique() == 1}
    left_out = {"cell", "key", "status_name", *axes, *constant}
    left = [name for name in dataset.variables if "cell" in dataset[name].dims and name not in left_out]
    variables = {name: _spread(dataset[name], flat, axes, shape) for name in left}
    measured = np.zeros(math.prod(shape), dtype=bool)
    measured[flat] = is_measured(dataset)
    variables["missing"] = xarray.Variable(axes, ~measured.reshape(shape))
    values = {name: values for name, (_, values) in zip(axes, coded, strict=True)}
    beside = {name: dataset[name] for name in dataset.coords if "cell" not in dataset[name].dims and name != "run"}
    return xarray.Dataset(variables, {**beside, **values, **constant}, dataset.attrs)


def _refuse_sparse(cells: int, axes: list[str], shape: tuple[int, ...]) -> None:
    if math.prod(shape) > SPARSE * max(cells, 1):
        grid = " x ".join(f"{size} {name}" for name, size in zip(axes, shape, strict=True))
        raise StoreError(f"{cells:,} cells do not fill a grid of {grid}: first select some, such as one target.")


def axes_of(cells: DataFrame) -> list[str]:
    """Return the columns that vary, none determined by those before it, until they tell all cells apart."""
    chosen: list[str] = []
    for name in _candidates(cells):
        if _count(cells, [*chosen, name]) > _count(cells, chosen):
            chosen.append(name)
    if "samples" in chosen and _count(cells, [name for name in chosen if name != "samples"]) == len(cells):
        chosen.remove("samples")  # counted by the parameters: determined by axes that come later too
    if _count(cells, chosen) < len(cells):
        raise StoreError("Cells differ in more than the axes of the study and form no grid; select some of them first.")
    return chosen


def _candidates(cells: DataFrame) -> list[str]:
    """Return the columns that may be axes, the choices behind the labels last."""
    further = [name for name in cells if name not in (*AXES, *CHOICES)]
    return [*AXES[:-1], *further, "replicate", *CHOICES]


def _count(cells: DataFrame, columns: list[str]) -> int:
    """Return how many combinations of values the columns have."""
    return cells.groupby(columns, dropna=False, sort=False).ngroups if columns else min(1, len(cells))


def _codes(cells: DataFrame, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return for each cell the place of its value on an axis, and the values: numbers sorted, texts as they appear."""
    numeric = cells[name].dtype.kind in "iuf"
    codes, values = cells[name].factorize(sort=numeric, use_na_sentinel=False)
    return codes, np.asarray(values)


def _spread(column: xarray.DataArray, flat: np.ndarray, axes: list[str], shape: tuple[int, ...]) -> xarray.Variable:
    """Put the rows of a column in their places; elsewhere it is NaN, an empty text, or the status -1."""
    values = column.values
    whole = column.name in ("status", *CHOICES)
    kind = values.dtype if whole or values.dtype.kind in "fO" else np.float64
    blank = -1 if whole else "" if values.dtype.kind == "O" else np.nan
    places = np.full((math.prod(shape), *values.shape[1:]), blank, dtype=kind)
    places[flat] = values
    return xarray.Variable((*axes, *column.dims[1:]), places.reshape(*shape, *values.shape[1:]), column.attrs)


def frame(dataset: xarray.Dataset) -> DataFrame:
    """Return a pandas frame with one row for each cell and one column for each number, in the order of the store.

    Vectors take a column for each entry: sup_where_1, sup_where_2, ..., quantile_error_0.5, ...
    """
    further = further_axes(dataset)
    results = [name for name in layout.RESULTS if name in dataset and "checkpoint" not in dataset[name].dims]
    plain = [name for name in results if dataset[name].dims == ("cell",) and name != "status"]
    rows = dataset[[*layout.NAMED, *further, "status_name", *plain]].to_dataframe()[
        [*layout.NAMED, *further, "status_name", *plain]
    ]
    for name in (name for name in results if dataset[name].ndim == 2):
        along = dataset[name].dims[1]
        labels = dataset[along].values if along == "quantile" else np.arange(1, dataset.sizes[along] + 1)
        for label, values in zip(labels.tolist(), dataset[name].values.T, strict=True):
            rows[f"{name}_{label}"] = values
    return rows.rename(columns={"status_name": "status"}).reset_index(drop=True)
