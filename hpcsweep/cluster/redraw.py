"""Pictures of stored networks that follow the point of the largest error, when a later measurement moves it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from hpcsweep.approx.supnorm.approximations import Network
from hpcsweep.approx.supnorm.slice import slice_of, zoom_of
from hpcsweep.errors import StoreError
from hpcsweep.store import layout, weights, write_errors
from hpcsweep.store.reading import opened
from hpcsweep.store.remeasured import Values


def moved(path: Path, values: Mapping[int, Values]) -> dict[int, int]:
    """Return the rows whose slice goes through another point than `values` give, and what is `kept` of each.

    That is worked out before the values are written to the store `path`, and remembered until the slices are drawn.
    Raises `StoreError` if store or weights cannot be read.
    """
    kept = weights.pictured(path)
    with opened(path) as file:
        before = file["sup_where"][:]
    points = {row: tuple(new["sup_where"]) for row, new in sorted(values.items()) if kept[row] and "sup_where" in new}
    return {row: int(kept[row]) for row, point in points.items() if tuple(before[row, : len(point)]) != point}


def draw(
    path: Path, networks: Mapping[int, Network], values: Mapping[int, Values], rows: Mapping[int, int], folder: Path
) -> None:
    """Draw slices and zooms of the `rows` that `moved` returned anew; harmless twice. The caller holds the lease.

    Raises
    ------
    StoreError : if the weights cannot be written; what the store says is right by then
    """
    if not rows:
        return
    lines = []
    for row in rows:
        error, point = networks[row].error_function(folder, "cpu"), values[row]["sup_where"]
        line, zoom = slice_of(error, point, layout.SLICE), zoom_of(error, point, layout.ZOOM)
        assert line is not None and zoom is not None  # what was written is a point
        lines.append((line, zoom))
    try:
        with opened(path) as file:
            count = len(file["key"])
        with contextlib.closing(weights.Writer(path, count)) as writer:
            writer.draw(rows, lines)
    except OSError as error:
        raise StoreError(f"{weights.path_of(path)} cannot be written: {write_errors.reason(error)}.") from error
