"""Changes of finished rows, written down before they are made: after a kill or a power cut they are made again.

The journal of a store, FILE.journal, holds keys and values. Whoever holds the lease next makes its changes first; what
is changed twice is the same.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hpcsweep.errors import StoreError
from hpcsweep.store import checksums, integrity, layout
from hpcsweep.store.reading import named
from hpcsweep.store.rewriting import replacing
from hpcsweep.store.row_writer import Datasets

Values = Mapping[str, Any]  # by column; of a column with more dimensions a sequence, which may be shorter than a row


def path_of(store: Path) -> Path:
    """Return where the journal of a store lies."""
    return store.with_name(store.name + ".journal")


def change(store: Path, values: Mapping[str, Values]) -> None:
    """Overwrite values of finished cells, by key. The caller holds the lease, and has looked whether it still does.

    Raises `OSError` if they cannot be written, and `StoreError` if the store has not these cells finished.
    """
    arrays: dict[str, np.ndarray] = {}
    for number, (key, columns) in enumerate(values.items()):
        arrays |= {f"{number} {name} {key}": np.asarray(value) for name, value in columns.items()}
    with replacing(path_of(store)) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    _apply(store, values)
    path_of(store).unlink()


def replay(store: Path) -> None:
    """Make the changes of a journal that is there, and remove it. The caller holds the lease.

    Raises `OSError`, or `StoreError` if the store has not the cells of the journal.
    """
    values: dict[str, dict[str, Any]] = {}
    try:
        with np.load(path_of(store), allow_pickle=False) as archive:
            for entry in archive.files:
                _, name, key = entry.split(" ")
                values.setdefault(key, {})[name] = archive[entry]
    except FileNotFoundError:
        return
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise StoreError(f"{path_of(store)} is damaged ({error}); remove it, and measure these cells again.") from error
    _apply(store, values)
    path_of(store).unlink()


def _apply(store: Path, values: Mapping[str, Values]) -> None:
    with contextlib.closing(Datasets(store, integrity.present(store, ("key", *layout.RESULTS)))) as data:
        keys, status = data["key"], data["status"]
        row_of = {key.decode(): row for row, key in enumerate(keys.tolist())}
        lost = [key for key in values if key not in row_of or status[row_of[key]] not in layout.FINISHED]
        if lost:
            raise StoreError(f"{store} has not finished {named(lost)} any more; nothing was changed.")
        for key, columns in values.items():
            row = row_of[key]
            for name, value in columns.items():
                data.put(name, row, _padded(data.row(name, row), value))
            if "checksum" in data:
                known = {name: data.row(name, row) for name in ("key", *layout.RESULTS) if name in data}
                known.pop("checksum")
                data.put("checksum", row, checksums.rows(known))
        data.sync()


def _padded(old: np.ndarray, value: Any) -> np.ndarray:
    """Return a row (1, ...) with a value, which may be shorter."""
    new, value = old.copy(), np.asarray(value)
    new[(0, slice(len(value))) if value.ndim else 0] = value
    return new
