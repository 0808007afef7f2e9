"""Whether a network can learn so from a target: values or an equation, random points or a grid, layer by layer."""

from __future__ import annotations

import math

from hpcsweep.approx.models import MLP, Model, Sum, classical
from hpcsweep.approx.models.operators import TWICE_DIFFERENTIABLE
from hpcsweep.approx.targets import Target
from hpcsweep.approx.targets.data import Data
from hpcsweep.approx.training import optimizers
from hpcsweep.config import Objective, OptimizerConfig
from hpcsweep.errors import StudyError
from hpcsweep.sampling import nearest_grids, side


def check_compatible(method: OptimizerConfig, model: Model, target: Target, samples: int) -> None:
    """Raise StudyError where something cannot be learned so: from this target, by this model, in these steps."""
    objective = method.objective
    if isinstance(target, Data):
        _check_data(objective, model, target, samples)
    if objective.sampling == "grid":
        _check_grid(objective, target.dimension, samples)
    if objective.equation != "none":
        _check_equation(method, model, target)
    if objective.layerwise:
        _check_layers(method, model)
    if objective.resample:
        _check_rounds(method, model, samples)


def _check_data(objective: Objective, model: Model, target: Data, samples: int) -> None:
    for field, plain in {"equation": "none", "sampling": "uniform", "resample": 0}.items():
        if getattr(objective, field) != plain:
            raise StudyError(
                f"training.{field} needs a target that is known everywhere, not data in a file: leave it out."
            )
    staged = isinstance(model, Sum)
    if samples + staged > len(target.training):
        beside = " and at least one row that decides which stages are kept" if staged else ""
        raise StudyError(
            f"{target.chosen['file']} has {len(target.training)} rows to learn from ({len(target.held_out)} others are "
            f"held out), not enough for {samples} samples{beside}."
        )


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


def _check_equation(method: OptimizerConfig, model: Model, target: Target) -> None:
    objective = method.objective
    where = f'training.equation = "{objective.equation}"'
    if not isinstance(model, MLP):
        raise StudyError(f'{where} is for plain perceptrons: it needs model "mlp" with stages = 1.')
    for field in ("layerwise", "noise"):
        if getattr(objective, field):
            raise StudyError(f"{where} and training.{field} exclude each other: set only one of them.")
    if model.activation not in TWICE_DIFFERENTIABLE or not model.config.hidden:
        told = f"{model.activation!r} networks" if model.config.hidden else "affine functions"
        allowed = ", ".join(TWICE_DIFFERENTIABLE)
        raise StudyError(
            f"{where} makes no sense for {told}, whose Laplacian is zero; model.activation must be: {allowed}."
        )
    if not getattr(target, "smoothness", math.nan) >= 2:
        called = repr(target).partition("(")[0]
        raise StudyError(f"{where} needs a target with two derivatives; {called} has {_derivatives(target)}.")
    for part in method.chain:
        if optimizers.needs(part.name).features:
            raise StudyError(f"{where} is not a fit of values by a linear last layer: {part.name} cannot be used.")


def _check_layers(method: OptimizerConfig, model: Model) -> None:
    if not isinstance(model, MLP) or not model.config.hidden:
        raise StudyError(
            'training.layerwise is for plain perceptrons: it needs model "mlp", stages = 1 and a hidden layer.'
        )
    if method.parts:
        raise StudyError(f"training.layerwise needs one optimizer, not the chain {method.name!r}.")
    layers, steps = len(model.config.hidden), method.objective.layerwise
    if method.steps <= layers * steps:
        raise StudyError(
            f"training.layerwise = {steps} takes {layers * steps} steps for {layers} "
            f"hidden layers, so that of training.steps = {method.steps} none is left for the whole network."
        )


def _check_rounds(method: OptimizerConfig, model: Model, samples: int) -> None:
    objective = method.objective
    others = {"equation": "none", "sampling": "uniform", "layerwise": 0, "noise": 0.0}
    for field, plain in others.items():
        if getattr(objective, field) != plain:
            raise StudyError(f"training.resample and training.{field} exclude each other: set only one of them.")
    if isinstance(model, Sum) or classical.is_direct(model.config):
        raise StudyError("training.resample needs a model that is trained, not fitted directly, and stages = 1.")
    rounds, steps = objective.resample + 1, method.chain[-1].steps
    if samples < rounds or steps < rounds:
        raise StudyError(
            f"training.resample = {objective.resample} makes {rounds} rounds, more than there are samples ({samples}) "
            f"or steps of {method.chain[-1].name} ({steps})."
        )


def _derivatives(target: Target) -> str:
    smoothness = getattr(target, "smoothness", math.nan)
    return str(max(int(smoothness), 0)) if math.isfinite(smoothness) else "none that it tells of"
