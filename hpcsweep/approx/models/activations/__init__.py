"""Activations, one file each, that holds all there is to know of one but its kernel code: see `activation.Activation`.

To add one, write its kernel code into `hpcsweep.approx.kernels.activations`, and its file into this folder, with the
decorator `register` above its class; nothing else names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules

from hpcsweep.approx.models.activations.activation import Activation, ConvexFunction, Derivatives, SelfGatedFunction
from hpcsweep.approx.models.activations.registry import ordered

__all__ = ["ACTIVATIONS", "Activation", "ConvexFunction", "Derivatives", "SelfGatedFunction"]

for _module in iter_modules(__path__):  # those that hold an activation enter it into the registry
    import_module(f"{__name__}.{_module.name}")

ACTIVATIONS: Mapping[str, Activation] = ordered()
