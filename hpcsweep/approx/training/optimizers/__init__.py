"""Optimizers for packs, one file each. To add one, write its file and name it here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from hpcsweep.approx.training.optimizers.adam import Adam
from hpcsweep.approx.training.optimizers.optimizer import Optimizer

_OPTIMIZERS: Mapping[str, type[Optimizer]] = {"adam": Adam}

NAMES: tuple[str, ...] = tuple(_OPTIMIZERS)


def make(name: str, settings: Mapping[str, Any]) -> Optimizer:
    """Return the optimizer `name` with those of the settings that it has fields for."""
    family = _OPTIMIZERS[name]
    return family(**{field.name: settings[field.name] for field in fields(family) if field.init})
