"""What a study may say of the families that are fitted directly, and how large that makes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpcsweep.approx.models.classical.crosses import size
from hpcsweep.approx.models.classical.spline import DEGREES
from hpcsweep.errors import PluginError, unknown

FAMILIES: Mapping[str, tuple[str, ...]] = {"simplex": (), "legendre": ("order",), "spline": ("degree",)}
FIELDS = ("order", "degree")  # of [model], that belong to some of these families and to no network
_INTERPOLATE = ("simplex", "spline")  # as many nodes as samples
_MOST = 100_000  # coefficients of a least-squares fit: their matrix would not fit into any memory


def is_direct(choice: Mapping[str, Any]) -> bool:
    """Return whether a choice names a family that is fitted directly."""
    return str(choice.get("name")) in FAMILIES


def resolve(choice: Mapping[str, Any], others: Mapping[str, object]) -> dict[str, Any]:
    """Return the canonical choice of a family of `FAMILIES`: its name and fields, and its `nodes` if they are known.

    `others`: the fields of networks, which are no part of it. Raises PluginError for what cannot be.
    """
    name, own = choice["name"], FAMILIES[choice["name"]]
    kept = (*own, "nodes") if name in _INTERPOLATE else own
    for field in choice:
        if field not in (*kept, *FIELDS, *others):
            raise PluginError(unknown("model", field, ("name", *own)))
    refuse(choice, name)
    if name == "legendre":
        _order(choice.get("order"))
    if name == "spline" and (type(choice.get("degree")) is not int or choice["degree"] not in DEGREES):
        shown = ", ".join(map(str, DEGREES))
        raise PluginError(f'model "spline" needs model.degree, one of {shown}, not {choice.get("degree")!r}.')
    return {"name": name, **{field: choice[field] for field in kept if field in choice}}


def refuse(choice: Mapping[str, Any], name: str) -> None:
    """Raise PluginError if the choice of a model of that name sets a field of `FIELDS` that belongs to others."""
    for field in FIELDS:
        if choice.get(field) is not None and field not in FAMILIES.get(name, ()):
            [owner] = [family for family, own in FAMILIES.items() if field in own]
            raise PluginError(
                f'model.{field} belongs to model "{owner}", not to "{name}"; set it in that model\'s table.'
            )


def _order(order: object) -> None:
    if type(order) is not int or order < 1:
        raise PluginError(f'model "legendre" needs model.order, the order of its hyperbolic cross, not {order!r}.')


def sized(choice: Mapping[str, Any], dimension: int, samples: int) -> dict[str, Any]:
    """Return the resolved choice for so many samples: a family that interpolates has a node at each.

    Raises PluginError where there is no such approximant.
    """
    name = choice["name"]
    if name == "spline" and dimension != 1:
        raise PluginError(f'model "spline" exists only in dimension 1, not in {dimension}; "simplex" exists in any.')
    if name == "legendre" and size(choice["order"], dimension) > _MOST:
        raise PluginError(
            f"model.order {choice['order']} makes {size(choice['order'], dimension):,} coefficients in dimension "
            f"{dimension}, more than {_MOST:,}; choose a lower one."
        )
    if name not in _INTERPOLATE:
        return dict(choice)
    least = choice["degree"] + 1 if name == "spline" else 2 if dimension == 1 else dimension + 2
    if samples < least:
        raise PluginError(f'model "{name}" needs at least {least} samples here, not {samples}.')
    return {**choice, "nodes": samples}


def count(choice: Mapping[str, Any], dimension: int) -> int:
    """Return the parameters of a resolved choice.

    Raises PluginError where that depends on the number of samples, which is not known yet.
    """
    if choice["name"] == "legendre":
        return size(choice["order"], dimension)
    if "nodes" not in choice:
        raise PluginError(
            f'model "{choice["name"]}" has as many nodes as samples: their number cannot be given per parameter.'
        )
    return int(choice["nodes"]) * (dimension + 1)
