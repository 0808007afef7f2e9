"""The study's HDF5 file: laid out before the run, filled row by row, readable at any moment.

Two rules make it safe. *Structure* (layout, extension, attributes, a new run's provenance) changes only by writing a
whole new file and `os.replace`. *Values* change only by overwriting rows in place, `status` last, after a flush of the
rest. So no metadata changes while values are written: a kill at any moment leaves a readable file in which every row
marked done is right. Rank 0 alone writes; anyone may read at any time with ``locking=False``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from hpcsweep import layout, weights
from hpcsweep.cells import Cells
from hpcsweep.errors import StoreError
from hpcsweep.lease import Lease
from hpcsweep.rewrite import (
    Run,
    Source,
    build,
    common_keys,
    first_difference,
    read_cells,
    read_runs,
    replacing,
)
from hpcsweep.study import Study


@dataclass(frozen=True)
class Record:
    """What is stored of one finished cell: values by column name, trained parameters, a slice (3, points)."""

    status: str  # an outcome of layout.OUTCOMES
    values: dict[str, object]
    parameters: np.ndarray | None = None  # (parameters,)
    slice: np.ndarray | None = None  # (3, layout.SLICE): coordinate, target, model


class Store:
    """A store open for writing, with its lease. Rows are cells; `cells` holds this study's and older finished ones."""

    def __init__(self, path: Path, cells: Cells, planned: int, lease: Lease, keep_weights: bool) -> None:
        self.path, self.cells, self.planned = path, cells, planned
        self._lease = lease
        self._file = h5py.File(path, "r+", locking=False)
        self._weights = weights.Writer(path, len(cells)) if keep_weights else None
        self.status: np.ndarray = self._file["status"][:]  # (cells,)
        self.attempts: np.ndarray = self._file["attempts"][:]  # (cells,)
        self._run = len(self._file["run"]) - 1
        self._started = time.monotonic()

    @staticmethod
    def open(path: str | Path, study: Study, cells: Cells, run: Run) -> Store:
        """Create the store of a study, or open it again to resume or extend it.

        Finished cells are kept, whatever the study now says; unfinished ones that it no longer has are dropped.
        Raises `StoreError` if the file belongs to another study, is held by a live run, or cannot be written.
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"The folder {path.parent} cannot be made: {error.strerror}.") from error
        lease = Lease(path)
        try:
            rows = _prepare(path, study, cells, run)
            return Store(path, rows, len(cells), lease, study.weights)
        except OSError as error:
            lease.release()
            raise StoreError(f"The store {path} cannot be written: {error}.") from error
        except BaseException:
            lease.release()
            raise

    def pending(self) -> np.ndarray:
        """Return the rows of this study that are not finished: starting, resuming and extending are this line."""
        return np.flatnonzero(~np.isin(self.status[: self.planned], layout.FINISHED))

    def forget(self, status: int) -> None:
        """Make the rows with this status pending again (to retry what failed)."""
        self._mark(np.flatnonzero(self.status == status), layout.PENDING)

    def predict(self, seconds: np.ndarray) -> None:
        """Store the predicted seconds of every row; NaN leaves a row as it is."""
        known = self._file["predicted_seconds"][:]
        self._file["predicted_seconds"][:] = np.where(np.isnan(seconds), known, seconds)

    def start(self, rows: Sequence[int]) -> None:
        """Count an attempt of these rows and mark them running."""
        self.attempts[list(rows)] += 1
        _write(self._file["attempts"], rows, self.attempts[list(rows)])
        self._mark(rows, layout.RUNNING)

    def release(self, rows: Sequence[int]) -> None:
        """Make rows pending again whose work was interrupted."""
        self._mark(rows, layout.PENDING)

    def put(self, rows: Sequence[int], records: Sequence[Record]) -> None:
        """Store finished cells: parameters first, then values, then, after a flush, their status."""
        order = np.argsort(rows)
        rows = [int(rows[i]) for i in order]
        records = [records[i] for i in order]
        if self._weights is not None:
            self._weights.put(rows, [(r.parameters, r.slice) for r in records])
        for name, column in layout.RESULTS.items():
            if name not in ("status", "attempts", "predicted_seconds"):
                values = [_storable(record.values.get(name, column.fill), column) for record in records]
                _write(self._file[name], rows, _stack(values, column, self._file[name].shape[1:]))
        _write(self._file["finished"], rows, np.full(len(rows), time.time()))
        self._file["run_seconds"][self._run] = time.monotonic() - self._started
        self._file.flush()
        self._mark(rows, [layout.OUTCOMES[record.status] for record in records])

    def _mark(self, rows: Sequence[int] | np.ndarray, status: int | list[int]) -> None:
        rows = np.asarray(rows, dtype=np.int64)
        if len(rows):
            self.status[rows] = status
            _write(self._file["status"], rows, self.status[rows])
            self._file.flush()

    def close(self) -> None:
        """Flush, close and give the lease back. Raises `StoreError` if what was written cannot reach the disk."""
        try:
            if self._weights is not None:
                self._weights.close()
            self._file.close()
        except (OSError, RuntimeError) as error:  # h5py raises either when a flush fails
            raise StoreError(f"{self.path} cannot be closed: {error}; make room on the disk and run again.") from error
        finally:
            self._lease.release()


def _prepare(path: Path, study: Study, cells: Cells, run: Run) -> Cells:
    """Write the file of this run: new, or with all that is finished in the old one. Returns its rows."""
    sources: list[Source] = []
    runs = [run]
    rows = cells
    if path.exists():
        old = read_cells(path)
        _refuse_another(path, study, cells, old)
        with h5py.File(path, "r", locking=False) as file:
            finished = np.isin(file["status"][:], layout.FINISHED)
        rows = cells.union(old.take(np.flatnonzero(finished)))
        runs = [*read_runs(path), run]
        sources = [Source(path)]
    if study.weights:
        weights.build(path, rows, [path] if sources else [])
    with replacing(path) as temporary:
        build(temporary, rows, study.title, study.text, runs, sources)
    return rows


def _refuse_another(path: Path, study: Study, cells: Cells, old: Cells) -> None:
    """Raise `StoreError` if a store is of another study: no cell in common, or another title."""
    with h5py.File(path, "r", locking=False) as file:
        title, text = (str(file.attrs[name]) for name in ("title", "study"))
    if title == study.title and (len(old) == 0 or len(common_keys(cells, old)[0])):
        return
    raise StoreError(
        f"{path} holds another study ({title!r}): {first_difference(text, study.text)}. "
        "Give another file with -o, or undo the change; only the grids of a study may grow."
    )


def merge(path: str | Path, shards: Iterable[str | Path]) -> tuple[int, int]:
    """Copy the finished rows of shards by key into the main file; harmless twice. Returns (new rows, finished rows).

    Raises `StoreError` if a file is no store, or if a live run holds the main file.
    """
    path = Path(path)
    files = [path, *(Path(shard) for shard in shards if Path(shard) != path)]
    present = [file for file in files if file != path or file.exists()]
    all_cells = [read_cells(file) for file in present]
    lease = Lease(path)
    try:
        rows = all_cells[0]
        for cells in all_cells[1:]:
            rows = rows.union(cells)
        before = _finished(path) if path.exists() else 0
        with h5py.File(present[0], "r", locking=False) as file:
            title, text = (str(file.attrs[name]) for name in ("title", "study"))
        if any(weights.path_of(file).exists() for file in present):
            weights.build(path, rows, present)
        runs = list(dict.fromkeys(run for file in present for run in read_runs(file)))
        with replacing(path) as temporary:
            build(temporary, rows, title, text, runs, [Source(file) for file in present])
        after = _finished(path)
    finally:
        lease.release()
    return after - before, after


def _finished(path: Path) -> int:
    with h5py.File(path, "r", locking=False) as file:
        return int(np.isin(file["status"][:], layout.FINISHED).sum())


def _write(dataset: h5py.Dataset, rows: Sequence[int] | np.ndarray, values: np.ndarray) -> None:
    """Overwrite rows (ascending), one contiguous piece at a time: many times faster than a list selection."""
    rows = np.asarray(rows, dtype=np.int64)
    for piece in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1):
        if len(piece):
            dataset[rows[piece[0]] : rows[piece[-1]] + 1] = values[piece]


def _storable(value: object, column: layout.Column) -> object:
    """Cut a message to its column, at a whole character."""
    if isinstance(value, str):
        return value.encode()[: layout.MESSAGE_BYTES].decode(errors="ignore").encode()
    return value


def _stack(values: list[object], column: layout.Column, shape: tuple[int, ...]) -> np.ndarray:
    """Return values as one array (rows, *shape), the rest of a short row filled."""
    stacked = np.full((len(values), *shape), column.fill, dtype=column.dtype)
    for row, value in enumerate(values):
        if shape and value is not column.fill:
            stacked[row, : len(value)] = value  # type: ignore[arg-type]
        else:
            stacked[row] = value
    return stacked
