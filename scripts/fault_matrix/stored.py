"""What a store holds, to the bit and by key: what scripts and tests compare two runs by."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpcsweep.store import integrity, layout, weights
from hpcsweep.store.reading import opened

CLOCKS = {"train_seconds", "eval_seconds", "predicted_seconds", "finished", "attempts", "kills", "checksum"}


def by_key(path: Path) -> dict[str, bytes]:
    """Every stored value of every cell, to the bit, except times and what contains them."""
    with opened(path) as file:
        names = [name for name in layout.RESULTS if name not in CLOCKS]
        columns = {name: file[name][:] for name in names}
        keys = [key.decode() for key in file["key"][:]]
    return {key: b"".join(columns[name][row].tobytes() for name in names) for row, key in enumerate(keys)}


def weights_by_key(path: Path) -> dict[str, bytes]:
    """The trained parameters and the slice of every cell, to the bit; nothing where there are none, or damaged ones."""
    with opened(path) as file:
        keys = [key.decode() for key in file["key"][:]]
        lost = set(weights.damaged(path, file["key"][:]))
    kept = dict(zip(sound := [key for key in keys if key not in lost], weights.parameters(path, sound), strict=True))
    pairs = ((kept.get(key), weights.pictures(path, key).slice) for key in keys)
    return {
        key: b"".join(part.tobytes() for part in pair if part is not None)
        for key, pair in zip(keys, pairs, strict=True)
    }


def keys_with(path: Path, *status: int) -> set[str]:
    """The keys of the cells with one of these statuses."""
    with opened(path) as file:
        found = zip(file["key"][:].tolist(), file["status"][:].tolist(), strict=True)
        return {key.decode() for key, code in found if code in status}


def begun(path: Path) -> set[str]:
    """The keys of the cells that were started and are not finished: they were in flight.

    Those that are complete, and were not marked when a process was killed, are finished: no work on them is lost.
    """
    with opened(path) as file:
        status, complete = file["status"][:], integrity.completed(file) >= 0
        rows = np.flatnonzero((file["attempts"][:] > 0) & ~np.isin(status, layout.FINISHED) & ~complete)
        return {key.decode() for key in file["key"][:][rows].tolist()}
