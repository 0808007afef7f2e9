"""Pictures of stored networks that follow the point of the largest error, when a later measurement moves it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hpcsweep.approx.supnorm.approximations import Network
from hpcsweep.approx.supnorm.slice import slice_of, zoom_of
from hpcsweep.store import layout, weights, write_errors
from hpcsweep.store.keyed_rows import KeyedRows
from hpcsweep.store.remeasured import Values
from hpcsweep.store.weights_writer import Writer


class Redrawing:
    """The pictures of a store, open for drawing slices and zooms anew. Its user holds the lease of the store."""

    def __init__(self, path: Path, rows: KeyedRows) -> None:
        """`rows`: those of the store `path`. Raises `StoreError` if its weights cannot be read."""
        self._path, self._rows = path, rows
        self._kept = weights.pictured(path)  # (cells,)
        self._writer: Writer | None = None

    def moved(self, values: Mapping[str, Values]) -> dict[str, int]:
        """Return the cells whose slice goes through another point than `values` give, and what is `kept` of each.

        That is worked out before the values are written, and remembered until the slices are drawn.
        """
        places = self._rows.places(values)
        points = {key: tuple(new["sup_where"]) for key, new in values.items() if "sup_where" in new}
        before = {
            key: tuple(self._rows.row("sup_where", places[key])[0, : len(point)]) for key, point in points.items()
        }
        kept = {key: int(self._kept[places[key]]) for key, point in points.items() if point != before[key]}
        return {key: number for key, number in kept.items() if number}

    def draw(self, networks: Mapping[str, Network], moved: Mapping[str, int], folder: Path) -> None:
        """Draw slices and zooms of the cells that `moved` returned, through the points in the store; harmless twice.

        Raises
        ------
        StoreError : if the weights cannot be written; what the store says is right by then
        """
        places = self._rows.places(moved)
        lines = []
        keys = sorted(places, key=places.__getitem__)
        for key in keys:
            error = networks[key].error_function(folder, "cpu")
            point = tuple(self._rows.row("sup_where", places[key])[0, : networks[key].dimension].tolist())
            line, zoom = slice_of(error, point, layout.SLICE), zoom_of(error, point, layout.ZOOM)
            assert line is not None and zoom is not None  # what was written is a point
            lines.append((line, zoom))
        if not keys:
            return
        with write_errors.explained(f"{weights.path_of(self._path)} cannot be written", KeyError):
            if self._writer is None:
                self._writer = Writer(self._path, len(self._kept))
            self._writer.draw({places[key]: moved[key] for key in keys}, lines)

    def close(self) -> None:
        """Close the weights. Raises `OSError` if what was drawn cannot reach the disk."""
        if self._writer is not None:
            self._writer.close()
