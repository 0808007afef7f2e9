"""Cells by the beginning of their keys."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hpcsweep.errors import StoreError

MOST = 5  # keys that a message names


def row_of(keys: np.ndarray, key: str, path: Path) -> int:
    """Return the row of the only one of `keys`, (cells,) bytes of the store `path`, that begins with `key`.

    Raises `StoreError` if there is none or several; it names the candidates.
    """
    texts = keys.astype(str)
    found = np.flatnonzero(np.char.startswith(texts, key)) if key else np.empty(0, int)
    if len(found) == 1:
        return int(found[0])
    if len(found):
        named = _named(texts[found].tolist())
        raise StoreError(f"{len(found)} cells of {path} have keys that begin with {key!r}: {named}; add characters.")
    raise StoreError(f"{path} has no cell {key!r}; its keys are {_named(texts.tolist())}.")


def _named(keys: Sequence[str]) -> str:
    named = ", ".join(keys[:MOST])
    return f"{named} and {len(keys) - MOST} more" if len(keys) > MOST else named or "none"
