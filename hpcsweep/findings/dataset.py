"""A store as a labelled dataset, also while a run is writing it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray

from hpcsweep import layout
from hpcsweep.rewrite import opened

HISTORY = ("history_loss", "history_step", "checkpoint")
DIMENSIONS = ("cell", "checkpoint", "quantile", "axis", "choice", "run")
MEASURED = (layout.DONE, layout.OUT_OF_BUDGET)  # their error was measured; a diverged network has none


def read(path: str | Path, history: bool = False) -> xarray.Dataset:
    """Read a store into memory.

    Parameters
    ----------
    path: the store; a run may be writing it.
    history: whether to read the training histories too, (cells, 64) each, which are most of the file.

    Returns
    -------
    Dataset over `cell`, `axis`, `quantile`, `run` and `choice` (and `checkpoint`). Texts are `str`; results are NaN, and
    messages empty, until their cell is finished; counts are floats for that reason. `status` holds the integers of
    `layout.STATUS`, the coordinate `status_name` their names. The attributes are the store's: title, study (its
    text), format, seed, precision.

    Raises
    ------
    StoreError: if `path` is no store.
    """
    with opened(path), _open(path, () if history else HISTORY) as stored:
        # The writer puts the status last, so it must be read first: what it calls finished is then complete.
        status = stored["status"].load()
        dataset = stored.load().assign(status=status)
    return _label(_mask(dataset))


def _open(path: str | Path, skipped: tuple[str, ...]) -> xarray.Dataset:
    settings = {"locking": False}  # a running writer is no obstacle, nor is a file system without locks
    return xarray.open_dataset(path, engine="h5netcdf", drop_variables=skipped, driver_kwds=settings)


def _mask(dataset: xarray.Dataset) -> xarray.Dataset:
    """Blank the results of cells that are not finished: some may be half written."""
    finished = dataset["status"].isin(layout.FINISHED)
    names = [name for name, column in layout.RESULTS.items() if column.dtype == "f8" or column.fill == -1]
    results = [name for name in names if name in dataset and name != "predicted_seconds"]
    masked = {name: dataset[name].where(finished) for name in results}
    masked["message"] = dataset["message"].where(finished, np.bytes_(b""))
    return dataset.assign(masked)


def _label(dataset: xarray.Dataset) -> xarray.Dataset:
    """Decode the texts, name the statuses, make the attributes plain."""
    texts = {name: _decoded(variable) for name, variable in dataset.variables.items() if variable.dtype.kind == "S"}
    names = np.array(layout.STATUS, dtype=object)[dataset["status"].values]
    labelled = dataset.assign(texts).assign_coords(status_name=("cell", names))
    labelled.attrs = {
        key: value.item() if isinstance(value, np.generic) else value for key, value in labelled.attrs.items()
    }
    return labelled


def _decoded(variable: xarray.Variable) -> xarray.Variable:
    """Decode a text column; equal texts share one `str`, so that 10^6 messages do not take a gigabyte."""
    values, numbers = np.unique(variable.values, return_inverse=True)
    decoded = np.array([value.decode(errors="replace") for value in values], dtype=object)
    return xarray.Variable(variable.dims, decoded[numbers.reshape(variable.shape)], variable.attrs)


def further_axes(dataset: xarray.Dataset) -> list[str]:
    """Return the names of the study's further axes (learning_rate, activation ...), those that vary between cells."""
    common = {*layout.NAMED, *DIMENSIONS, "status_name"}
    return [str(name) for name in dataset.coords if name not in common]


def is_measured(dataset: xarray.Dataset) -> np.ndarray:
    """Return which cells, (cells,) bool, have a finite sup-norm error and are done or out of budget."""
    return np.isin(dataset["status"].values, MEASURED) & np.isfinite(dataset["sup_lower"].values)


def left_out(dataset: xarray.Dataset) -> dict[str, int]:
    """Return how many cells are not measured, by reason: a status name, or "not finite" for an error that is NaN."""
    measured = is_measured(dataset)
    unbounded = np.isin(dataset["status"].values, MEASURED) & ~measured
    reasons = np.where(unbounded, "not finite", dataset["status_name"].values.astype(str))[~measured]
    names, counts = np.unique(reasons, return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def sentence(counts: dict[str, int], total: int) -> str:
    """Say what `left_out` counted of `total` cells; an empty text if nothing was left out."""
    if not counts:
        return ""
    missing = sum(counts.values())
    told = ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))
    return f"{missing:,} of {total:,} cells left out: {told}."
