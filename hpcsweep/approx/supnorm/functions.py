"""Anything callable -> functions that the meter can evaluate: torch modules, functions of tensors, of NumPy arrays."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hpcsweep.approx.models.activations import ACTIVATIONS
from hpcsweep.approx.networks import Network
from hpcsweep.approx.supnorm import consistency, dense
from hpcsweep.approx.supnorm.certificate.enclosure import NoEnclosure
from hpcsweep.approx.supnorm.dense import Dense
from hpcsweep.approx.supnorm.screening.screen import Function
from hpcsweep.errors import PluginError

Domain = tuple[tuple[float, float], ...]
_STEP = 6e-6  # of central differences: the third root of the unit roundoff


def adapted(function: Callable[..., Any], domain: Domain) -> Function:
    """Return `function` as one from points (points, dimension) float64 tensors to (points,) float64 tensors.

    A torch module is copied in float64, so that it is measured in float64 with the very weights it has. A function of
    tensors must compute in float64; one that fails on tensors, or on those that follow gradients, is given NumPy arrays
    or tensors without gradients, and differentiated by differences. One column of values is taken too.

    Raises
    ------
    PluginError : if it fails on two points of the domain, or its values are not float64, one per point; if it changes
        its points, or its value at a point depends on the call or on the other points
    """
    name = getattr(function, "__qualname__", type(function).__name__)
    if isinstance(function, nn.Module):
        function = _copied(function, name)
    low, high = torch.tensor(domain, dtype=torch.float64).T
    probe = torch.stack([low + (high - low) * 0.25, low + (high - low) * 0.75])  # (2, dimension)
    problems = []
    for adapted_function in (_flat(function), _flat(_of_arrays(function)), _flat(_without_gradients(function))):
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "__array_wrap__", DeprecationWarning)  # NumPy, of a tensor
                _try(adapted_function, probe, name)
        except PluginError:
            raise
        except Exception as error:  # a user's function may raise anything
            problems.append(f"{type(error).__name__}: {error}")
            continue
        _check_repeats(adapted_function, domain, name)
        adapted_function.__qualname__ = name  # of which later mistakes speak
        return adapted_function
    raise PluginError(f"{name} fails on points {tuple(probe.shape)}: {problems[0]}; with a NumPy array: {problems[1]}.")


def _copied(module: nn.Module, name: str) -> nn.Module:
    try:
        copied = copy.deepcopy(module).cpu().double().eval()
    except RuntimeError as error:  # of weights that a hook has computed
        raise PluginError(f"{name} cannot be copied in float64: {error}") from error
    for parameter in copied.parameters():  # a ScriptModule has no requires_grad_, and may have made them from others
        parameter.detach_().requires_grad_(False)
    return copied


def _try(function: Function, probe: Tensor, name: str) -> None:
    """Evaluate at two points, without and with gradients. Raises PluginError, and whatever the function raises."""
    values, points = _untouched(function, probe, name), probe.clone()
    if not isinstance(values, Tensor):
        raise TypeError(f"it gave {type(values).__name__}")
    if values.shape != (2,):
        got = tuple(values.shape)
        raise PluginError(f"{name} must give one value per point, (points,); for 2 points it gave {got}.")
    if values.dtype != torch.float64:
        raise PluginError(f"{name} computes in {values.dtype}; it must keep float64 where its points are float64.")
    with torch.enable_grad():
        values = function(variable := points.requires_grad_())
        if values.requires_grad:
            torch.autograd.grad(values.sum(), variable, allow_unused=True)


def _untouched(function: Function, points: Tensor, name: str) -> Any:
    copied = points.clone()
    with torch.no_grad():
        values = function(copied)
    if not torch.equal(copied, points):
        raise PluginError(f"{name} changes the points that it is given; it must leave them as they are.")
    return values


def _check_repeats(function: Function, domain: Domain, name: str) -> None:
    try:
        _untouched(function, consistency.sample(domain), name)
        off = consistency.variation(function, domain)
    except PluginError:
        raise
    except Exception as error:  # of other numbers of points
        shape = consistency.POINTS, len(domain)
        raise PluginError(f"{name} fails on points {shape}: {type(error).__name__}: {error}.") from error
    if off:
        raise PluginError(
            f"the value of {name} at a point changes with the call or the other points of its batch (by up to "
            f"{off:.2g}), as with random numbers, a state, dropout or batch norm in training mode (call .eval()), or "
            "float32 inside; it must depend on the point alone."
        )


def _flat(function: Callable[..., Any]) -> Function:
    def flat(points: Tensor) -> Any:
        values = function(points)
        return values[:, 0] if getattr(values, "ndim", 1) == 2 and values.shape[1] == 1 else values

    return flat


def _of_arrays(function: Callable[..., Any]) -> Function:
    def values(points: Tensor) -> Tensor:
        return torch.as_tensor(np.array(function(points.cpu().numpy())), device=points.device)

    def of_arrays(points: Tensor) -> Any:
        if not isinstance(points, Tensor):
            raise NoEnclosure("a NumPy function")
        return _Differenced.apply(points, values)

    return of_arrays


def _without_gradients(function: Callable[..., Any]) -> Function:
    def without_gradients(points: Tensor) -> Any:
        return _Differenced.apply(points, function) if isinstance(points, Tensor) else function(points)

    return without_gradients


class _Differenced(torch.autograd.Function):
    """A function that autograd cannot follow, with slopes by central differences for climbs to go by."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, function: Function) -> Tensor:
        """Return function(points)."""
        ctx.save_for_backward(points)
        ctx.function = function
        return function(points.detach())

    @staticmethod
    def backward(ctx: Any, *factors: Tensor) -> tuple[Tensor, None]:
        """Return the slopes, two evaluations for each axis."""
        points = ctx.saved_tensors[0].detach()
        slopes = torch.zeros_like(points)
        for axis in range(points.shape[1]):
            step = torch.zeros_like(points)
            step[:, axis] = _STEP * (1 + points[:, axis].abs())
            change = ctx.function(points + step) - ctx.function(points - step)
            slopes[:, axis] = factors[0].reshape(len(points)) * change.reshape(len(points)) / (2 * step[:, axis])
        return _Once.apply(ctx.saved_tensors[0], slopes), None


