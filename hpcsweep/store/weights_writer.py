"""Overwriting rows of the weights of a store, each with its checksums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpcsweep.errors import StoreError
from hpcsweep.store import checksums, integrity, layout
from hpcsweep.store.row_writer import Datasets
from hpcsweep.store.weights import CHANGING, PICTURES, path_of


class Writer:
    """The weights file of a store, open for overwriting rows."""

    def __init__(self, store: Path, rows: int) -> None:
        names = ("key", "offset", "count", "raster", *(name for name in CHANGING if name != "digest"))
        self._data = Datasets(path_of(store), integrity.present(path_of(store), names))
        if self._data.shape("kept") != (rows,):
            raise StoreError(f"{path_of(store)} does not belong to {store}; move it away and run again.")
        self._kept = self._data["kept"]  # (cells,)
        fixed = ("key", "offset", "count", "raster")
        self._key, self._offset, self._count, self._raster = (self._data[name] for name in fixed)

    def forget(self, rows: Sequence[int] | np.ndarray) -> None:
        """Mark what is kept of these rows as nothing, on the disk: it is of an earlier attempt."""
        kept = np.sort(np.asarray(rows, dtype=np.int64))
        kept = kept[self._kept[kept] != 0]
        if len(kept):
            self._kept[kept] = 0
            self._data.write(kept, {"kept": [0] * len(kept)})
            self._data.sync()

    def put(self, rows: Sequence[int], records: Sequence[Any]) -> None:
        """Write parameters, slice, zoom and raster of these rows (ascending) where they are there, at last `kept`.

        `records` are `hpcsweep.store.store.Record`. Pictures without parameters, and a zoom or a raster without a
        slice, are left out.
        """
        marks, sums = {}, {}
        lines, rasters = {}, {}
        for row, record in zip(rows, records, strict=True):
            if record.parameters is None:
                continue
            if record.parameters.shape != (self._count[row],):
                raise ValueError(f"{record.parameters.shape} parameters for a cell of {self._count[row]}")
            parameters = np.asarray(record.parameters, np.float64)
            self._data.put("parameters", self._offset[row], parameters)
            sums[row] = checksums.rows({"key": self._key[[row]], "parameters": parameters[None]})[0]
            marks[row] = 1
            if record.slice is not None:
                lines[row] = (record.slice, np.zeros((3, layout.ZOOM)) if record.zoom is None else record.zoom)
                marks[row] = 2
                if record.raster is not None and self._raster[row] >= 0:
                    rasters[row] = np.asarray(record.raster, np.float32)
                    self._data.put("raster_error", int(self._raster[row]), rasters[row][None])
                    marks[row] = 3
        self._put_lines(lines, rasters)
        plain = [row for row in marks if row not in lines]
        self._write(plain, {"picture_checksum": [0] * len(plain)})  # of an earlier attempt
        self._write(list(marks), {"checksum": list(sums.values()), "kept": list(marks.values())})

    def draw(self, kept: Mapping[int, int], lines: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        """Replace slices and zooms of the rows of `kept` (ascending), and set their `kept` again when all is in place.

        Until then they have no pictures, so that nobody sees a target of one line beside a network of another.
        """
        if not self._data.is_current():
            raise StoreError("Another file has taken the place of the weights; this process may not write them.")
        self._write(list(kept), {"kept": [1] * len(kept), "picture_checksum": [0] * len(kept)})
        self._data.sync()
        rasters = {row: self._data.row("raster_error", int(self._raster[row]))[0] for row in kept if kept[row] == 3}
        self._put_lines(dict(zip(kept, lines, strict=True)), rasters)
        self._data.sync()
        self._data.write(list(kept), {"kept": list(kept.values())})
        self._data.sync()  # before the caller notes that this is done

    def _put_lines(self, lines: Mapping[int, tuple[np.ndarray, np.ndarray]], rasters: Mapping[int, np.ndarray]) -> None:
        """Write slices and zooms, (3, points) each, by row (ascending), and the checksums of these and of `rasters`."""
        if not lines:
            return
        rows = list(lines)
        values = [part for parts in zip(*lines.values(), strict=True) for part in np.stack(parts, axis=1)]
        columns = dict(zip(PICTURES, values, strict=True))
        sums = checksums.rows({"key": self._key[rows], **columns})
        for place, row in enumerate(rows):
            if row in rasters:
                sums[place : place + 1] += checksums.contribution("raster_error", rasters[row][None])
        self._write(rows, {**columns, "picture_checksum": sums})

    def _write(self, rows: Sequence[int], columns: Mapping[str, Any]) -> None:
        """Write columns, but for those that a file of an earlier version lacks."""
        self._data.write(rows, {name: values for name, values in columns.items() if name in self._data.names})

    def sync(self) -> None:
        """Force everything that was written onto the disk."""
        self._data.sync()

    def close(self) -> None:
        """Close the file, all that was written on the disk."""
        self._data.close()
