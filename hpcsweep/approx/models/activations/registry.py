"""The activations by their names: a class enters by the decorator `register`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hpcsweep.approx.kernels.activations import ACTIVATIONS
from hpcsweep.approx.models.activations.activation import Activation

_Activation = TypeVar("_Activation", bound=Activation)

REGISTRY: dict[str, Activation] = {}


def register(name: str) -> Callable[[type[_Activation]], type[_Activation]]:
    """Return a decorator that enters a class under a name.

    Raises
    ------
    ValueError : for a name that is taken, or that has no code in `kernels.activations`
    """
    if name in REGISTRY or name not in ACTIVATIONS:
        raise ValueError(f"an activation cannot be called {name!r}: the name is taken, or has no kernel code")

    def enter(family: type[_Activation]) -> type[_Activation]:
        REGISTRY[name] = family()
        return family

    return enter


def ordered() -> dict[str, Activation]:
    """Return all of them in the order in which compiled code numbers them.

    Raises
    ------
    ValueError : for kernel code without an activation
    """
    if missing := [name for name in ACTIVATIONS if name not in REGISTRY]:
        raise ValueError(f"kernel code without an activation: {', '.join(missing)}")
    return {name: REGISTRY[name] for name in ACTIVATIONS}