class _Once(torch.autograd.Function):
    """Slopes that are no function of the points to autograd: who asks for a second derivative is told, not given 0."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, slopes: Tensor) -> Tensor:
        """Return the slopes."""
        return slopes.clone()

    @staticmethod
    def backward(ctx: Any, *factors: Tensor) -> tuple[None, None]:
        """Raise RuntimeError."""
        raise RuntimeError("slopes by differences have no derivative")


def terms_of(function: Callable[..., Any], adapted_function: Function, domain: Domain) -> tuple[Dense, ...]:
    """Return the layers of a `Dense`, a `Network`, or a Sequential of Linear layers with one activation; () of others.

    Also () where hooks, parametrizations or a forward of its own do more than the layers, or where the layers differ
    from the function `made` of it (see `adapted`).
    """
    if isinstance(function, Dense):
        return (function,)
    if isinstance(function, Network) and not _altered(function):
        return dense.of(function.model, function.vector.detach().cpu().double())
    if type(function) is not nn.Sequential or any(_altered(part) for part in function.modules()):
        return ()
    parts = list(function)  # children() would leave out what comes twice
    linear, between = [part for part in parts[::2] if type(part) is nn.Linear], parts[1::2]
    names = {_activation(part) for part in between}
    if len(linear) != len(between) + 1 or len(names) != 1:
        return ()
    [name] = names
    if name is None or linear[-1].out_features != 1:
        return ()
    weights = tuple(part.weight.detach().cpu().double() for part in linear)
    biases = tuple(
        torch.zeros(len(weight), dtype=torch.float64) if part.bias is None else part.bias.detach().cpu().double()
        for part, weight in zip(linear, weights, strict=True)
    )
    term = Dense(weights, biases, name)
    return (term,) if consistency.agree(term, adapted_function, domain) else ()


def _altered(part: nn.Module) -> bool:
    """Return whether a call of a module is more than its class says."""
    hooked = part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part)
    return bool(hooked) or parametrize.is_parametrized(part)


def _activation(part: nn.Module) -> str | None:
    return next((name for name, one in ACTIVATIONS.items() if one.is_module(part)), None)


def inputs_of(function: Callable[..., Any]) -> int | None:
    """Guess how many inputs a torch module has, by its first linear layer; None if there is none."""
    modules = function.modules() if isinstance(function, nn.Module) else []
    return next((part.in_features for part in modules if isinstance(part, nn.Linear)), None)


def places_of(samples: Any, dimension: int) -> Tensor | None:
    """Return samples, whatever array they are, as (samples, dimension) float64; None where there are none.

    Raises
    ------
    PluginError : if they are no such numbers, or not finite
    """
    if samples is None:
        return None
    try:
        array = torch.as_tensor(samples if isinstance(samples, Tensor) else np.asarray(samples), device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise _no_samples(dimension, f"{type(samples).__name__} ({error})") from error
    if array.is_complex() or array.ndim != 2 or array.shape[1] != dimension:
        raise _no_samples(dimension, f"{array.dtype} {tuple(array.shape)}")
    places = array.to(torch.float64)
    if not places.isfinite().all():
        raise _no_samples(dimension, f"{int((~places.isfinite()).any(1).sum())} with NaN or infinite coordinates")
    return places


def _no_samples(dimension: int, got: str) -> PluginError:
    return PluginError(f"the samples must be (samples, {dimension}), finite real numbers, one per axis, not {got}.")


def domain_of(text: str | Sequence[Sequence[float]], dimension: int | None = None) -> Domain:
    """Return ((low, high), ...) from "-1,1 0,2", or from pairs; one pair stands for all of `dimension` axes.

    Raises
    ------
    PluginError : for anything else, and if the number of pairs is not `dimension`
    """
    try:
        pairs = [re.split(r"[,:]", part) for part in text.split()] if isinstance(text, str) else [list(p) for p in text]
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
