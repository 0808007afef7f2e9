"""Later measurements of stored networks: brackets tightened in place."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hpcsweep.bracket import Bracket, cover, tighten
from hpcsweep.errors import StoreError
from hpcsweep.store import journal, layout, write_errors
from hpcsweep.store.keyed_rows import KeyedRows
from hpcsweep.store.lease import Lease
from hpcsweep.store.reading import named, opened

Values = dict[str, Any]
_SUMS = ("points", "boxes", "nonfinite")
_MEANS = ("averaged", "l2_error", "l1_error", "quantile_error")
_UNIFORM = ("sup_uniform", "uniform_volume")
_CENTRAL = ("central_share", "central_l2_error", "central_sup_lower")


def combined(rows: KeyedRows, measured: Mapping[str, Mapping[str, Any]]) -> dict[str, Values]:
    """Return what a store is to say of some cells, from what it says and what was `measured` (key -> column -> value).

    The larger lower bound with its place, unless a proof has looked at the place of the old one again, which may be no
    proof; the smaller upper bound with its certificate; means and quantiles of the
    measurement with more points, and so for what uniform points alone would have said; points and boxes add up.

    Raises
    ------
    StoreError : if the store has not these cells, or a proof contradicts what was found
    """
    places = rows.places(measured)
    if missing := measured.keys() - places.keys():
        raise StoreError(f"The store has no cells {named(sorted(missing))} any more.")
    return {key: _combined(rows, key, places[key], values) for key, values in measured.items()}


def require_central(path: str | Path) -> None:
    """Raise `StoreError` if a store is from before there were columns for a central box: rows alone cannot add them."""
    with opened(path) as file:
        if not set(_CENTRAL) <= set(file):
            raise StoreError(
                f"{path} was written by a version without the columns {', '.join(_CENTRAL)}; "
                f"`python -m hpcsweep merge {path} {path}` adds them."
            )


def _combined(rows: KeyedRows, key: str, place: int, measured: Mapping[str, Any]) -> Values:
    old = {name: rows.row(name, place)[0] for name in rows.names if name in measured}
    axes = len(measured["sup_where"])
    before = _bracket(old["sup_lower"], old["sup_upper"], tuple(old["sup_where"][:axes]))
    after = _bracket(measured["sup_lower"], measured["sup_upper"], tuple(measured["sup_where"]))
    again = measured.get("proved", False) and before.where and not math.isnan(before.lower)
    try:
        new = tighten(Bracket(0.0, before.upper) if again else before, after)
    except ValueError as contradiction:
        raise StoreError(f"{key}: two measurements contradict each other ({contradiction}).") from contradiction
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
    if "solution_upper" in old:
        bound = np.fmin(old["solution_upper"], measured["solution_upper"])  # NaN of no proof
        values["solution_upper"] = math.inf if bound < new.lower else bound  # of code that is not what it says
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


def planned(rows: KeyedRows, values: Mapping[str, Values]) -> dict[str, Any]:
    """Return what these values will change, by key: the keys, and the columns (keys, ...) before and after.

    It is plain data, to be saved before anything is written, so that it is written once (`write_once`).
    """
    places = rows.places(values)
    names = sorted({name for columns in values.values() for name in columns})
    before = {name: np.concatenate([rows.row(name, places[key]) for key in values]) for name in names}
    before = {name: column.astype(column.dtype.str) for name, column in before.items()}
    after = {name: column.copy() for name, column in before.items()}
    for number, columns in enumerate(values.values()):
        for name, value in columns.items():
            after[name][(number, slice(len(value))) if np.ndim(value) else number] = value
    return {"keys": list(values), "before": before, "after": after}


def write_once(path: Path, plan: Mapping[str, Any], lease: Lease, rows: KeyedRows) -> None:
    """Write what was `planned`, but for cells that are not as they were then: they are changed already.

    Raises `StoreError` as `write` does.
    """
    places = rows.places(plan["keys"])
    left = {
        key: {name: column[number] for name, column in plan["after"].items()}
        for number, key in enumerate(plan["keys"])
        if key in places
        and all(
            rows.row(name, places[key]).tobytes() == old[[number]].tobytes() for name, old in plan["before"].items()
        )
    }
    if left:
        write(path, left, lease, rows)


def write(path: Path, values: Mapping[str, Values], lease: Lease, rows: KeyedRows | None = None) -> None:
    """Overwrite these values of finished cells, by key; harmless twice. `rows`: those of the store, if they are open.

    Raises
    ------
    StoreError : if the lease is lost, the store has not these cells finished, or it cannot be written
    """
    with (
        write_errors.explained(f"The store {path} cannot be written", KeyError),
        contextlib.nullcontext(rows) if rows else contextlib.closing(KeyedRows(path)) as data,
    ):
        check = partial(data.check, lease)
        check()
        journal.change(path, values, data, check)
