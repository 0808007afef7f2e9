"""The checksums of a file of ours: of its rows, of its launches, and of everything that never changes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np

from hpcsweep.store import checksums, copying, layout
from hpcsweep.store.row_writer import Datasets

CHANGING = (*layout.RESULTS, *layout.RUNS, *layout.FILE)  # datasets of a store that are overwritten in place
# A launch that has not ended counts with these values, whatever its row says: a kill may come between two writes.
OPEN = {"run_seconds": np.nan, "run_stopped": b""}


def run_sums(columns: Mapping[str, np.ndarray], ended: bool) -> np.ndarray:
    """Return what the checksums of launches should be, (runs,): of those that have ended, or of the others."""
    known = {name: columns[name] for name in layout.RUNS if name != "run_checksum"}
    if not ended:
        known |= {name: np.full_like(known[name], value) for name, value in OPEN.items()}
    return checksums.rows(known)


def damaged_runs(file: h5py.File, runs: int) -> bool:
    """Return whether the description of one of the first `runs` launches is not what was stored; no in older stores."""
    if "run_checksum" not in file or not runs:
        return False
    columns = {name: file[name][:runs] for name in layout.RUNS}
    return any(
        stored not in (ended, going)
        for stored, ended, going in zip(
            columns["run_checksum"].tolist(),
            run_sums(columns, True).tolist(),
            run_sums(columns, False).tolist(),
            strict=True,
        )
    )


def sums(file: h5py.File, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return what the checksums of the rows should be, (cells,); `columns` in place of those of the file."""
    total = checksums.rows({"key": file["key"][:]})
    for name in layout.RESULTS:
        if name in columns:
            total += checksums.contribution(name, columns[name])
        elif name != "checksum" and name in file:
            _contribute(total, name, file[name])
    return total


def _contribute(total: np.ndarray, name: str, data: h5py.Dataset) -> None:
    """Add what a column adds to checksums, piece by piece."""
    for rows in copying.pieces(data):
        total[rows] += checksums.contribution(name, data[rows])


class Rows:
    """Rows of a store, with which those of other stores are compared by their checksums."""

    def __init__(self, column: Callable[[str], np.ndarray], sums: np.ndarray) -> None:
        """`column` returns a column, (cells, ...); `sums`: what the checksums of the rows should be, (cells,)."""
        self._column, self._sums = column, sums
        self._points = column("sup_where")  # (cells, axes)
        self._stripped: dict[tuple[str, ...], np.ndarray] = {}

    def same(self, rows: np.ndarray, other: h5py.File, sums: np.ndarray, origin: np.ndarray) -> np.ndarray:
        """Return which of these rows have what the rows `origin` of another store have, (rows,) bool.

        `sums` are the checksums of that store, (cells,). Counters may differ. A point may have fewer axes there, and
        columns be missing.
        """
        points = copying.gathered(other["sup_where"], origin)
        theirs = sums[origin] - checksums.contribution("sup_where", points)
        for name in layout.COUNTERS:
            theirs -= checksums.contribution(name, copying.gathered(other[name], origin))
        lacking = tuple(name for name in layout.RESULTS if name not in other and name != "checksum")
        ours = np.ascontiguousarray(self._points[rows][:, : points.shape[1]])
        return (theirs == self._without(lacking)[rows]) & (ours.view(np.uint64) == points.view(np.uint64)).all(axis=1)

    def _without(self, lacking: tuple[str, ...]) -> np.ndarray:
        """Return the checksums without what counters, points and some further columns add to them."""
        if lacking not in self._stripped:
            total = self._sums - checksums.contribution("sup_where", self._points)
            for name in (*layout.COUNTERS, *lacking):
                total -= checksums.contribution(name, self._column(name))
            self._stripped[lacking] = total
        return self._stripped[lacking]


def damaged(file: h5py.File) -> np.ndarray:
    """Return which rows of a store are finished and not what was stored, (cells,) bool; none in older stores."""
    status = file["status"][:]
    if "checksum" not in file:
        return np.zeros(len(status), bool)
    finished = np.isin(status, layout.FINISHED)
    return finished & (file["checksum"][:] != sums(file, {"status": status}))


def completed(file: h5py.File) -> np.ndarray:
    """Return the outcome of rows that are whole and not marked so, (cells,): a kill came first; -1 of all others."""
    status, outcomes = file["status"][:], np.full(len(file["status"]), -1, np.int8)
    if "checksum" not in file:
        return outcomes
    stored = file["checksum"][:]
    candidates = ~np.isin(status, layout.FINISHED) & (stored != 0)
    if candidates.any():
        others = sums(file, {"status": status}) - checksums.contribution("status", status)
        for code in layout.FINISHED:
            marked = others + checksums.contribution("status", np.full_like(status, code))
            outcomes[candidates & (stored == marked)] = code
    return outcomes


def seal(path: Path, changing: tuple[str, ...]) -> None:
    """Write the digest of what never changes into a file that was laid out."""
    with contextlib.closing(Datasets(path, present(path, changing))) as data:
        data.put("digest", 0, np.array([checksums.constant(path, data.extents(changing))], "S32"))


def is_sealed(file: h5py.File, changing: tuple[str, ...]) -> bool:
    """Return whether everything in a file that never changes is what was laid out; True of older files."""
    if "digest" not in file:
        return True
    offsets = {name: (file[name].id.get_offset(), file[name].nbytes) for name in changing if name in file}
    ranges = [(offset, size) for offset, size in offsets.values() if offset is not None]
    return checksums.constant(file.id.get_vfd_handle(), ranges) == bytes(file["digest"][0])


def present(path: Path, names: tuple[str, ...]) -> list[str]:
    """Return those of these datasets that a file has: older files lack some."""
    with h5py.File(path, "r", locking=False) as file:
        return [name for name in names if name in file]
