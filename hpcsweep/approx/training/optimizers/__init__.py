"""Optimizers for packs, one file each. To add one, write its file and name it here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from hpcsweep.approx.training.optimizers.adam import Adam, AdamW
from hpcsweep.approx.training.optimizers.muon import Muon
from hpcsweep.approx.training.optimizers.optimizer import Optimizer
from hpcsweep.approx.training.optimizers.sgd import SGD
from hpcsweep.approx.training.optimizers.soap import SOAP

_OPTIMIZERS: Mapping[str, type[Optimizer]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "muon": Muon,
    "soap": SOAP,
}

NAMES: tuple[str, ...] = tuple(_OPTIMIZERS)


def make(name: str, settings: Mapping[str, Any]) -> Optimizer:
    """Return the optimizer `name` with those of the settings that it has fields for.

    A setting that is missing, or None, is left to the optimizer's own default.
    """
    family = _OPTIMIZERS[name]
    given = {field.name: settings.get(field.name) for field in fields(family)}
    return family(**{field: value for field, value in given.items() if value is not None})
