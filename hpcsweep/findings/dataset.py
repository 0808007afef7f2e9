"""A store, or a store with its shards, as a labelled dataset, also while a run is writing it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray

from hpcsweep.errors import StoreError
from hpcsweep.store import layout, shards
from hpcsweep.store.files import opened

HISTORY = ("history_loss", "history_step", "checkpoint")
DIMENSIONS = ("cell", "checkpoint", "quantile", "axis", "choice", "run")
MEASURED = (layout.DONE, layout.OUT_OF_BUDGET)  # their error was measured; a diverged network has none
OF_STUDY = ("title", "seed", "precision")  # attributes in which stores that are read together agree
BETTER = np.array([0, 1, 3, 3, 3, 2])  # by status: of two rows of one cell, the larger counts

Files = str | Path | Sequence[str | Path]


def files(path: str | Path) -> list[Path]:
    """Return what there is of a store: its file, and after it the shards beside it that are left."""
    path = Path(path)
    found = shards.beside(path)
    return [path, *found] if path.exists() or not found else found


def read(path: Files, history: bool = False) -> xarray.Dataset:
    """Read a store, or several that belong together, into memory.

    Parameters
    ----------
    path: the store, or several, as `files` lists them: a cell that is in more than one counts once, by the first file
        that has finished it (one that is done comes before one that has failed). A run may be writing them.
    history: whether to read the training histories too, (cells, 64) each, which are most of the file.

    Returns
    -------
    Dataset over `cell`, `axis`, `quantile`, `run` and `choice` (and `checkpoint`). Texts are `str`; results are NaN,
    and messages empty, until their cell is finished; counts are floats for that reason. `status` holds the integers of
    `layout.STATUS`, the coordinate `status_name` their names. The attributes are the store's: title, study (its
    text), format, seed, precision.

    Raises
    ------
    StoreError: if a path is no store, or stores are of different studies.
    """
    if isinstance(path, str | Path):
        return _read(path, history)
    return _joined([_read(one, history) for one in path], [str(one) for one in path])


def _read(path: str | Path, history: bool) -> xarray.Dataset:
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


def _joined(parts: list[xarray.Dataset], names: list[str]) -> xarray.Dataset:
    """Return the cells of several stores as one dataset."""
    if not parts:
        raise StoreError("There is no store to read.")
    for part, name in zip(parts, names, strict=True):
        for attribute in OF_STUDY:
            if part.attrs[attribute] != parts[0].attrs[attribute]:
                raise StoreError(f"{name} and {names[0]} do not belong to one study: they differ in {attribute!r}.")
    if len(parts) == 1:
        return parts[0]
    choices = np.cumsum([0, *(part.sizes["choice"] for part in parts)])
    shifted = [
        part.assign({name: part[name] + start for name in ("target_id", "model_id", "optimizer_id")})
        for part, start in zip(parts, choices, strict=False)
    ]
    columns = {name: _column([part.get(name) for part in shifted], shifted) for name in _names(shifted)}
    coordinates = {str(name) for part in parts for name in part.coords}
    whole = xarray.Dataset(columns, attrs=parts[0].attrs).set_coords(sorted(coordinates & set(columns)))
    launches = zip(*(whole[name].values.tolist() for name in ("run_host", "run_job", "run_started")), strict=True)
    once = list({launch: row for row, launch in enumerate(launches)}.values())  # merged files have it too
    return whole.isel(cell=_chosen(whole["key"].values, whole["status"].values), run=once)


def _names(parts: list[xarray.Dataset]) -> list[str]:
    """Return the columns of all parts, without the plain numbers of rows."""
    numbers = ("cell", "choice", "run")
    return list(dict.fromkeys(str(name) for part in parts for name in part.variables if name not in numbers))


def _column(found: list[xarray.DataArray | None], parts: list[xarray.Dataset]) -> xarray.Variable:
    """Return a column of all parts one after the other; a part without it has none of it."""
    like = next(column for column in found if column is not None)
    along = like.dims[0]
    if along not in ("cell", "choice", "run"):  # coordinates such as quantile; of axis, the longest
        return max((column.variable for column in found if column is not None), key=lambda column: column.size)
    sizes = [max(part.sizes[name] for part in parts) for name in like.dims[1:]]
    blank, kind = ("", np.dtype(object)) if like.dtype.kind == "O" else (np.nan, np.dtype(np.float64))
    blocks = []
    for column, part in zip(found, parts, strict=True):
        whole = column.dtype if column is not None and column.dtype.kind not in "fO" else None  # without a blank
        block = np.full((part.sizes[along], *sizes), blank if whole is None else 0, dtype=whole or kind)
        if column is not None:
            block[tuple(slice(size) for size in column.shape)] = column.values
        blocks.append(block)
    return xarray.Variable(like.dims, np.concatenate(blocks), like.attrs)


def _chosen(keys: np.ndarray, status: np.ndarray) -> np.ndarray:
    """Return the row of each cell that counts, in the order in which cells appear first."""
    best: dict[str, int] = {}
    for row, (key, worth) in enumerate(zip(keys.tolist(), BETTER[status].tolist(), strict=True)):
        if key not in best or worth > BETTER[status[best[key]]]:
            best[key] = row
    return np.array(list(best.values()), dtype=np.int64)


def further_axes(dataset: xarray.Dataset) -> list[str]:
    """Return the names of the study's further axes (learning_rate, activation ...), those that vary between cells."""
    common = {*layout.NAMED, *DIMENSIONS, "status_name", "smoothness"}
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
