"""A store, or a store with its shards, as a labelled dataset, also while a run is writing it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray

from hpcsweep.errors import StoreError
from hpcsweep.store import checksums, layout, lease, shards, verifying
from hpcsweep.store.reading import opened

HISTORY = ("history_loss", "history_step", "checkpoint")
UNREAD = ("checksum", "run_checksum", *layout.FILE, "file")  # of use to the store alone
DIMENSIONS = ("cell", "checkpoint", "quantile", "axis", "choice", "run")
MEASURED = (layout.DONE, layout.OUT_OF_BUDGET)  # their error was measured; a diverged network has none
PIECE = 2**14  # cells whose histories are read at a time
OF_STUDY = ("title", "seed", "precision")  # attributes in which stores that are read together agree

Files = str | Path | Sequence[str | Path]


def files(path: str | Path) -> list[Path]:
    """Return what there is of a store: its file, and after it the shards beside it that are left."""
    path = Path(path)
    parts = shards.beside(path)
    return [path, *parts] if path.exists() or not parts else parts


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
    StoreError: if a path is no store, a store is damaged, or stores are of different studies.
    """
    if isinstance(path, str | Path):
        return _read(path, history)
    return joined([_read(store, history) for store in path], [str(store) for store in path])


def _read(path: str | Path, history: bool) -> xarray.Dataset:
    with reading(path, () if history else HISTORY) as store:
        return store.part(slice(None))


@dataclass(frozen=True)
class Reading:
    """A store open for reading parts of it."""

    path: Path
    stored: xarray.Dataset  # neither loaded nor decoded
    skipped: tuple[str, ...]  # columns that are not to be returned
    status: xarray.DataArray  # (cell,)

    @property
    def keys(self) -> np.ndarray:
        """The keys of all cells, (cells,) bytes."""
        return self.stored["key"].values

    def part(self, rows: slice) -> xarray.Dataset:
        """Return some cells as `read` does. Raises `StoreError` if what was read of one of them is damaged.

        They are read again while somebody writes the store, and once more after that: a row may just have been
        overwritten.
        """
        written = True
        for pause in (0.1, 0.3, 1.0, 3.0, None):
            before, written = written, lease.holder(self.path) is not None
            # The writer puts the status last, so it must be read first: what it calls finished is then complete.
            status = self.stored["status"][rows].compute()
            launches = np.flatnonzero(~np.isnan(self.stored["run_started"].values))  # others are for launches to come
            part = self.stored.drop_vars(self.skipped, errors="ignore").isel(cell=rows, run=launches).load()
            if self._is_sound(part, rows, status.values):
                part = xarray.decode_cf(part.drop_vars(UNREAD, errors="ignore").assign(status=status)).load()
                return _label(_mask(part))
            if pause is None or not (before or written):
                break
            time.sleep(pause)
        verifying.require(self.path)  # which says what is damaged
        raise StoreError(f"{self.path} was changed while it was read; run the same command again.")

    def _is_sound(self, part: xarray.Dataset, rows: slice, status: np.ndarray) -> bool:
        """Return whether all finished cells of a part have their checksum; yes in stores that have none."""
        if "checksum" not in part:
            return True
        sums = checksums.rows({"key": part["key"].values})
        for name in (name for name in layout.RESULTS if name != "checksum" and name in self.stored):
            if name in part:
                sums += checksums.contribution(name, part[name].values)
            else:
                column = self.stored[name][rows]
                for start in range(0, len(sums), PIECE):  # most of the file, which is not kept in memory
                    piece = slice(start, start + PIECE)
                    sums[piece] += checksums.contribution(name, column[piece].values)
        return bool((part["checksum"].values == sums)[np.isin(status, layout.FINISHED)].all())


@contextlib.contextmanager
def reading(path: str | Path, skipped: tuple[str, ...] = HISTORY) -> Iterator[Reading]:
    """Open a store for reading parts of it, without the columns `skipped`. Raises `StoreError` as `read` does."""
    verifying.require_cells(Path(path))
    with opened(path), _open(path) as stored:
        yield Reading(Path(path), stored, skipped, stored["status"].compute())


def _open(path: str | Path) -> xarray.Dataset:
    settings: dict[str, Any] = {"engine": "h5netcdf", "decode_cf": False, "cache": False}
    try:  # a running writer is no obstacle, nor is a file system without locks
        return xarray.open_dataset(path, **settings, driver_kwds={"locking": False})
    except OSError as error:
        if "locking flag" not in str(error):
            raise
        return xarray.open_dataset(path, **settings)  # this process has it open with locking: HDF5 wants the same again


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


def joined(parts: list[xarray.Dataset], names: list[str]) -> xarray.Dataset:
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
        part.assign({name: part[name] + start for name in ("target_id", "model_id", "optimizer_id")}).reset_coords()
        for part, start in zip(parts, choices, strict=False)
    ]
    whole = xarray.merge([_stacked(shifted, along) for along in ("cell", "choice", "run")], compat="override")
    whole = whole.set_coords({name for part in parts for name in part.coords} & set(whole)).assign_attrs(parts[0].attrs)
    launches = zip(*(whole[name].values.tolist() for name in ("run_host", "run_job", "run_started")), strict=True)
    once = list({launch: row for row, launch in enumerate(launches)}.values())  # merged files have it too
    return whole.isel(cell=shards.counting(whole["key"].values.astype("S"), whole["status"].values), run=once)


def _stacked(parts: list[xarray.Dataset], along: str) -> xarray.Dataset:
    """Return the columns along one dimension of all parts, one after the other; a part without a column has none."""
    columns = [part[[name for name in part.data_vars if part[name].dims[0] == along]] for part in parts]
    columns = [part.drop_vars(along, errors="ignore") for part in columns]
    stacked = xarray.concat(columns, along, data_vars="all", join="outer", combine_attrs="override")
    texts = [name for name in stacked.data_vars if stacked[name].dtype.kind == "O"]
    return stacked.assign({name: stacked[name].where(stacked[name].notnull(), "") for name in texts})


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
    reasons = ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))
    return f"{missing:,} of {total:,} cells left out: {reasons}."
