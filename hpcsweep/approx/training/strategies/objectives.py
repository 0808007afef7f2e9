"""What networks learn from, and in which order: values or an equation, random points or a grid, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from hpcsweep.approx.models import MLP, Model, Sum, classical
from hpcsweep.approx.models.operators import TWICE_DIFFERENTIABLE
from hpcsweep.approx.targets import Target
from hpcsweep.approx.training import optimizers
from hpcsweep.approx.training.settings import Settings
from hpcsweep.errors import PluginError, StudyError, unknown
from hpcsweep.sampling import nearest_grids, side

EQUATIONS, SAMPLINGS = ("none", "poisson"), ("uniform", "grid")


@dataclass(frozen=True)
class Objective:
    """What a cell learns from, beside its target.

    Attributes
    ----------
    equation : "none": values at the samples. "poisson": -Laplace u = -Laplace target there, and u = target at points
        of the boundary
    boundary : how many of these; None: as dense as the samples, see `boundary_points`
    boundary_weight : lambda in mean over samples + lambda * mean over boundary points, of squared residuals
    sampling : "uniform", independent points; "grid", the midpoints of equal boxes
    layerwise : steps for each hidden layer on its own before the whole network is trained; 0: none
    resample : how often samples are added where the error is largest; 0: never (see `approx.adaptive_sampling`)

    Raises
    ------
    PluginError : for an unknown equation or sampling
    """

    equation: str = "none"
    boundary: int | None = None
    boundary_weight: float = 1.0
    sampling: str = "uniform"
    layerwise: int = 0
    resample: int = 0

    def __post_init__(self) -> None:
        for field, allowed in (("equation", EQUATIONS), ("sampling", SAMPLINGS)):
            if getattr(self, field) not in allowed:
                raise PluginError(unknown(f"training.{field}", getattr(self, field), allowed))

    def boundary_points(self, samples: int, dimension: int) -> int:
        """Return how many points on the boundary go with so many samples, 0 without an equation.

        By default 2 d round(n^((d - 1) / d)): 2 in 1-D, in 2-D four times the root of the samples.
        """
        if self.equation == "none":
            return 0
        return self.boundary or 2 * dimension * round(samples ** ((dimension - 1) / dimension))

    def signals(self, dimension: int) -> int:
        """Return how many numbers of a neuron are propagated at a point: its value, for an equation its derivatives."""
        return 1 if self.equation == "none" else dimension + 2


NAMES: tuple[str, ...] = tuple(field.name for field in fields(Objective))


def objective_from(choice: Mapping[str, Any]) -> Objective:
    """Return what the resolved choice of a training method says of it; fields that are left out have their defaults."""
    return Objective(**{name: choice[name] for name in NAMES if name in choice})


def check_compatible(objective: Objective, settings: Settings, model: Model, target: Target, samples: int) -> None:
    """Raise StudyError where something cannot be learned so: from this target, by this model, in these steps."""
    if objective.sampling == "grid":
        _check_grid(objective, target.dimension, samples)
    if objective.equation != "none":
        _check_equation(objective, settings, model, target)
    if objective.layerwise:
        _check_layers(objective, settings, model)
    if objective.resample:
        _check_rounds(objective, settings, model, samples)


def _check_grid(objective: Objective, dimension: int, samples: int) -> None:
    if side(samples, dimension) is None:
        allowed = " or ".join(map(str, nearest_grids(samples, dimension)))
        power = "a square number of" if dimension == 2 else f"m^{dimension}"
        raise StudyError(f'training.sampling: "grid" needs {power} samples, not {samples}; nearest: {allowed}.')
    faces = 2 * dimension
    if objective.equation == "none" or objective.boundary is None:
        return
    if objective.boundary % faces or side(objective.boundary // faces, dimension - 1) is None:
        of_a_face = nearest_grids(max(1, round(objective.boundary / faces)), dimension - 1)
        allowed = " or ".join(str(faces * count) for count in of_a_face)
        raise StudyError(
            f'training.boundary: sampling "grid" needs a grid on each of {faces} faces, which {objective.boundary} '
            f"points do not make; the nearest: {allowed}."
        )


def _check_equation(objective: Objective, settings: Settings, model: Model, target: Target) -> None:
    where = f'training.equation = "{objective.equation}"'
    if not isinstance(model, MLP):
        raise StudyError(f'{where} is for plain perceptrons: it needs model "mlp" with stages = 1.')
    if objective.layerwise:
        raise StudyError(f"{where} and training.layerwise exclude each other: set only one of them.")
    if model.activation not in TWICE_DIFFERENTIABLE or not model.choice["hidden"]:
        told = f"{model.activation!r} networks" if model.choice["hidden"] else "affine functions"
        allowed = ", ".join(TWICE_DIFFERENTIABLE)
        raise StudyError(
            f"{where} makes no sense for {told}, whose Laplacian is zero; model.activation must be: {allowed}."
        )
    if not getattr(target, "smoothness", math.nan) >= 2:
        called = type(target).__name__
        raise StudyError(f"{where} needs a target with two derivatives; {called} has {_derivatives(target)}.")
    for part in settings.chain:
        if optimizers.needs(part.optimizer).features:
            raise StudyError(f"{where} is not a fit of values by a linear last layer: {part.optimizer} cannot be used.")


def _check_layers(objective: Objective, settings: Settings, model: Model) -> None:
    if not isinstance(model, MLP) or not model.choice["hidden"]:
        raise StudyError(
            'training.layerwise is for plain perceptrons: it needs model "mlp", stages = 1 and a hidden layer.'
        )
    if settings.parts:
        raise StudyError(f"training.layerwise needs one optimizer, not the chain {settings.optimizer!r}.")
    layers = len(model.choice["hidden"])
    if settings.steps <= layers * objective.layerwise:
        raise StudyError(
            f"training.layerwise = {objective.layerwise} takes {layers * objective.layerwise} steps for {layers} "
            f"hidden layers, so that of training.steps = {settings.steps} none is left for the whole network."
        )


def _check_rounds(objective: Objective, settings: Settings, model: Model, samples: int) -> None:
    others = {"equation": "none", "sampling": "uniform", "layerwise": 0}
    for field, plain in others.items():
        if getattr(objective, field) != plain:
            raise StudyError(f"training.resample and training.{field} exclude each other: set only one of them.")
    if isinstance(model, Sum) or classical.is_direct(model.choice):
        raise StudyError("training.resample needs a model that is trained, not fitted directly, and stages = 1.")
    rounds, steps = objective.resample + 1, settings.chain[-1].steps
    if samples < rounds or steps < rounds:
        raise StudyError(
            f"training.resample = {objective.resample} makes {rounds} rounds, more than there are samples ({samples}) "
            f"or steps of {settings.chain[-1].optimizer} ({steps})."
        )


def _derivatives(target: Target) -> str:
    smoothness = getattr(target, "smoothness", math.nan)
    return str(max(int(smoothness), 0)) if math.isfinite(smoothness) else "none that it tells of"
