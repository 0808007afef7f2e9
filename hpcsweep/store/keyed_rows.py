"""Rows of a store that are found by their keys, and changed under a lease."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from hpcsweep.errors import StoreError
from hpcsweep.store import integrity, layout, write_errors
from hpcsweep.store.lease import Lease
from hpcsweep.store.row_writer import Datasets
from hpcsweep.study.keys import KeyIndex


class KeyedRows(Datasets):
    """The results of a store, open for reading and overwriting rows; to find one costs the same in any store."""

    def __init__(self, path: Path) -> None:
        """Raises `OSError` if the file cannot be written."""
        super().__init__(path, integrity.present(path, ("key", "lease", *layout.RESULTS)))
        self._index = KeyIndex(self["key"])
        self._number = self._stored_number()

    @property
    def names(self) -> list[str]:
        """The names of the columns that it has."""
        return [name for name in super().names if name != "lease"]

    def places(self, keys: Iterable[str]) -> dict[str, int]:
        """Return the rows of those of these keys that the store has."""
        keys = list(keys)
        rows = self._index.rows(np.array([key.encode() for key in keys], self._index.keys.dtype))
        return {key: row for key, row in zip(keys, rows.tolist(), strict=True) if row >= 0}

    def claim(self, lease: Lease) -> None:
        """Write the number of a lease into the store, so that the holder of an earlier one finds it there."""
        self.check(lease)
        if self._number < lease.number and "lease" in super().names:
            self.put("lease", 0, np.array([lease.number]))
            self._number = lease.number

    def check(self, lease: Lease) -> None:
        """Raise `StoreError` if this file must not be written any more.

        The lease is lost, another file has its name, or somebody has written it under a later lease.
        """
        with write_errors.explained(f"{lease.store} cannot be read"):
            lease.check()
            if not self.is_current():
                raise StoreError(f"Another file has taken the place of {lease.store}; this process may not write it.")
            if self._stored_number() != self._number:
                raise StoreError(f"Another process has written {lease.store}; this one may no longer write it.")

    def _stored_number(self) -> int:
        return int(self["lease"][0]) if "lease" in super().names else 0
