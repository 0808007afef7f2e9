"""What there is to choose from, in plain values: targets, training methods and activations, from their registries."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Mapping
from typing import Any

from hpcsweep.approx.models.activations import ACTIVATIONS
from hpcsweep.approx.targets import REGISTRY as TARGETS
from hpcsweep.approx.targets import Target, data
from hpcsweep.approx.training.optimizers import registry
from hpcsweep.config import DATA, DIRECT
from hpcsweep.errors import PluginError, unknown


def targets() -> dict[str, dict[str, Any]]:
    """Return the targets by name.

    Each has its `formula`, `dimensions` (None: any), `domain` (ends (low, high) of the axes in the smallest dimension;
    none of data, whose file determines it), `smoothness` (n: bounded derivatives up to order n, inf smooth, 0
    continuous, -1 jumps, NaN not known), `lipschitz` there (None: not known), `parameters` with defaults (None:
    required), their `limits`, and `text`, all that its class says.
    """
    return dict(sorted({**{name: _target(kind) for name, kind in TARGETS.items()}, DATA: _data()}.items()))


def _target(kind: type[Target]) -> dict[str, Any]:
    dimension = kind.dimensions[0] if kind.dimensions else next(filter(lambda d: _exists(kind, d), range(1, 100)))
    target = kind(dimension)
    return {
        "formula": _first_line(kind),
        "dimensions": list(kind.dimensions) if kind.dimensions else None,
        "domain": [list(ends) for ends in target.domain],
        "smoothness": float(target.smoothness),
        "lipschitz": target.lipschitz,
        "parameters": dict(kind.parameters),
        "limits": {name: list(ends) for name, ends in kind.limits.items()},
        "text": _text(kind),
    }


def _data() -> dict[str, Any]:
    formula, parameters = _first_line(data.Data), data.Data.parameters.items()
    return {
        "formula": formula,
        "dimensions": None,
        "domain": [],
        "smoothness": data.Data.smoothness,
        "lipschitz": None,
        "parameters": {name: None if default in ("", ()) else default for name, default in parameters},
        "limits": {},
        "text": f"{formula}\n\nErrors are measured at rows that are held out. For example: {data.EXAMPLE}",
    }


def _exists(kind: type[Target], dimension: int) -> bool:
    try:
        kind(dimension)
    except PluginError:
        return False
    return True


def methods() -> dict[str, dict[str, Any]]:
    """Return the training methods by name.

    Each has its `formula` (what it is, and its source), `needs` in words, `options` with their defaults (None: that of
    the method), which stand in [training] beside the common fields, and `text`.
    """
    trained = {name: _method(name, entry) for name, entry in registry.REGISTRY.items()}
    about = "No training: the models simplex, legendre and spline are fitted directly."
    return dict(sorted({**trained, DIRECT: {"formula": about, "needs": [], "options": {}, "text": about}}.items()))


def _method(name: str, entry: registry.Registered) -> dict[str, Any]:
    needs = entry.family.needs
    words = {
        "all samples in every step (batch = full)": needs.all_samples,
        "the mean square as the loss": needs.squares,
        "learning_rate": needs.rate,
        "the weight matrices of the layers": needs.matrices,
        "a linear last layer": needs.features,
    }
    module = sys.modules[entry.family.__module__]
    fixed = "".join(f"; {field} = {value}" for field, value in entry.fixed.items())
    return {
        "formula": _first_line(module) + fixed,
        "needs": [word for word, needed in words.items() if needed],
        "options": registry.defaults(name),
        "text": f"{_text(module)}\n\n{_text(entry.family)}",
    }


def activations() -> dict[str, dict[str, Any]]:
    """Return the activations by name: `formula` with the derivative, `source`, and `text`."""
    return {
        name: {
            "formula": _first_line(type(activation)),
            "source": _first_line(sys.modules[type(activation).__module__]),
            "text": _text(type(activation)),
        }
        for name, activation in ACTIVATIONS.items()
    }


def entry(entries: Mapping[str, dict[str, Any]], name: str, kind: str) -> dict[str, Any]:
    """Return what there is under a name. Raises `PluginError` if there is nothing, with the nearest name."""
    if name not in entries:
        own = f" What is known of a class of your own says `check {name}`." if ":" in name else ""
        raise PluginError(unknown(kind, name, entries) + own)
    return entries[name]


def smoothness(order: float) -> str:
    """Say in words how smooth a target is."""
    if math.isnan(order):
        return "not known"
    if math.isinf(order):
        return "smooth"
    if order <= 0:
        return "continuous" if order == 0 else "jumps"
    return f"{order:g} bounded derivative{'s' if order > 1 else ''}"


def domain(ends: list[list[float]], dimensions: list[int] | None) -> str:
    """Return the domain in the notation of a study: [-1, 1]^d, or the interval of each axis."""
    if not ends:
        return "of the file"
    intervals = [f"[{low:.6g}, {high:.6g}]" for low, high in ends]
    if len(set(intervals)) > 1:
        return " x ".join(intervals)
    power = "" if dimensions == [1] else f"^{len(ends)}" if dimensions and len(dimensions) == 1 else "^d"
    return intervals[0] + power


def _first_line(thing: object) -> str:
    """Return the first sentence or line of what something says of itself."""
    return _text(thing).partition("\n")[0]


def _text(thing: object) -> str:
    return inspect.cleandoc(thing.__doc__ or "")
