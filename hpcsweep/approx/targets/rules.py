"""The rules that every target keeps: ours in the tests, a user's whenever it is loaded."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeGuard

import torch
from torch import Tensor

from hpcsweep.approx.isolation import reseeded, said
from hpcsweep.approx.targets.base import Target
from hpcsweep.errors import PluginError

POINTS = 256  # sampled points per rule
SEED = 20230500  # of the sampled points; fixed, so that a verdict can be repeated
ROW_TOLERANCE = 1e-10  # relative to max |f|; a batch of another shape may round differently, by some 1e-16
STEPS = (0.3, 1e-2, 1e-4)  # of difference quotients, in units of the box's sides
SLACK = 1e-9  # relative, for the rounding of a difference quotient


def check(target: Target, dtypes: Sequence[torch.dtype] = (torch.float64,)) -> list[str]:
    """Return one sentence for each rule that `target` breaks; an empty list if it keeps them all.

    The rules: a well-formed domain of the right dimension and stated facts that make sense; values of shape
    (points,), of the points' dtype, for each of `dtypes`, finite on 256 points of the domain (its two extreme corners
    among them); points left unchanged; each value the same in every call, whatever the other points of its batch; no
    difference quotient above a stated Lipschitz constant. A sample can contradict a rule, not prove it.
    """
    broken = [*_findings(_domain, target), *_findings(_facts, target)]
    if broken:  # points cannot be drawn from a broken domain
        return broken
    points = sample(target)
    for rule in (_untouched, _output, functools.partial(_dtype, dtypes), _rows, _quotients):
        broken = _findings(rule, target, points)
        if broken:  # the later rules lean on the earlier ones
            return broken
    return []


def sample(target: Target) -> Tensor:
    """Return (256, dimension) float64 points: the domain's extreme corners, then repeatable uniform ones."""
    low, high = _corners(target)
    generator = torch.Generator().manual_seed(SEED)
    shares = torch.rand(POINTS, target.dimension, dtype=torch.float64, generator=generator)
    shares[0], shares[1] = 0.0, 1.0
    return torch.clamp(low + (high - low) * shares, low, high)


def _corners(target: Target) -> tuple[Tensor, Tensor]:
    box = torch.tensor(target.domain, dtype=torch.float64)  # (dimension, 2)
    return box[:, 0], box[:, 1]


def _findings(rule: Callable[..., Iterator[str]], *arguments: Target | Tensor) -> list[str]:
    try:
        return list(rule(*arguments))
    except Exception as error:  # a user's code may raise anything; that too is a finding
        cause = error.__cause__ if isinstance(error, PluginError) and error.__cause__ is not None else error
        return [f"evaluating it raises {said(cause)}"]


def _domain(target: Target) -> Iterator[str]:
    if type(target.dimension) is not int or target.dimension < 1:
        yield f"its dimension must be an integer >= 1, not {target.dimension!r}"
        return
    try:
        pairs = [(float(low), float(high)) for low, high in target.domain]
    except (TypeError, ValueError):
        yield f"its domain must be one (low, high) pair of numbers per axis, not {target.domain!r}"
        return
    if len(pairs) != target.dimension:
        yield f"its domain has {len(pairs)} axes, but its dimension is {target.dimension}"
    for axis, (low, high) in enumerate(pairs):
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            yield f"axis {axis} of its domain must have finite ends with low < high, not ({low}, {high})"


def _facts(target: Target) -> Iterator[str]:
    smoothness, lipschitz = getattr(target, "smoothness", None), target.lipschitz
    if not _number(smoothness) or not (smoothness == math.inf or (smoothness >= -1 and smoothness % 1 == 0)):
        yield f"its smoothness must be -1, 0, 1, 2, ... or math.inf, not {smoothness!r}"
    elif lipschitz is not None and smoothness < 0:
        yield "it states a Lipschitz constant, but also that it is discontinuous"
    if lipschitz is not None and not (_number(lipschitz) and math.isfinite(lipschitz) and lipschitz >= 0):
        yield f"its Lipschitz constant must be None or a finite number >= 0, not {lipschitz!r}"


def _number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _untouched(target: Target, points: Tensor) -> Iterator[str]:
    copied = points.clone()
    target(copied)
    if not torch.equal(copied, points):
        yield "it changes the points that it is given"


def _output(target: Target, points: Tensor) -> Iterator[str]:
    values = target(points)
    if not isinstance(values, Tensor):
        yield f"its values must be a tensor, not {type(values).__name__}"
    elif values.shape != (len(points),):
        yield f"its values at {len(points)} points must be ({len(points)},), not {tuple(values.shape)}"
    elif not bool(torch.isfinite(values).all()):
        worst = points[int(torch.isfinite(values).logical_not().nonzero()[0, 0])].tolist()
        yield f"it is not finite at {worst}"


def _dtype(dtypes: Sequence[torch.dtype], target: Target, points: Tensor) -> Iterator[str]:
    for dtype in dtypes:
        values = target(points.to(dtype))
        if values.dtype != dtype:
            yield f"it turns points of {dtype} into values of {values.dtype}"


def _rows(target: Target, points: Tensor) -> Iterator[str]:
    values = target(points).clone()
    with reseeded(SEED):
        again = target(points).clone()
    if not (off := _off(again, values)) <= ROW_TOLERANCE * float(values.abs().max()):
        yield f"its value at a point changes from call to call (by up to {off:.2g})"
        return
    alone = torch.cat([target(points[k : k + 1]) for k in range(0, POINTS, 16)])
    off = max(_off(alone, values[::16]), _off(target(points.flip(0)).flip(0), values))
    if not off <= ROW_TOLERANCE * float(values.abs().max()):
        yield f"its value at a point depends on the other points of the batch (by up to {off:.2g})"


def repeated(target: Target, again: Target) -> list[str]:
    """Return a sentence if the same target, made again, has other values."""
    points = sample(target)
    values = target(points)
    if not (off := _off(again(points), values)) <= ROW_TOLERANCE * float(values.abs().max()):
        return [f"its values change when it is made again (by up to {off:.2g}), as with random numbers without a seed"]
    return []


def _off(left: Tensor, right: Tensor) -> float:
    return float((left - right).abs().max())


def _quotients(target: Target, points: Tensor) -> Iterator[str]:
    if target.lipschitz is None:
        return
    low, high = _corners(target)
    values, allowed = target(points), target.lipschitz * (1.0 + SLACK)
    generator = torch.Generator().manual_seed(SEED + 1)
    for step in STEPS:
        directions = 2.0 * torch.rand(points.shape, dtype=torch.float64, generator=generator) - 1.0
        others = torch.clamp(points + step * (high - low) * directions, low, high)
        distances = torch.linalg.vector_norm(others - points, dim=1)
        rounding = 1e-13 * float(values.abs().max())
        quotients = ((target(others) - values).abs() - rounding) / distances
        worst = float(quotients[distances > 0].max())
        if worst > allowed:
            yield f"its Lipschitz constant {target.lipschitz:.6g} is below a difference quotient, {worst:.6g}"
            return
