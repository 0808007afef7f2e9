"""Later measurements of stored networks: brackets tightened in place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py

from hpcsweep.bracket import Bracket
from hpcsweep.bracket import tighten as both
from hpcsweep.errors import StoreError
from hpcsweep.lease import Lease

_OF_THE_POINTS = ("sup_screened", "sup_uniform", "uniform_volume", "l2_error", "l1_error", "quantile_error")


def tighten(path: str | Path, found: Mapping[int, Mapping[str, Any]]) -> None:
    """Combine what the store says of some rows with what was `found` (row -> column -> value).

    The larger lower bound with its place, the smaller upper bound with its certificate; means, quantiles and what some
    points alone would have said come from the measurement with more points; points and boxes add up. Each value that is
    overwritten is right by itself and the place goes first, so that a kill between two leaves nothing wrong.

    Raises
    ------
    StoreError : if a live run holds the store, it cannot be written, or a proof contradicts what was found
    """
    path = Path(path).resolve()
    lease = Lease(path)
    try:
        with h5py.File(path, "r+", locking=False) as file:
            for row, values in found.items():
                _tighten(file, row, values)
    except (OSError, RuntimeError, KeyError) as error:
        raise StoreError(f"The store {path} cannot be written: {error}.") from error
    finally:
        lease.release()


def _tighten(file: h5py.File, row: int, found: Mapping[str, Any]) -> None:
    where = found["sup_where"]
    old = Bracket(file["sup_lower"][row], file["sup_upper"][row], file["sup_where"][row][: len(where)])
    try:
        new = both(old, Bracket(found["sup_lower"], found["sup_upper"], where))
    except ValueError as contradiction:
        raise StoreError(f"Row {row}: two measurements contradict each other ({contradiction}).") from contradiction
    file["sup_where"][row, : len(where)] = new.where
    if new.where != old.where:
        for name in ("boundary", "sample_distance"):
            file[name][row] = found[name]
    file.flush()
    file["sup_lower"][row] = new.lower
    if new.upper < old.upper or (math.isinf(old.upper) and file["boxes"][row] <= 0):
        file["certificate"][row] = found["certificate"]
        file["sup_upper"][row] = new.upper
    file.flush()
    if found["points"] > file["points"][row]:
        for name in _OF_THE_POINTS:
            file[name][row] = found[name]
    for name in ("points", "boxes", "nonfinite"):
        file[name][row] += found[name]
