"""Optimizers for packs, one file each. To add one, write its file and name it here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from hpcsweep.approx.training.optimizers.adam import Adam
from hpcsweep.approx.training.optimizers.bfgs import QuasiNewton
from hpcsweep.approx.training.optimizers.lbfgs import LBFGS
from hpcsweep.approx.training.optimizers.least_squares import LeastSquares
from hpcsweep.approx.training.optimizers.levenberg_marquardt import LevenbergMarquardt
from hpcsweep.approx.training.optimizers.muon import Muon
from hpcsweep.approx.training.optimizers.optimizer import Optimizer
from hpcsweep.approx.training.optimizers.sgd import SGD
from hpcsweep.approx.training.optimizers.soap import SOAP
from hpcsweep.approx.training.optimizers.variable_projection import VariableProjection
from hpcsweep.errors import PluginError, unknown

_OPTIMIZERS: Mapping[str, type[Optimizer]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": Adam,
    "muon": Muon,
    "soap": SOAP,
    "lbfgs": LBFGS,
    "bfgs": QuasiNewton,
    "ssbfgs": QuasiNewton,
    "ssbroyden": QuasiNewton,
    "levenberg_marquardt": LevenbergMarquardt,
    "least_squares": LeastSquares,
    "variable_projection": VariableProjection,
}
_FIXED: Mapping[str, Mapping[str, Any]] = {  # fields that a name decides, so that they are not to be set
    "adam": {"weight_decay": 0.0},
    **{name: {"family": name} for name in ("bfgs", "ssbfgs", "ssbroyden")},
}

NAMES: tuple[str, ...] = tuple(_OPTIMIZERS)  # of those that train packs
DIRECT = "direct"  # of what needs none, `hpcsweep.approx.models.classical`: no steps, no fields

_WITHOUT_RATE = {
    "bfgs",
    "ssbfgs",
    "ssbroyden",
    "lbfgs",
    "levenberg_marquardt",
    "least_squares",
    "variable_projection",
    DIRECT,
}
_OF_SQUARES = {"levenberg_marquardt", "least_squares", "variable_projection"}
_OF_MATRICES = {"muon", "soap"}
_OF_FEATURES = {"least_squares", "variable_projection"}


@dataclass(frozen=True)
class Needs:
    """What an optimizer asks for: all samples in every step, the mean square as the loss, a learning rate.

    And of the model: the matrices of its layers; the inputs of a linear last layer.
    """

    all_samples: bool
    squares: bool
    rate: bool
    matrices: bool
    features: bool


def needs(name: str) -> Needs:
    """Return what an optimizer asks for."""
    return Needs(
        all_samples=name in _WITHOUT_RATE,
        squares=name in _OF_SQUARES,
        rate=name not in _WITHOUT_RATE,
        matrices=name in _OF_MATRICES,
        features=name in _OF_FEATURES,
    )


def defaults(name: str) -> dict[str, Any]:
    """Return the settings that belong to an optimizer, with its own defaults; PluginError if there is no such name."""
    if name == DIRECT:
        return {}
    if name not in _OPTIMIZERS:
        if name.strip() in _OPTIMIZERS:
            raise PluginError(f"optimizer: {name!r} has a space; chains are written without, such as 'adam+ssbroyden'.")
        raise PluginError(unknown("optimizer", name, (*NAMES, DIRECT)))
    own = (field for field in fields(_OPTIMIZERS[name]) if field.name not in _FIXED.get(name, {}))
    return {field.name: field.default for field in own if field.default is not MISSING}


def make(name: str, settings: Mapping[str, Any]) -> Optimizer:
    """Return the optimizer `name` with those of the settings that it has fields for.

    A setting that is missing, or None, is left to the optimizer's own default.
    """
    family = _OPTIMIZERS[name]
    given = {field.name: settings.get(field.name) for field in fields(family)}
    known = {field: value for field, value in given.items() if value is not None}
    return family(**{**known, **_FIXED.get(name, {})})
