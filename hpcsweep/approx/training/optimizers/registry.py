"""The optimizers by their names: a class enters by the decorator `register`, once for each of its names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Any, TypeVar, get_type_hints

from hpcsweep.approx.training.optimizers.optimizer import Needs, Optimizer
from hpcsweep.config import DIRECT
from hpcsweep.errors import PluginError, unknown

_Optimizer = TypeVar("_Optimizer", bound=Optimizer)


@dataclass(frozen=True)
class Registered:
    """A name of an optimizer: its class, and the fields that the name decides, so that they are not to be set."""

    family: type[Optimizer]
    fixed: Mapping[str, Any]


REGISTRY: dict[str, Registered] = {}


def register(name: str, **fixed: Any) -> Callable[[type[_Optimizer]], type[_Optimizer]]:
    """Return a decorator that enters a class under a name, which decides on the fields in `fixed`.

    Raises
    ------
    ValueError : for a name that is taken, or cannot stand in a chain
    """
    if name in REGISTRY or name == DIRECT or "+" in name:
        raise ValueError(f"an optimizer cannot be called {name!r}: the name is taken, or has a plus sign")

    def enter(family: type[_Optimizer]) -> type[_Optimizer]:
        REGISTRY[name] = Registered(family, fixed)
        return family

    return enter


def needs(name: str) -> Needs:
    """Return what an optimizer asks for; without steps that is all samples and no learning rate."""
    return Needs(all_samples=True, rate=False) if name == DIRECT else REGISTRY[name].family.needs


def defaults(name: str) -> dict[str, Any]:
    """Return the settings that belong to an optimizer, with its own defaults; PluginError if there is no such name."""
    if name == DIRECT:
        return {}
    if name not in REGISTRY:
        if name.strip() in REGISTRY:
            raise PluginError(f"optimizer: {name!r} has a space; write chains without one, as in 'adam+ssbroyden'.")
        raise PluginError(unknown("optimizer", name, (*REGISTRY, DIRECT)))
    family, fixed = REGISTRY[name].family, REGISTRY[name].fixed
    own = (field for field in fields(family) if field.name not in fixed)
    return {field.name: field.default for field in own if field.default is not MISSING}


@cache
def options() -> Mapping[str, Any]:
    """Return the options of all optimizers, by their names, with their types: annotated, so that they have limits."""
    found: dict[str, Any] = {}
    for name, entry in REGISTRY.items():
        hints = get_type_hints(entry.family, include_extras=True)
        found |= {option: hints[option] for option in defaults(name)}
    return found


def make(name: str, settings: Mapping[str, Any]) -> Optimizer:
    """Return the optimizer `name` with those of the settings that it has fields for.

    A setting that is missing, or None, is left to the optimizer's own default.
    """
    family, fixed = REGISTRY[name].family, REGISTRY[name].fixed
    chosen = {field.name: settings.get(field.name) for field in fields(family)}
    known = {field: value for field, value in chosen.items() if value is not None}
    return family(**{**known, **fixed})
