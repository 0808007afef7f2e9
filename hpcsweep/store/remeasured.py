"""Later measurements of stored networks: brackets tightened in place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpcsweep.bracket import Bracket, cover, tighten
from hpcsweep.errors import StoreError
from hpcsweep.store import layout, write_errors
from hpcsweep.store.reading import opened

Values = dict[str, Any]
_SUMS = ("points", "boxes", "nonfinite")
_MEANS = ("averaged", "l2_error", "l1_error", "quantile_error")
_UNIFORM = ("sup_uniform", "uniform_volume")
_CENTRAL = ("central_share", "central_l2_error", "central_sup_lower")
# Each value is right by itself, and a bound is written after its place: a kill between two leaves nothing wrong.
_ORDER = ("sup_where", "boundary", "sample_distance", "sup_lower", "certificate", "sup_upper")


def combined(path: str | Path, measured: Mapping[int, Mapping[str, Any]]) -> dict[int, Values]:
    """Return what a store is to say of some rows, from what it says and what was `measured` (row -> column -> value).

    The larger lower bound with its place, the smaller upper bound with its certificate; means and quantiles of the
    measurement with more points, and so for what uniform points alone would have said; points and boxes add up.

    Raises
    ------
    StoreError : if the store cannot be read, or a proof contradicts what was found
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            return {row: _combined(file, row, values) for row, values in measured.items()}
    except (OSError, RuntimeError, KeyError) as error:
        raise StoreError(f"The store {path} cannot be read: {error}.") from error


def require_central(path: str | Path) -> None:
    """Raise `StoreError` if a store is from before there were columns for a central box: rows alone cannot add them."""
    with opened(path) as file:
        if not set(_CENTRAL) <= set(file):
            raise StoreError(
                f"{path} was written by a version without the columns {', '.join(_CENTRAL)}; "
                f"`python -m hpcsweep merge {path} {path}` adds them."
            )


def _combined(file: h5py.File, row: int, measured: Mapping[str, Any]) -> Values:
    old = {name: file[name][row] for name in layout.RESULTS if name in measured and name in file}
    axes = len(measured["sup_where"])
    before = _bracket(old["sup_lower"], old["sup_upper"], tuple(old["sup_where"][:axes]))
    after = _bracket(measured["sup_lower"], measured["sup_upper"], tuple(measured["sup_where"]))
    try:
        new = tighten(before, after)
    except ValueError as contradiction:
        raise StoreError(f"Row {row}: two measurements contradict each other ({contradiction}).") from contradiction
    values: Values = {"sup_where": new.where} if new.where else {}
    values |= {"sup_lower": new.lower, "sup_upper": new.upper}
    if new.where != before.where:
        values |= {name: measured[name] for name in ("boundary", "sample_distance")}
    if math.isnan(new.lower):
        values["certificate"] = layout.CERTIFICATES.index("off")
    elif new.upper < before.upper or math.isinf(new.upper):
        values["certificate"] = measured["certificate"]
    values |= {name: int(max(old[name], 0)) + measured[name] for name in _SUMS}
    if measured["averaged"] > old["averaged"]:
        values |= {name: measured[name] for name in _MEANS}
    if not measured["uniform_volume"] >= old["uniform_volume"] and not math.isnan(measured["uniform_volume"]):
        values |= {name: measured[name] for name in _UNIFORM}  # a smaller share: more points
    values |= _central(old, measured)
    return {**values, "sup_screened": np.maximum(old["sup_screened"], measured["sup_screened"])}  # keeps a NaN


def _central(old: Values, measured: Mapping[str, Any]) -> Values:
    """Return what is to be said of the central box: nothing new where it was not measured, or is not in the file.

    Of a box of another size all of it; else the larger lower bound, and the mean of the measurement with more points.
    """
    if not set(_CENTRAL) <= old.keys() or math.isnan(measured["central_share"]):
        return {}
    if old["central_share"] != measured["central_share"]:
        return {name: measured[name] for name in _CENTRAL}
    lower = cover(*(Bracket(values["central_sup_lower"]) for values in (old, measured))).lower  # keeps a NaN
    mean = {"central_l2_error": measured["central_l2_error"]} if measured["averaged"] > old["averaged"] else {}
    return {"central_sup_lower": lower, **mean}


def _bracket(lower: float, upper: float, where: tuple[float, ...]) -> Bracket:
    return Bracket(lower, math.inf if math.isnan(lower) else upper, where if np.isfinite(where).all() else ())


def write(path: str | Path, values: Mapping[int, Values]) -> None:
    """Overwrite these values of these rows; harmless twice. The caller holds the lease.

    Raises
    ------
    StoreError : if the store cannot be written
    """
    with (
        write_errors.explained(f"The store {path} cannot be written", KeyError),
        write_errors.deferred(Path(path), "r+") as file,
    ):
        for row, columns in values.items():
            for name in sorted(columns, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER)):
                value = columns[name]
                file[name][(row, slice(len(value))) if isinstance(value, tuple) else row] = value
                file.flush()
