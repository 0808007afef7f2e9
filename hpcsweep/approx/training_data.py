"""Cells -> what their networks learn from: targets made, samples drawn, values evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hpcsweep.approx import plugins
from hpcsweep.approx.targets import Target
from hpcsweep.approx.targets.data import Data, places
from hpcsweep.approx.training.strategies import poisson, stages
from hpcsweep.config import Cell
from hpcsweep.errors import PluginChanged, UserError
from hpcsweep.sampling import boundary, noise, samples

Witness = tuple[np.ndarray, np.ndarray]  # places (points, dimension) and values (points,) of a target
_WITNESSES = 16  # points, at most
_HELD_OUT, _BOUNDARY = 1 << 64, 2 << 64  # added to a data seed: beyond its 64 bits, so nested in no others
_NOISE = 4 << 64  # likewise, and with `_HELD_OUT` for its points


@dataclass(frozen=True)
class TrainingData:
    """What one network learns: places (points, dimension) and values (points,) of its samples.

    And of held-out points, which are no samples, if it has several stages: they decide which stages stay
    (`hpcsweep.approx.training.strategies.stages`). `witness`: some places and the target's values there, as they were
    when the samples were evaluated.
    """

    target: Target
    places: np.ndarray
    values: np.ndarray
    held_out: tuple[np.ndarray, np.ndarray] | None
    witness: Witness


def data_of(cell: Cell, added: np.ndarray | None, folder: Path) -> TrainingData | str:
    """Return what the network of a cell learns from; or why there is nothing.

    `added`: places (points, dimension) beside those of its data seed, counted among the samples. Raises PluginChanged.
    """
    try:
        target = plugins.unchecked(cell.target, cell.dimension, folder)
        where = _places(cell, target, added)
        values = _values(target, where, "samples")
        chosen = np.linspace(0, len(where) - 1, min(len(where), _WITNESSES)).astype(int)
        witness = where[chosen], values[chosen]
        values = _noisy(cell, values)
        if cell.optimizer.objective.equation != "none":
            where, values = _residual_rows(cell, target, where)
        held_out = None
        if cell.model.stages > 1:
            held = _deciding(cell, target)
            held_out = held, _noisy(cell, _values(target, held, "held-out points"), _HELD_OUT)
    except PluginChanged:  # no outcome: the run ends
        raise
    except (_Unusable, UserError) as reason:
        return str(reason)
    except Exception as error:  # a user's plugin may raise anything: it is this cell's outcome, not the pack's
        return f"The target raised {type(error).__name__}: {error}"
    return TrainingData(target, where, values, held_out, witness)


def _places(cell: Cell, target: Target, added: np.ndarray | None) -> np.ndarray:
    """Return where a network is taught, (samples, dimension): its own samples first, then those that were added."""
    own = cell.samples - (0 if added is None else len(added))
    first = places(target, cell.data_seed, own, cell.optimizer.objective.sampling)
    return first if added is None else np.concatenate([first, added])


def _deciding(cell: Cell, target: Target) -> np.ndarray:
    """Return where it is decided which stages are kept, (points, dimension): of data, at other rows than the samples.

    Of these, fewer than of points of a function if there are not so many.
    """
    count = stages.held_out(cell.samples)
    if isinstance(target, Data):
        return target.drawn(cell.data_seed, count, first=cell.samples)
    return samples(cell.data_seed + _HELD_OUT, count, target.domain)


def _noisy(cell: Cell, values: np.ndarray, stream: int = 0) -> np.ndarray:
    """Return values (points,) with the noise of the samples, or of the points that another stream draws."""
    level = cell.optimizer.objective.noise
    return values + level * noise(cell.data_seed + stream + _NOISE, len(values)) if level else values


def _residual_rows(cell: Cell, target: Target, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what an equation asks for (see `poisson.residual_rows`), with collocation points `inside` (samples, d)."""
    objective = cell.optimizer.objective
    count = objective.boundary_points(cell.samples, cell.dimension)
    edge = boundary(cell.data_seed + _BOUNDARY, count, target.domain, objective.sampling == "grid")
    _values(target, edge, "points of the boundary")
    given = torch.from_numpy(inside), torch.from_numpy(edge)
    rows, values = poisson.residual_rows(target, *given, objective.boundary_weight)
    if not bool(torch.isfinite(values).all()):
        raise _Unusable("The second derivatives of the target are not finite at all samples.")
    return rows.numpy(), values.detach().numpy()


class _Unusable(Exception):
    """A target whose values cannot be learned; it says why."""


def _values(target: Target, places: np.ndarray, called: str) -> np.ndarray:
    """Return the values (points,) float64 of a target at places (points, dimension)."""
    values = target(torch.from_numpy(places))
    if values.shape != (len(places),):
        raise _Unusable(f"The target returned shape {tuple(values.shape)} for {len(places)} points of its domain.")
    learned = values.detach().numpy().astype(np.float64)
    if not np.isfinite(learned).all():
        count = int((~np.isfinite(learned)).sum())
        raise _Unusable(f"The target is not finite at {count} of {len(places)} {called}.")
    return learned
