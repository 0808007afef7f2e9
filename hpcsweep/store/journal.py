"""Changes of finished rows, written down before they are made: after a kill or a power cut they are made again.

The journal of a store, FILE.journal, holds whole rows by key: as they were, and as they are to become. Whoever holds
the lease next makes the changes first, if the row is still one of the two, or torn between them in whatever bytes; a
journal that was left by another file under this name changes nothing.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hpcsweep.errors import StoreError
from hpcsweep.store import checksums, layout
from hpcsweep.store.keyed_rows import KeyedRows
from hpcsweep.store.reading import named
from hpcsweep.store.rewriting import replacing
from hpcsweep.store.row_writer import Datasets

Values = Mapping[str, Any]  # by column; of a column with more dimensions a sequence, which may be shorter than a row
Rows = dict[str, np.ndarray]  # (1, ...) by column
_AFTER, _BEFORE = "", "before."  # in a journal, before the name of a column


def path_of(store: Path) -> Path:
    """Return where the journal of a store lies."""
    return store.with_name(store.name + ".journal")


def change(
    store: Path,
    values: Mapping[str, Values],
    opened: KeyedRows | None = None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Overwrite values of finished cells, by key. The caller holds the lease.

    `opened` are the rows of this store, if they are open already. `check` raises if the store must not be written any
    more; it is called before the journal appears, and before it is removed. Raises `OSError` if the rows cannot be
    written, and `StoreError` if the store has not these cells finished and sound.
    """
    with contextlib.nullcontext(opened) if opened else contextlib.closing(KeyedRows(store)) as data:
        places = data.places(values)
        rows = {key: _changed(store, data, places.get(key), key, columns) for key, columns in values.items()}
        arrays = {
            f"{which}{name} {key}": array.astype(array.dtype.str)  # without what h5py says about texts
            for key, pair in rows.items()
            for which, row in zip((_BEFORE, _AFTER), pair, strict=True)
            for name, array in row.items()
        }
        with replacing(path_of(store), like=store, check=check) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        for key, (_, row) in rows.items():
            _write(data, places[key], row)
        data.sync()
    check()
    path_of(store).unlink()


def _changed(store: Path, data: Datasets, place: int | None, key: str, columns: Values) -> tuple[Rows, Rows]:
    """Return the row of a key as it is and as it is to become."""
    before: Rows = {} if place is None else {name: data.row(name, place) for name in data.names}
    if not before or before["status"][0] not in layout.FINISHED:
        raise StoreError(f"{store} has not finished {key} any more; nothing was changed.")
    after = {name: value for name, value in before.items() if name != "checksum"}
    if "checksum" in before and checksums.rows(after)[0] != before["checksum"][0]:
        raise StoreError(f"{store}: {key} is damaged; nothing was changed. `run` with --repair trains it again.")
    for name, value in columns.items():
        after[name] = _filled(after[name], value)
    return before, {**after, "checksum": checksums.rows(after)} if "checksum" in before else after


def _filled(old: np.ndarray, value: Any) -> np.ndarray:
    """Return a row (1, ...) with a value, which may be shorter."""
    new, value = old.copy(), np.asarray(value)
    new[(0, slice(len(value))) if value.ndim else 0] = value
    return new


def _write(data: Datasets, place: int, row: Mapping[str, np.ndarray]) -> None:
    for name, value in row.items():
        if name in data.names and name != "key":
            data.put(name, place, value)


def replay(store: Path) -> None:
    """Make the changes of a journal that is there, and remove it. The caller holds the lease.

    Raises `OSError`, or `StoreError` if the journal is damaged, or is somebody else's.
    """
    path, rows = path_of(store), dict[str, dict[str, np.ndarray]]()
    if not path.exists():
        return
    status = path.lstat()
    if status.st_uid != os.getuid() or not stat.S_ISREG(status.st_mode):
        raise StoreError(f"{path} is of another user, whose measurement was cut off; let them repeat it, or remove it.")
    content = io.BytesIO(path.read_bytes())  # in which a damaged number of bytes is no error of the disk
    try:
        with np.load(content, allow_pickle=False) as archive:
            for entry in archive.files:
                name, key = entry.split(" ")
                rows.setdefault(key, {})[name] = archive[entry]
    except (ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        raise StoreError(f"{path} is damaged ({error}); remove it, and measure these cells again.") from error
    with contextlib.closing(KeyedRows(store)) as data:
        places = data.places(rows)
        stale = [key for key, row in rows.items() if key not in places or not _is_of(data, places[key], row)]
        for key, row in rows.items():
            if key not in stale:
                _write(data, places[key], row)
        data.sync()
    if stale:
        print(f"hpcsweep: {path} was of another file; {named(stale)} stay as they are.", file=sys.stderr)
    path.unlink()


def _is_of(data: Datasets, place: int, row: Mapping[str, np.ndarray]) -> bool:
    """Return whether a row of a journal is of this store: every byte there is that of the row before or after."""
    for name in data.names:
        now, pair = data.row(name, place), [row.get(which + name) for which in (_BEFORE, _AFTER)]
        octets = [np.frombuffer(array.tobytes(), np.uint8) for array in (now, *pair) if array is not None]
        if len({len(part) for part in octets}) != 1 or len(octets) != 3:
            return False
        if not ((octets[0] == octets[1]) | (octets[0] == octets[2])).all():
            return False
    return True
