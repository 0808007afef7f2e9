"""The cells of a store in a line each, with their keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hpcsweep.store import layout, shards
from hpcsweep.store.reading import opened
from hpcsweep.store.status import SHORTEST
from hpcsweep.texts import visible

SHOWN = ("target", "dimension", "model", "width", "depth", "samples", "optimizer", "replicate")
COLUMNS = ("key", "status", "sup_lower", "sup_upper", *SHOWN)
BLOCK = 2**14  # cells that are read at a time


def prefix_length(keys: np.ndarray) -> int:
    """Return how many letters tell keys, (cells,) bytes, from each other; eight at least."""
    length = SHORTEST
    while length < keys.dtype.itemsize and len(np.unique(keys.astype(f"S{length}"))) < len(np.unique(keys)):
        length += 1
    return length


def lines(path: Path) -> Iterator[str]:
    """Yield a heading and a line for each cell of a store and the shards beside it.

    The beginning of a key that is shown is enough for `replay`, `verify` and `measure --cell`. Raises `StoreError` if
    there is no store.
    """
    parts = shards.beside(path)
    files = [path, *parts] if path.exists() or not parts else parts
    columns = []
    for file in files:
        with opened(file) as store:
            columns.append((store["key"][:], store["status"][:]))
    keys, status = (np.concatenate(column) for column in zip(*columns, strict=True))
    counting = np.zeros(len(keys), bool)  # a cell of several files stands where it is furthest
    counting[shards.counting(keys, status)] = True
    length = prefix_length(keys)
    yield f"{'key':{length}}  {'status':13}  {'sup_lower':>11}  {'sup_upper':>11}  {', '.join(SHOWN)}"
    for file, chosen in zip(files, np.split(counting, np.cumsum([len(own) for own, _ in columns])[:-1]), strict=True):
        yield from _lines(file, length, chosen)


def _lines(path: Path, length: int, chosen: np.ndarray) -> Iterator[str]:
    with opened(path) as store:
        for start in range(0, len(chosen), BLOCK):
            part = slice(start, start + BLOCK)
            columns = [store[name][part][chosen[part]].tolist() for name in COLUMNS]
            for key, status, lower, upper, *fields in zip(*columns, strict=True):
                finished = status in layout.FINISHED  # what stands in other rows may be half written
                bracket = [f"{value:11.5g}" if finished else f"{'':11}" for value in (lower, upper)]
                texts = [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in fields]
                shown = f"{key.decode()[:length]}  {layout.STATUS[status]:13}  {'  '.join(bracket)}  {', '.join(texts)}"
                yield visible(shown)
