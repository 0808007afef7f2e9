"""Later measurements of stored networks: brackets tightened in place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpcsweep import layout
from hpcsweep.bracket import Bracket
from hpcsweep.bracket import tighten as both
from hpcsweep.errors import StoreError

Values = dict[str, Any]
_SUMS = ("points", "boxes", "nonfinite")
_MEANS = ("averaged", "l2_error", "l1_error", "quantile_error")
_UNIFORM = ("sup_uniform", "uniform_volume")
# Each value is right by itself, and a bound is written after its place: a kill between two leaves nothing wrong.
_ORDER = ("sup_where", "boundary", "sample_distance", "sup_lower", "certificate", "sup_upper")


def combined(path: str | Path, found: Mapping[int, Mapping[str, Any]]) -> dict[int, Values]:
    """Return what a store is to say of some rows, from what it says and what was `found` (row -> column -> value).

    The larger lower bound with its place, the smaller upper bound with its certificate; means and quantiles of the
    measurement with more points, and so for what uniform points alone would have said; points and boxes add up.

    Raises
    ------
    StoreError : if the store cannot be read, or a proof contradicts what was found
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            return {row: _combined(file, row, values) for row, values in found.items()}
    except (OSError, RuntimeError, KeyError) as error:
        raise StoreError(f"The store {path} cannot be read: {error}.") from error


def _combined(file: h5py.File, row: int, found: Mapping[str, Any]) -> Values:
    old = {name: file[name][row] for name in layout.RESULTS if name in found}
    axes = len(found["sup_where"])
    before = _bracket(old["sup_lower"], old["sup_upper"], tuple(old["sup_where"][:axes]))
    after = _bracket(found["sup_lower"], found["sup_upper"], tuple(found["sup_where"]))
    try:
        new = both(before, after)
    except ValueError as contradiction:
        raise StoreError(f"Row {row}: two measurements contradict each other ({contradiction}).") from contradiction
    values: Values = {"sup_where": new.where} if new.where else {}
    values |= {"sup_lower": new.lower, "sup_upper": new.upper}
    if new.where != before.where:
        values |= {name: found[name] for name in ("boundary", "sample_distance")}
    if math.isnan(new.lower):
        values["certificate"] = layout.CERTIFICATES.index("off")
    elif new.upper < before.upper or math.isinf(new.upper):
        values["certificate"] = found["certificate"]
    values |= {name: int(max(old[name], 0)) + found[name] for name in _SUMS}
    if found["averaged"] > old["averaged"]:
        values |= {name: found[name] for name in _MEANS}
    if not found["uniform_volume"] >= old["uniform_volume"] and not math.isnan(found["uniform_volume"]):
        values |= {name: found[name] for name in _UNIFORM}  # a smaller share: more points
    return {**values, "sup_screened": np.fmax(old["sup_screened"], found["sup_screened"])}


def _bracket(lower: float, upper: float, where: tuple[float, ...]) -> Bracket:
    return Bracket(lower, math.inf if math.isnan(lower) else upper, where if np.isfinite(where).all() else ())


def write(path: str | Path, values: Mapping[int, Values]) -> None:
    """Overwrite these values of these rows; harmless twice. The caller holds the lease.

    Raises
    ------
    StoreError : if the store cannot be written
    """
    try:
        with h5py.File(path, "r+", locking=False) as file:
            for row, columns in values.items():
                for name in sorted(columns, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER)):
                    value = columns[name]
                    file[name][(row, slice(len(value))) if isinstance(value, tuple) else row] = value
                    file.flush()
    except (OSError, RuntimeError, KeyError) as error:
        raise StoreError(f"The store {path} cannot be written: {error}.") from error
