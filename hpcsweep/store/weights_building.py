"""Laying out the weights of a store anew, with what the weights of other stores have: beside `rewriting`.

A file that is damaged outside its rows, or is not ours, is never replaced, except by a repair, which keeps it aside.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np

from hpcsweep.errors import StoreError
from hpcsweep.store import copying, integrity, layout, links, write_errors
from hpcsweep.store.rewriting import Take, replacing
from hpcsweep.store.weights import (
    CHANGING,
    CHECKED,
    PICTURES,
    intact,
    opened_weights,
    parameter_sums,
    path_of,
    picture_sums,
    size_of,
)
from hpcsweep.study.cells import Cells
from hpcsweep.study.keys import KeyIndex


def build(
    store: Path,
    cells: Cells,
    takes: Sequence[Take],
    check: Callable[[], None],
    anew: bool = False,
    repair: bool = False,
) -> None:
    """Lay out the weights of `cells`, with those of the rows `takes`. Keeps a file that is right, unless `anew`.

    `check` raises if the store must not be written any more. With `repair`, rows are taken from a file that is damaged
    outside its rows too, those that are intact by their own checksums; the damaged file is kept, as
    FILE.weights.h5.damaged. Raises `StoreError` at such a file otherwise, at one that is not ours, and if the weights
    cannot be written, as when the disk has no room for them.
    """
    path = links.followed(path_of(store))
    others = {take.path for take in takes if len(take.target)} - {store}
    if not anew and not others and is_laid_out(store, cells):
        return
    sealed = _is_sealed(store, repair)
    write_errors.require_space(path.parent, size_of(cells))
    with (
        write_errors.explained(f"{path} cannot be written"),
        replacing(path, like=store, check=check) as temporary,
    ):
        with write_errors.deferred(temporary) as file:
            _lay_out(file, cells)
            for start in range(0, len(takes), copying.AT_ONCE):
                _copy(takes[start : start + copying.AT_ONCE], file, cells.columns["key"], repair)
        integrity.seal(temporary, CHANGING)
        if not sealed:
            _set_aside(path)


def is_laid_out(store: Path, cells: Cells) -> bool:
    """Return whether the weights of a store are there, laid out for these cells, and undamaged outside their rows."""
    with contextlib.suppress(StoreError), opened_weights(store) as file:
        same = layout.WEIGHTS.keys() <= set(file) and np.array_equal(file["key"][:], cells.columns["key"])
        return same and integrity.is_sealed(file, CHANGING)
    return False


def _is_sealed(store: Path, repair: bool) -> bool:
    """Return whether the weights of a store, if there are any, are undamaged outside their rows.

    Raises `StoreError` for a file that is not ours (other programs too call files NAME.weights.h5), or cannot be read;
    and, unless `repair`, for a damaged one.
    """
    path = links.own(path_of(store))
    if not path.exists():
        return True
    try:
        with opened_weights(store) as file:
            if not {"key", "offset", "count", "kept"} <= set(file):
                raise StoreError("It has no parameters.")
            sealed = integrity.is_sealed(file, CHANGING)
    except StoreError as error:
        raise StoreError(
            f"{path} was not written by hpcsweep, or is damaged: move it away, or choose another file with -o. {error}"
        ) from error
    if not (sealed or repair):
        raise _damaged(path)
    return sealed


def _damaged(path: Path) -> StoreError:
    return StoreError(
        f"{path} is damaged outside the weights of its cells, and is left as it is; `run` with --repair keeps the "
        "weights that are whole, and trains the other cells again."
    )


def _set_aside(path: Path) -> None:
    """Keep damaged weights under another name, and say so."""
    aside = path.with_name(path.name + ".damaged")
    if os.path.lexists(aside):
        raise StoreError(f"{aside} is in the way: move it elsewhere first.")
    os.link(path, aside)
    print(f"hpcsweep: {aside} has the weights as they were; delete it if you do not need it.", file=sys.stderr)


def _lay_out(file: h5py.File, cells: Cells) -> None:
    counts = cells.columns["parameters"].astype(np.int64)
    pictured = cells.columns["dimension"] == 2
    sizes = {"file": 1, "first": layout.RASTER, "second": layout.RASTER, "slice": layout.SLICE, "zoom": layout.ZOOM}
    for name, size in {**sizes, "cell": len(cells), "picture": int(pictured.sum())}.items():
        layout.make_dimension(file, name, size)
    file.create_dataset("parameter", shape=(int(counts.sum()),), dtype="i1").make_scale("parameter")  # never written
    for name, column in layout.WEIGHTS.items():
        layout.make(file, name, column, tuple(len(file[dimension]) for dimension in column.dimensions))
    file["key"][:] = cells.columns["key"]
    file["count"][:] = counts
    file["offset"][:] = np.cumsum(counts) - counts
    file["raster"][:] = np.where(pictured, np.cumsum(pictured) - 1, -1)


def _copy(takes: Sequence[Take], new: h5py.File, keys: np.ndarray, repair: bool) -> None:
    """Copy the parameters and pictures of rows of some stores, as far as they were kept.

    `keys` are those of the new rows. Of a file that is damaged outside its rows, a repair copies those that are intact.
    """
    starts, pictured = new["offset"][:], new["raster"][:]
    rows, segments, rasters, unsealed = [], [], [], []
    with contextlib.ExitStack() as stack:
        for take in takes:
            if not (len(take.target) and path_of(take.path).exists()):
                continue
            old = stack.enter_context(opened_weights(take.path))
            origin, kept = KeyIndex(old["key"][:]).rows(keys[take.target]), old["kept"][:]
            there = np.flatnonzero((origin >= 0) & (kept[origin] > 0))
            if not integrity.is_sealed(old, CHANGING):
                if not repair:
                    raise _damaged(path_of(take.path))
                there = there[intact(old, origin[there])]
            origin, target = origin[there], take.target[there]
            rows.append((old, origin, target))
            segments.append((old["parameters"], old["offset"][:][origin], starts[target], old["count"][:][origin]))
            if (shown := kept[origin] == 3).any():  # a file without rasters has no such rows
                rasters.append((old["raster_error"], old["raster"][:][origin[shown]], pictured[target[shown]]))
            if "checksum" not in old:  # which is from before there were checksums
                unsealed.append(target)
        copying.copy_segments(new["parameters"], segments)
        for name in (*PICTURES, *CHECKED, "kept"):
            copying.copy(new[name], [(old[name], origin, target) for old, origin, target in rows if name in old])
        copying.copy(new["raster_error"], rasters)
    for target in unsealed:
        new["checksum"][target] = parameter_sums(new, target)
        new["picture_checksum"][target] = picture_sums(new, target)
