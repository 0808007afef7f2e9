"""Optimizers, one file each, that holds all there is to know of one: see `optimizer.Optimizer`.

To add one, write its file into this folder, with the decorator `register` above its class; nothing else names it.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from hpcsweep.approx.training.optimizers.optimizer import Needs, Optimizer
from hpcsweep.approx.training.optimizers.registry import DIRECT, REGISTRY, defaults, make, needs, options

__all__ = ["DIRECT", "NAMES", "REGISTRY", "Needs", "Optimizer", "defaults", "make", "needs", "options"]

for _module in iter_modules(__path__):  # those that hold an optimizer enter it into the registry
    import_module(f"{__name__}.{_module.name}")

NAMES: tuple[str, ...] = tuple(REGISTRY)  # of those that train networks in steps
