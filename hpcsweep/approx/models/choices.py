"""What a study may say of our own families of models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hpcsweep.approx.models import classical
from hpcsweep.approx.models.layers import ACTIVATIONS, INITIALISATIONS
from hpcsweep.errors import PluginError, unknown

NAMES = ("mlp", "residual")

DEFAULTS: Mapping[str, object] = {
    "name": "mlp",
    "hidden": None,
    "activation": "tanh",
    "initialisation": "torch",
    "scale": None,
    "standardise": False,
    "stages": 1,
}


def resolve(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Complete and validate the choice of a model of ours; equal models give equal results.

    `hidden` is required: the list of hidden widths (width and depth of a study are resolved by the study). `scale`, the
    standard deviation of the initialisation "normal", is required there and refused elsewhere. `stages` is left out
    where it is 1: a plain network is the same choice, with the same random streams, as if there were no stages.

    Raises
    ------
    PluginError : for an unknown field or name, or a value that cannot be
    """
    for field in choice:
        if field not in DEFAULTS:
            raise PluginError(unknown("model", field, (*DEFAULTS, *classical.FIELDS)))
    full = {**DEFAULTS, **choice}
    if full["name"] not in NAMES:
        allowed = (*NAMES, *classical.FAMILIES)
        raise PluginError(unknown("model.name", full["name"], allowed) + " Or 'path/file.py:Class', 'module:Class'.")
    complete = validated(full)
    if full["name"] == "residual" and len(set(complete["hidden"])) != 1:
        shown = complete["hidden"]
        raise PluginError(f'model "residual" needs at least one hidden layer, and all of one width, not {shown!r}.')
    return complete


def validated(full: Mapping[str, Any]) -> dict[str, Any]:
    """Return a complete choice of any model in canonical form; PluginError for a value that cannot be."""
    for field, allowed in (("activation", ACTIVATIONS), ("initialisation", INITIALISATIONS)):
        if full[field] not in allowed:
            raise PluginError(unknown(f"model.{field}", full[field], allowed))
    if not isinstance(full["standardise"], bool):
        raise PluginError(f"model.standardise must be true or false, not {full['standardise']!r}.")
    stages = full["stages"]
    if type(stages) is not int or stages < 1:
        raise PluginError(f"model.stages must be the number of networks that are added, 1 or more, not {stages!r}.")
    resolved = {field: value for field, value in full.items() if field != "stages"}
    resolved |= {"hidden": _hidden(full["hidden"]), "scale": _scale(full["scale"], str(full["initialisation"]))}
    return {**resolved, "stages": stages} if stages > 1 else resolved


def stages_of(choice: Mapping[str, Any]) -> int:
    """Return how many networks a resolved choice adds up: 1 for a plain network."""
    return int(choice.get("stages", 1))


def _hidden(widths: object) -> list[int]:
    if not isinstance(widths, list | tuple) or not all(type(width) is int and width > 0 for width in widths):
        raise PluginError(f"model.hidden must be a list of positive widths such as [16, 16], not {widths!r}.")
    return list(widths)


def _scale(scale: object, initialisation: str) -> float | None:
    if initialisation != "normal":
        if scale is not None:
            raise PluginError(f'model.scale belongs to initialisation "normal", not to "{initialisation}".')
        return None
    if not isinstance(scale, int | float) or isinstance(scale, bool) or not 0 < scale < math.inf:
        raise PluginError(f'initialisation "normal" needs model.scale, a positive number, not {scale!r}.')
    return float(scale)
