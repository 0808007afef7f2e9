"""The study's HDF5 file: laid out before the run, filled row by row, readable at any moment.

Two rules make it safe. *Structure* (layout, extension, attributes, a new run's provenance) changes only by writing a
whole new file and `os.replace`. *Values* change only by overwriting rows in place (`row_writer`), `status` last. So no
metadata changes while values are written: a kill at any moment leaves a readable file in which every row
marked done is right. Rank 0 alone writes; anyone may read at any time with ``locking=False``.
"""

from __future__ import annotations

import contextlib
import textwrap
import time
import tomllib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpcsweep.errors import StoreError
from hpcsweep.store import layout, rewriting, weights, write_errors
from hpcsweep.store.lease import Lease
from hpcsweep.store.reading import Run, opened, read_cells, read_runs
from hpcsweep.store.row_writer import Datasets
from hpcsweep.study.cells import Cells
from hpcsweep.study.parsing import Study

MEASURED = tuple(n for n in layout.RESULTS if n not in ("status", "predicted_seconds", "finished", *layout.COUNTERS))
LONGEST_NAME = 150  # letters: the weights, the lease and temporary files have longer names


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
        self._data = Datasets(path, (*layout.RESULTS, "run_seconds"))
        self._weights = weights.Writer(path, len(cells)) if keep_weights else None
        self.status: np.ndarray = self._data["status"]  # (cells,)
        self.attempts: np.ndarray = self._data["attempts"]  # (cells,)
        self.kills: np.ndarray = self._data["kills"]  # (cells,)
        self._runs, self._started = self._data.shape("run_seconds")[0], time.monotonic()

    @staticmethod
    def open(path: str | Path, study: Study, cells: Cells, run: Run, spared: Collection[str] = ()) -> Store:
        """Create the store of a study, or open it again to resume or extend it.

        Finished cells are kept, whatever the study now says; unfinished ones that it no longer has are dropped. Cells
        that ran when the last run died count as killed once more, but for the keys `spared`, which had got on.
        Raises `StoreError` if the file belongs to another study, is held by a live run, or cannot be written.
        """
        path = Path(path).resolve()  # a link would be replaced, and its target escape the lease
        if len(path.name) > LONGEST_NAME:
            raise StoreError(f"The name {path.name[:20]}... is longer than {LONGEST_NAME} letters; use a shorter one.")
        if path.is_dir():
            raise StoreError(f"{path} is a folder; choose a file in it, such as {path / 'results.h5'}.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"The folder {path.parent} cannot be made: {error.strerror}.") from error
        with contextlib.ExitStack() as failing, write_errors.explained(f"The store {path} cannot be written"):
            lease = failing.enter_context(Lease(path))
            rewriting.sweep(path)
            rewriting.sweep(weights.path_of(path))
            rows = _prepare(path, study, cells, run, spared)
            store = Store(path, rows, len(cells), lease, study.weights)
            failing.pop_all()  # from here on the store holds the lease
            return store

    def keys(self, rows: Sequence[int]) -> tuple[str, ...]:
        """Return the keys of some rows."""
        return tuple(key.decode() for key in self.cells.columns["key"][list(rows)].tolist())

    def pending(self) -> np.ndarray:
        """Return the rows of this study that are not finished: starting, resuming and extending are this line."""
        return np.flatnonzero(~np.isin(self.status[: self.planned], layout.FINISHED))

    def clear(self, status: int) -> None:
        """Make this study's rows with this status pending again (to retry what failed)."""
        rows = np.flatnonzero(self.status[: self.planned] == status)
        self.kills[rows] = 0
        self._data.write(rows, {"kills": self.kills[rows]})
        self._mark(rows, layout.PENDING)

    def predict(self, seconds: np.ndarray) -> None:
        """Store the predicted seconds of every row; NaN leaves a row as it is."""
        known = self._data["predicted_seconds"]
        self._data.put("predicted_seconds", 0, np.where(np.isnan(seconds), known, seconds))

    def start(self, rows: Sequence[int]) -> None:
        """Count an attempt of these rows and mark them running."""
        self.attempts[list(rows)] += 1
        self._lease.check()
        self._data.write(rows, {"attempts": self.attempts[list(rows)]})
        self._clock()
        self._mark(rows, layout.RUNNING)

    def release(self, rows: Sequence[int]) -> None:
        """Make rows pending again whose work was interrupted."""
        self._mark(rows, layout.PENDING)

    def put(self, rows: Sequence[int], records: Sequence[Record]) -> None:
        """Store finished cells: parameters first, then values, then their status."""
        if not rows:
            return
        self._lease.check()
        order = np.argsort(rows)
        rows = [int(rows[i]) for i in order]
        records = [records[i] for i in order]
        if self._weights is not None:
            self._weights.put(rows, records)
        columns = {name: self._column(name, records) for name in MEASURED}
        self._data.write(rows, {**columns, "finished": np.full(len(rows), time.time())})
        self._clock()
        self._mark(rows, [layout.OUTCOMES[record.status] for record in records])

    def _clock(self) -> None:
        """Store how long this launch has taken."""
        self._data.put("run_seconds", self._runs - 1, np.array([time.monotonic() - self._started]))

    def _mark(self, rows: Sequence[int] | np.ndarray, status: int | list[int]) -> None:
        rows = np.asarray(rows, dtype=np.int64)
        if len(rows):
            self.status[rows] = status
            self._data.write(rows, {"status": self.status[rows]})

    def _column(self, name: str, records: Sequence[Record]) -> np.ndarray:
        """Return the values of some records in one column: (records, ...), the rest of a short row filled."""
        column = layout.RESULTS[name]
        stacked = np.full((len(records), *self._data.shape(name)[1:]), column.fill, dtype=column.dtype)
        for row, record in enumerate(records):
            value = record.values.get(name, column.fill)
            if isinstance(value, str):  # cut to its column, at a whole character
                value = value.encode()[: layout.MESSAGE_BYTES].decode(errors="ignore").encode()
            stacked[(row, slice(len(value))) if np.ndim(value) else row] = value  # type: ignore[arg-type]
        return stacked

    def close(self) -> None:
        """Close and give the lease back. Raises `StoreError` if what was written cannot reach the disk."""
        with self._lease, write_errors.explained(f"{self.path} cannot be closed"):
            if self._weights is not None:
                self._weights.close()
            with contextlib.suppress(StoreError):  # of a lease that another has taken: then the file is theirs
                self._lease.check()
                self._clock()
            self._data.close()


def _prepare(path: Path, study: Study, cells: Cells, run: Run, spared: Collection[str]) -> Cells:
    """Write the file of this run: new, or with all that is finished in the old one. Returns its rows."""
    if not path.exists():
        return _replace(path, cells, study.title, study.text, [run], [], study.weights)
    old = read_cells(path)
    _refuse_another(path, study, cells, old)
    with opened(path) as file:
        keys, status = file["key"][:], file["status"][:]
    killed = set(keys[status == layout.RUNNING].tolist()) - {key.encode() for key in spared}
    rows = cells.union(old.take(np.flatnonzero(np.isin(status, layout.FINISHED))))
    return _replace(path, rows, study.title, study.text, [*read_runs(path), run], [path], study.weights, killed)


def _replace(
    path: Path,
    rows: Cells,
    title: str,
    text: str,
    runs: list[Run],
    sources: list[Path],
    keep_weights: bool,
    killed: Collection[bytes] = (),
) -> Cells:
    """Put a new file, and new weights, in place of the old ones, with what `sources` have finished; return its rows."""
    write_errors.require_space(path.parent, rewriting.size_of(rows))
    takes = rewriting.assign(rows, sources)
    with rewriting.replacing(path) as temporary:
        rewriting.build(temporary, rows, title, text, runs, takes, sources, killed)
        if keep_weights:  # first, so that a store never has finished rows that its weights do not know
            weights.build(path, rows, takes)
    return rows


def _refuse_another(path: Path, study: Study, cells: Cells, old: Cells) -> None:
    """Raise `StoreError` if a store is of another study: no cell in common, or another title."""
    title, text = _identity(path)
    if title == study.title and (len(old) == 0 or np.isin(cells.columns["key"], old.columns["key"]).any()):
        return
    raise StoreError(
        f"{path} contains another study ({title!r}): {first_difference(text, study.text)}. "
        "Choose another file with -o, or undo the change; only the grids of a study may grow."
    )


def _identity(path: Path) -> tuple[str, str]:
    """Return title and text of the study of a store."""
    with opened(path) as file:
        return str(file.attrs["title"]), str(file.attrs["study"])


def first_difference(old: str, new: str) -> str:
    """Say in words how two study texts differ, outside their grids where possible."""
    before, after = (_flatten(tomllib.loads(text)) for text in (old, new))
    differing = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
    for key in [k for k in differing if not k.startswith("grid")] or differing:
        there, here = (textwrap.shorten(repr(texts.get(key, "unset")), 80) for texts in (before, after))
        return f"{key} is {there} in the store and {here} in the study"
    return "a plugin or the version of hpcsweep has changed since"


def _flatten(table: dict[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in table.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def merge(path: str | Path, shards: Iterable[str | Path]) -> tuple[int, int]:
    """Copy the finished rows of shards by key into the main file; harmless twice. Returns (new rows, finished rows).

    Raises `StoreError` if a file is no store or of another study, or if a live run holds the main file.
    """
    path = Path(path).resolve()
    with Lease(path), write_errors.explained(f"The stores cannot be merged into {path}", KeyError):
        present = list(
            dict.fromkeys([*([path] if path.exists() else []), *(Path(shard).resolve() for shard in shards)])
        )
        before = _finished(path) if path.exists() else 0
        runs = {(run.host, run.job, run.started): run for file in present[::-1] for run in read_runs(file)[::-1]}
        keep_weights = any(weights.path_of(file).exists() for file in present)
        _replace(path, _united(present), *_identity(present[0]), list(runs.values())[::-1], present, keep_weights)
        return _finished(path) - before, _finished(path)


def _united(files: list[Path]) -> Cells:
    """Return the cells of several stores of one study."""
    title, _ = _identity(files[0])
    rows = read_cells(files[0])
    for file in files[1:]:
        cells = read_cells(file)
        if (_identity(file)[0], cells.seed, cells.precision) != (title, rows.seed, rows.precision):
            raise StoreError(f"{file} contains another study than {files[0]}: its title, seed or precision differs.")
        rows = rows.union(cells)
    return rows


def _finished(path: Path) -> int:
    with opened(path) as file:
        return int(np.isin(file["status"][:], (layout.DONE, layout.DIVERGED, layout.OUT_OF_BUDGET)).sum())
