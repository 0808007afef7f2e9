"""The checksums of a file of ours: of its rows, of its launches, and of everything that never changes."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from hpcsweep.store import checksums, layout
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
        if name != "checksum" and (name in columns or name in file):
            total += checksums.contribution(name, columns[name] if name in columns else file[name][:])
    return total


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


def is_sealed(path: Path, changing: tuple[str, ...]) -> bool:
    """Return whether everything in a file that never changes is what was laid out; True of older files."""
    with h5py.File(path, "r", locking=False) as file:
        if "digest" not in file:
            return True
        offsets = {name: (file[name].id.get_offset(), file[name].nbytes) for name in changing if name in file}
        stored = bytes(file["digest"][0])
    ranges = [(offset, size) for offset, size in offsets.values() if offset is not None]
    return checksums.constant(path, ranges) == stored


def present(path: Path, names: tuple[str, ...]) -> list[str]:
    """Return those of these datasets that a file has: older files lack some."""
    with h5py.File(path, "r", locking=False) as file:
        return [name for name in names if name in file]
