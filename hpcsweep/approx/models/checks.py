"""What a study may say of our own families of models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hpcsweep.approx.models import classical
from hpcsweep.approx.models.layers import ACTIVATIONS, INITIALISATIONS
from hpcsweep.config import ModelConfig
from hpcsweep.errors import PluginError, unknown

NAMES = ("mlp", "residual")
FIELDS = ("name", *(field for field in ModelConfig.FIELDS if field != "code"))  # of [model], of all networks


def resolve(given: Mapping[str, Any]) -> ModelConfig:
    """Return the configuration of a network of ours, complete and validated.

    `hidden` is required: the list of hidden widths (width and depth of a study are resolved by the study). `scale`, the
    standard deviation of the initialisation "normal", is required there and refused elsewhere.

    Raises
    ------
    PluginError : for an unknown field or name, or a value that cannot be
    """
    for field in given:
        if field not in FIELDS:
            raise PluginError(unknown("model", field, (*FIELDS, *classical.FIELDS)))
    name = given.get("name", ModelConfig.name)
    if name not in NAMES:
        allowed = (*NAMES, *classical.FAMILIES)
        raise PluginError(unknown("model.name", name, allowed) + " Or 'path/file.py:Class', 'module:Class'.")
    config = validated(given)
    if name == "residual" and len(set(config.hidden)) != 1:
        shown = list(config.hidden)
        raise PluginError(f'model "residual" needs at least one hidden layer, and all of one width, not {shown!r}.')
    return config


def validated(given: Mapping[str, Any], code: str = "", unused: tuple[str, ...] = ()) -> ModelConfig:
    """Return the configuration of any network; PluginError for a value that cannot be.

    Parameters
    ----------
    code : digest of the source of a user's class
    unused : fields that such a class does not read
    """
    fields = {field: value for field, value in given.items() if field in FIELDS and field not in unused}
    _hidden(fields.get("hidden", () if "hidden" in unused else None))
    config = ModelConfig(**fields, code=code, unused=frozenset(unused))
    for field, allowed in (("activation", ACTIVATIONS), ("initialisation", INITIALISATIONS)):
        if getattr(config, field) not in allowed:
            raise PluginError(unknown(f"model.{field}", getattr(config, field), allowed))
    if not isinstance(config.standardise, bool):
        raise PluginError(f"model.standardise must be true or false, not {config.standardise!r}.")
    if type(config.stages) is not int or config.stages < 1:
        raise PluginError(
            f"model.stages must be the number of networks that are added, 1 or more, not {config.stages!r}."
        )
    return replace(config, scale=_scale(config.scale, config.initialisation))


def _hidden(widths: object) -> None:
    if not isinstance(widths, list | tuple) or not all(type(width) is int and width > 0 for width in widths):
        raise PluginError(f"model.hidden must be a list of positive widths such as [16, 16], not {widths!r}.")


def _scale(scale: object, initialisation: str) -> float | None:
    if initialisation != "normal":
        if scale is not None:
            raise PluginError(f'model.scale belongs to initialisation "normal", not to "{initialisation}".')
        return None
    if not isinstance(scale, int | float) or isinstance(scale, bool) or not 0 < scale < math.inf:
        raise PluginError(f'initialisation "normal" needs model.scale, a positive number, not {scale!r}.')
    return float(scale)
