"""What a study may say of the families that are fitted directly, and how large that makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hpcsweep.approx.models.classical.crosses import size
from hpcsweep.approx.models.classical.spline import DEGREES
from hpcsweep.config import ModelConfig
from hpcsweep.errors import PluginError, unknown

FAMILIES: Mapping[str, tuple[str, ...]] = {"simplex": (), "legendre": ("order",), "spline": ("degree",)}
FIELDS = ("order", "degree")  # of [model], that belong to some of these families and to no network
_INTERPOLATE = ("simplex", "spline")  # as many nodes as samples
_MOST = 100_000  # coefficients of a least-squares fit: their matrix would not fit into any memory


def is_direct(model: Mapping[str, Any]) -> bool:
    """Return whether the `name` of a model is that of a family that is fitted directly."""
    return str(model.get("name")) in FAMILIES


def resolve(given: Mapping[str, Any]) -> ModelConfig:
    """Return the configuration of a family of `FAMILIES`: its name and fields, and its `nodes` if they are known.

    Fields of networks are no part of it. Raises PluginError for what cannot be.
    """
    name, own = given["name"], FAMILIES[given["name"]]
    kept = (*own, "nodes") if name in _INTERPOLATE else own
    for field in given:
        if field not in ("name", *kept, *FIELDS, *ModelConfig.FIELDS):
            raise PluginError(unknown("model", field, ("name", *own)))
    refuse(given, name)
    if name == "legendre":
        _order(given.get("order"))
    if name == "spline" and (type(given.get("degree")) is not int or given["degree"] not in DEGREES):
        shown = ", ".join(map(str, DEGREES))
        raise PluginError(f'model "spline" needs model.degree, one of {shown}, not {given.get("degree")!r}.')
    return ModelConfig.of({field: given[field] for field in ("name", *kept) if field in given})


def refuse(given: Mapping[str, Any], name: str) -> None:
    """Raise PluginError if a model of that name sets a field of `FIELDS` that belongs to others."""
    for field in FIELDS:
        if given.get(field) is not None and field not in FAMILIES.get(name, ()):
            [owner] = [family for family, own in FAMILIES.items() if field in own]
            raise PluginError(
                f'model.{field} belongs to model "{owner}", not to "{name}"; set it in that model\'s table.'
            )


def _order(order: object) -> None:
    if type(order) is not int or order < 1:
        raise PluginError(f'model "legendre" needs model.order, the order of its hyperbolic cross, not {order!r}.')


def sized(model: ModelConfig, dimension: int, samples: int) -> ModelConfig:
    """Return the model for so many samples: a family that interpolates has a node at each.

    Raises PluginError where there is no such approximant.
    """
    name = model.name
    if name == "spline" and dimension != 1:
        raise PluginError(f'model "spline" exists only in dimension 1, not in {dimension}; "simplex" exists in any.')
    if name == "legendre" and size(model["order"], dimension) > _MOST:
        raise PluginError(
            f"model.order {model['order']} makes {size(model['order'], dimension):,} coefficients in dimension "
            f"{dimension}, more than {_MOST:,}; choose a lower one."
        )
    if name not in _INTERPOLATE:
        return model
    least = model["degree"] + 1 if name == "spline" else 2 if dimension == 1 else dimension + 2
    if samples < least:
        raise PluginError(f'model "{name}" needs at least {least} samples here, not {samples}.')
    return replace(model, options={**model.options, "nodes": samples})


def count(model: ModelConfig, dimension: int) -> int:
    """Return the number of parameters of a model.

    Raises PluginError where that depends on the number of samples, which is not known yet.
    """
    if model.name == "legendre":
        return size(model["order"], dimension)
    if "nodes" not in model:
        raise PluginError(
            f'model "{model.name}" has as many nodes as samples: their number cannot be given per parameter.'
        )
    return int(model["nodes"]) * (dimension + 1)
