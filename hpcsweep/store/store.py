"""The study's HDF5 file: laid out before the run, filled row by row, readable at any moment.

Three rules make it safe. *Structure* (layout, extension, attributes) changes only by writing a whole new file and
`os.replace`. *Values* change only by overwriting rows in place (`row_writer`), with a checksum of each row, so that no
metadata changes while values are written. A row is marked finished only when its values are on the disk, for many rows
together (`Store.settle`): a kill or a power cut at any moment leaves a readable file in which every row marked done is
right. Rows that are complete and not marked yet are known by their checksums, so that a kill loses none. Rank 0 alone
writes, and looks before each write whether it still holds the lease; anyone may read at any time with
``locking=False``.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpcsweep.errors import StoreError
from hpcsweep.store import checksums, integrity, layout, links, opening, pace, write_errors
from hpcsweep.store.lease import Lease
from hpcsweep.store.reading import Run, launches
from hpcsweep.store.row_writer import Datasets
from hpcsweep.store.weights_writer import Writer
from hpcsweep.study.cells import Cells

if TYPE_CHECKING:  # merging stores needs no pydantic
    from hpcsweep.study.parsing import Study

_KEPT = ("status", "predicted_seconds", *layout.COUNTERS)  # columns that a store has in memory
MEASURED = tuple(name for name in layout.RESULTS if name not in (*_KEPT, "finished", "checksum"))
SETTLED = 1.0  # seconds after which finished rows are forced onto the disk and marked, at least
COST = 20  # times as long as that takes, at least
LONGEST_NAME = 150  # bytes, of 255: shards, the weights, the lease and temporary files have longer names


@dataclass(frozen=True)
class Record:
    """What is stored of one finished cell: values by column name, trained parameters, and pictures."""

    status: str  # an outcome of layout.OUTCOMES
    values: dict[str, object]
    parameters: np.ndarray | None = None  # (parameters,)
    slice: np.ndarray | None = None  # (3, layout.SLICE): coordinate, target, model
    zoom: np.ndarray | None = None  # (3, layout.ZOOM): likewise, close to the worst point; with a slice
    raster: np.ndarray | None = None  # (layout.RASTER, layout.RASTER): target - model; in dimension 2, with a slice


class Store:
    """A store open for writing, with its lease. Rows are cells; `cells` holds this study's and older finished ones."""

    def __init__(self, path: Path, cells: Cells, planned: int, lease: Lease, keep_weights: bool) -> None:
        self.path, self.cells, self.planned = path, cells, planned
        self._lease = lease
        self._data = Datasets(path, integrity.CHANGING)
        self._weights = Writer(path, len(cells)) if keep_weights else None
        self.status, self._predicted, self.attempts, self.kills = (self._data[name] for name in _KEPT)  # (cells,) each
        self._launch = launches(self._data["run_started"]) - 1  # row of this one
        self._run = {name: self._data[name][[self._launch]] for name in layout.RUNS if name != "run_checksum"}
        self._started, self._done = time.monotonic(), 0.0  # predicted seconds of the cells finished since
        self._broken = False  # a write has failed: something may not be on the disk, whatever a later sync says
        self._unmarked: list[int] = []  # rows that are finished in memory, and not marked so in the file
        self._due, self._afterwards = 0.0, list[Callable[[], object]]()

    @staticmethod
    def open(
        path: str | Path, study: Study, cells: Cells, run: Run, spared: Collection[str] = (), repair: bool = False
    ) -> Store:
        """Create the store of a study, or open it again to resume or extend it.

        Finished cells are kept, whatever the study now says; unfinished ones that it no longer has are dropped. Cells
        that ran when the last run died count as killed once more, but for the keys `spared`, which had got on. With
        `repair`, finished cells that are damaged, or whose weights are damaged or missing, are pending again.
        Raises `StoreError` if the file belongs to another study, is held by a live run, is damaged, or cannot be
        written.
        """
        path = links.own(Path(path))  # a link stays; the lease lies beside its target
        if len(os.fsencode(path.name)) > LONGEST_NAME:
            raise StoreError(f"The name {path.name[:20]}... is longer than {LONGEST_NAME} bytes; use a shorter one.")
        if path.is_dir():
            raise StoreError(f"{path} is a folder; choose a file in it, such as {path / 'results.h5'}.")
        if not path.parent.exists() and not path.parent.parent.exists():
            raise StoreError(f"Neither {path.parent} nor {path.parent.parent} is there; make the folder first.")
        try:
            path.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise StoreError(f"The folder {path.parent} cannot be made: {error.strerror}.") from error
        with contextlib.ExitStack() as failing, write_errors.explained(f"The store {path} cannot be written", KeyError):
            lease = failing.enter_context(Lease(path, opening.last_lease(path)))
            opening.sweep(path)
            rows = opening.prepare(path, study, cells, run, lease, spared, repair)
            store = Store(path, rows, len(cells), lease, study.weights)
            failing.pop_all()  # from here on the store holds the lease
            return store

    def keys(self, rows: Sequence[int]) -> tuple[str, ...]:
        """Return the keys of some rows."""
        return tuple(key.decode() for key in self.cells.columns["key"][list(rows)].tolist())

    def pending(self) -> np.ndarray:
        """Return the rows of this study that are not finished: starting, resuming and extending are this line."""
        return np.flatnonzero(~np.isin(self.status[: self.planned], layout.FINISHED))

    def finished(self) -> np.ndarray:
        """Return the keys of all cells that are finished, (cells,) bytes."""
        return self.cells.columns["key"][np.isin(self.status, layout.FINISHED)]

    def clear(self, status: int) -> None:
        """Make this study's rows with this status pending again (to retry what failed)."""
        self.settle()
        rows = np.flatnonzero(self.status[: self.planned] == status)
        self._mark(rows, layout.PENDING)
        self._data.sync()  # first: a row that is finished and has no checksum is damaged
        self.kills[rows] = 0
        self._write(rows, {"checksum": np.zeros(len(rows), np.uint64), "kills": self.kills[rows]})

    def predict(self, seconds: np.ndarray) -> None:
        """Store the predicted seconds of every row; NaN leaves a row as it is."""
        rows = np.flatnonzero(~np.isnan(seconds) & (seconds != self._predicted))
        self._predicted[rows] = seconds[rows]
        self._write(rows, {"predicted_seconds": self._predicted[rows]})

    def seconds_ahead(self) -> float | None:
        """Return how long what is left will take, as `status` shows it; None if nothing is known."""
        elapsed = time.time() - float(self._run["run_started"][0])
        return pace.seconds_ahead(self.status, self._predicted, self._done, elapsed, int(self._run["run_ranks"][0]))

    def start(self, rows: Sequence[int]) -> None:
        """Count an attempt of these rows and mark them running."""
        self._check()
        started = np.sort(np.asarray(rows, dtype=np.int64))
        self.attempts[started] += 1
        self.status[started] = layout.RUNNING
        if self._weights is not None:
            self._weights.forget(started)
        self._clock()
        self._data.write(started, {"attempts": self.attempts[started], "status": self.status[started]})

    def release(self, rows: Sequence[int]) -> None:
        """Make rows pending again whose work was interrupted."""
        self._mark(rows, layout.PENDING)

    def put(
        self, rows: Sequence[int], records: Sequence[Record], afterwards: Callable[[], object] | None = None
    ) -> None:
        """Store finished cells: parameters, values with their checksums, and their status when these are on the disk.

        `afterwards` is called once all of this is on the disk.
        """
        if rows:
            self._check()
            self._broken, intact = True, not self._broken
            order = np.argsort(rows)
            rows, records = [int(rows[i]) for i in order], [records[i] for i in order]
            if self._weights is not None:
                self._weights.put(rows, records)
            self.status[rows] = [layout.OUTCOMES[record.status] for record in records]
            columns = {name: self._column(name, records) for name in MEASURED}
            columns["finished"] = np.full(len(rows), time.time())
            kept = dict(zip(_KEPT, (self.status, self._predicted, self.attempts, self.kills), strict=True))
            known = {name: values[rows] for name, values in kept.items()} | {"key": self.cells.columns["key"][rows]}
            self._data.write(rows, {**columns, "checksum": checksums.rows({**known, **columns})})
            self._clock()
            self._done += float(np.nansum(self._predicted[rows]))
            self._unmarked += rows
            self._broken = not intact
        self._afterwards += [afterwards] if afterwards is not None else []
        if time.monotonic() >= self._due:
            self.settle()

    def settle(self, now: bool = True) -> None:
        """Force finished rows onto the disk, and then mark them; unless `now`, only when this is due.

        The time between grows with what this costs. Raises `OSError` if what was written cannot reach the disk.
        """
        if not (self._unmarked or self._afterwards) or not (now or time.monotonic() >= self._due):
            return
        if self._broken:
            return
        begun = time.monotonic()
        self._check()
        self._broken = True  # unless all of the following succeeds: Linux reports a failed write-back only once
        if self._weights is not None:
            self._weights.sync()
        self._data.sync()
        self._broken = False
        rows = np.unique(self._unmarked).astype(np.int64)
        self._data.write(rows, {"status": self.status[rows]})
        for action in self._afterwards:
            action()
        self._unmarked, self._afterwards = [], []
        ended = time.monotonic()
        self._due = ended + max(SETTLED, COST * (ended - begun))

    def stopped(self, reason: str) -> None:
        """Store why this launch stops early."""
        self._run["run_stopped"] = np.array([reason.encode()], layout.RUNS["run_stopped"].dtype)
        self._check()
        self._data.put("run_stopped", self._launch, self._run["run_stopped"])

    def _check(self) -> None:
        """Raise `StoreError` if this store must not be written any more."""
        self._lease.check()
        if not self._data.is_current():
            raise StoreError(f"Another file has taken the place of {self.path}; this run may no longer write it.")

    def _write(self, rows: Sequence[int] | np.ndarray, columns: Mapping[str, np.ndarray]) -> None:
        self._check()
        order = np.argsort(rows)
        self._data.write(np.asarray(rows)[order], {name: values[order] for name, values in columns.items()})

    def _clock(self) -> None:
        """Store how long this launch has taken."""
        self._run["run_seconds"] = np.array([time.monotonic() - self._started])
        self._data.put("run_seconds", self._launch, self._run["run_seconds"])

    def _mark(self, rows: Sequence[int] | np.ndarray, status: int) -> None:
        rows = np.sort(np.asarray(rows, dtype=np.int64))
        if len(rows):
            self.status[rows] = status
            self._write(rows, {"status": self.status[rows]})

    def _column(self, name: str, records: Sequence[Record]) -> np.ndarray:
        """Return the values of some records in one column: (records, ...), the rest of a short row filled."""
        column = layout.RESULTS[name]
        stacked = np.full((len(records), *self._data.shape(name)[1:]), column.fill, dtype=column.dtype)
        for row, record in enumerate(records):
            value = record.values.get(name, column.fill)
            if isinstance(value, str):  # cut to its column, at a whole character
                value = value.encode(errors="backslashreplace")[: layout.MESSAGE_BYTES].decode(errors="ignore").encode()
            stacked[(row, slice(len(value))) if np.ndim(value) else row] = value  # type: ignore[arg-type]
        return stacked

    def close(self) -> None:
        """Close and give the lease back.

        Raises `StoreError` if what was written cannot reach the disk, or another has taken the lease; not where an
        exception is under way, which says more.
        """
        ignored = () if sys.exception() is None else (StoreError,)
        with self._lease, write_errors.explained(f"{self.path} cannot be closed"):
            try:
                with contextlib.suppress(*ignored):
                    self.settle()
                    self._check()
                    self._clock()
                    self._data.sync()
                    self._data.put("run_checksum", self._launch, integrity.run_sums(self._run, True))
            finally:
                if self._weights is not None:
                    self._weights.close()
                self._data.close()
