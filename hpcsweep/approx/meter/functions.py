"""Anything callable -> functions that the meter can evaluate: torch modules, functions of tensors, of NumPy arrays."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hpcsweep.approx.meter.dense import Dense
from hpcsweep.approx.meter.proof.enclosure import NoEnclosure
from hpcsweep.approx.meter.screening.screen import Function
from hpcsweep.errors import PluginError

Domain = tuple[tuple[float, float], ...]
_STEP = 6e-6  # of central differences: the third root of the unit roundoff
_MODULES: dict[type[nn.Module], str] = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.SiLU: "silu"}


def adapted(function: Callable[..., Any], domain: Domain) -> Function:
    """Return `function` as one from points (points, dimension) float64 tensors to (points,) float64 tensors.

    A torch module is copied in float64, so that it is measured in float64 with the very weights it has. A function of
    tensors must compute in float64; one that fails on tensors is given NumPy arrays. One column of values is taken too.

    Raises
    ------
    PluginError : if it fails on two points of the domain, or its values are not float64, one per point
    """
    if isinstance(function, nn.Module):
        function = copy.deepcopy(function).cpu().double().eval().requires_grad_(False)
    name = getattr(function, "__qualname__", type(function).__name__)
    low, high = torch.tensor(domain, dtype=torch.float64).T
    probe = torch.stack([low + (high - low) * 0.25, low + (high - low) * 0.75])  # (2, dimension)
    problems = []
    for made in (_flat(function), _flat(_of_arrays(function))):
        try:
            with torch.no_grad():
                values = made(probe)
        except Exception as error:  # a user's function may raise anything
            problems.append(f"{type(error).__name__}: {error}")
            continue
        if not isinstance(values, Tensor):
            problems.append(f"it gave {type(values).__name__}")
            continue
        if values.shape != (2,):
            got = tuple(values.shape)
            raise PluginError(f"{name} must give one value per point, (points,); for 2 points it gave {got}.")
        if values.dtype != torch.float64:
            raise PluginError(f"{name} computes in {values.dtype}; it must keep float64 where its points are float64.")
        return made
    raise PluginError(f"{name} fails on points {tuple(probe.shape)}: {problems[0]}; with a NumPy array: {problems[1]}.")


def _flat(function: Callable[..., Any]) -> Function:
    def flat(points: Tensor) -> Any:
        values = function(points)
        return values[:, 0] if getattr(values, "ndim", 1) == 2 and values.shape[1] == 1 else values

    return flat


def _of_arrays(function: Callable[..., Any]) -> Function:
    def of_arrays(points: Tensor) -> Any:
        if not isinstance(points, Tensor):
            raise NoEnclosure("a NumPy function")
        return _Arrays.apply(points, function)

    return of_arrays


class _Arrays(torch.autograd.Function):
    """A function of NumPy arrays, differentiated by central differences, so that climbs have a slope to follow."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, function: Callable[..., Any]) -> Tensor:
        """Return function(points)."""
        ctx.save_for_backward(points)
        ctx.function = function
        return _values(function, points)

    @staticmethod
    def backward(ctx: Any, *factors: Tensor) -> tuple[Tensor, None]:
        """Return the slopes, two evaluations for each axis."""
        (points,) = ctx.saved_tensors
        slopes = torch.zeros_like(points)
        for axis in range(points.shape[1]):
            step = torch.zeros_like(points)
            step[:, axis] = _STEP * (1 + points[:, axis].abs())
            change = _values(ctx.function, points + step) - _values(ctx.function, points - step)
            slopes[:, axis] = factors[0].reshape(len(points)) * change.reshape(len(points)) / (2 * step[:, axis])
        return slopes, None


def _values(function: Callable[..., Any], points: Tensor) -> Tensor:
    return torch.as_tensor(np.array(function(points.detach().cpu().numpy())), device=points.device)


def terms_of(function: Callable[..., Any]) -> tuple[Dense, ...]:
    """Return the layers of a `Dense`, or of a torch Sequential of Linear layers with one activation; () of others."""
    if isinstance(function, Dense):
        return (function,)
    parts = list(function.children()) if type(function) is nn.Sequential else []
    linear, between = parts[::2], parts[1::2]
    names = {_activation(part) for part in between}
    if not linear or len(parts) % 2 == 0 or not all(type(part) is nn.Linear for part in linear) or len(names) != 1:
        return ()
    [name] = names
    if name is None or linear[-1].out_features != 1:
        return ()
    weights = tuple(part.weight.detach().cpu().double() for part in linear)
    biases = tuple(
        torch.zeros(len(weight), dtype=torch.float64) if part.bias is None else part.bias.detach().cpu().double()
        for part, weight in zip(linear, weights, strict=True)
    )
    return (Dense(weights, biases, name),)


def _activation(part: nn.Module) -> str | None:
    if type(part) is nn.GELU:
        return "gelu" if part.approximate == "none" else None
    return _MODULES.get(type(part))


def inputs_of(function: Callable[..., Any]) -> int | None:
    """Return how many inputs a `Dense` or a torch module has, by its first linear layer; None if that does not tell."""
    if isinstance(function, Dense):
        return function.dimension
    modules = function.modules() if isinstance(function, nn.Module) else []
    return next((part.in_features for part in modules if isinstance(part, nn.Linear)), None)


def places_of(samples: Any, dimension: int) -> Tensor | None:
    """Return samples, whatever array they are, as (samples, dimension) float64; None where there are none.

    Raises
    ------
    PluginError : if they have another number of coordinates
    """
    if samples is None:
        return None
    places = torch.as_tensor(samples, dtype=torch.float64, device="cpu")
    if places.ndim != 2 or places.shape[1] != dimension:
        raise PluginError(
            f"the samples must be (samples, {dimension}), one coordinate per axis, not {tuple(places.shape)}."
        )
    return places


def domain_of(text: str | Sequence[Sequence[float]], dimension: int | None = None) -> Domain:
    """Return ((low, high), ...) from "-1,1 0,2", or from pairs; one pair stands for all of `dimension` axes.

    Raises
    ------
    PluginError : for anything else, and if the number of pairs is not `dimension`
    """
    pairs = [re.split(r"[,:]", part) for part in text.split()] if isinstance(text, str) else [list(p) for p in text]
    try:
        domain = tuple((float(low), float(high)) for low, high in pairs)
    except (TypeError, ValueError) as error:
        raise PluginError(
            f'the domain must be "low,high" for each axis, separated by blanks, such as "-1,1 0,2", not {text!r}.'
        ) from error
    if len(domain) == 1 and dimension is not None:
        domain *= dimension
    for axis, (low, high) in enumerate(domain):
        if not (np.isfinite([low, high]).all() and low < high):
            raise PluginError(f"axis {axis} of the domain must have finite ends with low < high, not ({low}, {high}).")
    if not domain or dimension not in (None, len(domain)):
        raise PluginError(f"the domain has {len(domain)} axes where {dimension} inputs are expected.")
    return domain
