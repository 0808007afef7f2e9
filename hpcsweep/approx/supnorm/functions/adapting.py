"""Anything callable -> functions that the meter can evaluate: torch modules, functions of tensors, of NumPy arrays."""

from __future__ import annotations

import contextlib
import copy
import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hpcsweep.approx.supnorm import consistency
from hpcsweep.approx.supnorm.certificate.enclosure import NoEnclosure, boxes
from hpcsweep.approx.supnorm.certificate.enclosure.difference import around
from hpcsweep.approx.supnorm.functions.components import component_of
from hpcsweep.approx.supnorm.functions.differences import Differenced
from hpcsweep.approx.supnorm.functions.domains import Domain
from hpcsweep.approx.supnorm.functions.promotion import narrows, promoted
from hpcsweep.approx.supnorm.screening.screen import Function
from hpcsweep.errors import PluginError

_MANY = 4099  # points, a number that is the length of nothing else
_LONGEST = 300  # characters of what an exception says


class _Narrow(PluginError):
    """The values of a function are in float32 or less."""


def adapted(function: Callable[..., Any], domain: Domain, output: int | None = None) -> Function:
    """Return `function` as one from points (points, dimension) float64 tensors to (points,) float64 tensors.

    A torch module is copied in float64 and evaluation mode, so that it is measured with the very weights it has. Other
    code that computes in float32, or cannot compute because a part of it is in float32, runs in float64 likewise. A
    function that fails on tensors, or on those that follow gradients, is given NumPy arrays or tensors without
    gradients, and differentiated by differences. One column of values is taken too.

    Parameters
    ----------
    output: which of its outputs, of a function that gives (points, outputs).

    Returns
    -------
    The function; its attribute `remarks` says in sentences what a user should know of it.

    Raises
    ------
    PluginError : if it fails on two points of the domain, or its values are not float64, one per point; if it changes
        its points, or its value at a point depends on the call or on the other points
    """
    name = getattr(function, "__qualname__", type(function).__name__)
    remarks = []
    if isinstance(function, nn.Module):
        remarks += _training(function, name)
        function = _copied(function, name)
    if output is not None:
        function = component_of(function, output)
    low, high = torch.tensor(domain, dtype=torch.float64).T
    probe = torch.stack([low + (high - low) * 0.25, low + (high - low) * 0.75])  # (2, dimension)
    problems: list[Exception] = []
    plain, wide = function, promoted(function)
    with _of_numpy():
        first, second = (wide, plain) if narrows(function, probe[:1].expand(_MANY, -1)) else (plain, wide)
    for candidate in (first, second, _of_arrays(function), *map(_without_gradients, (first, second))):
        adapted_function = _flat(candidate)
        try:
            with _of_numpy():
                _try(adapted_function, probe, name)
        except PluginError as error:
            if not isinstance(error, _Narrow):
                raise
            problems.append(error)
            continue
        except Exception as error:  # a user's function may raise anything
            problems.append(error)
            continue
        _check_repeats(adapted_function, domain, name)
        adapted_function.__qualname__ = name  # of which later mistakes speak
        if wide in (candidate, getattr(candidate, "__wrapped__", None)):
            remarks.append(f"{name} computes in float32; it is measured in float64, with the weights that it has.")
        adapted_function.remarks = tuple(remarks)  # type: ignore[attr-defined]
        return adapted_function
    if isinstance(problems[0], _Narrow):
        raise problems[0]
    failed, _, array = map(_said, problems[:3])
    raise PluginError(f"{name} fails on points {tuple(probe.shape)}: {failed}; with a NumPy array: {array}.")


def _said(problem: Exception) -> str:
    """Return what an exception says, in one line."""
    return f"{type(problem).__name__}: {' '.join(str(problem).split())[:_LONGEST]}"


@contextlib.contextmanager
def _of_numpy() -> Iterator[None]:
    """Ignore what NumPy warns of where its functions are given a tensor."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array_wrap__", DeprecationWarning)
        yield


def outputs_of(function: Callable[..., Any], domain: Domain) -> int:
    """Return how many outputs a function has, from the shape (points, outputs) of its values; 1 where that fails."""
    if isinstance(function, nn.Module):
        function = _copied(function, type(function).__name__)
    low, high = torch.tensor(domain, dtype=torch.float64).T
    for candidate in (function, promoted(function), _of_arrays(function)):
        with contextlib.suppress(Exception), torch.no_grad(), _of_numpy():  # `adapted` will say what is wrong
            shares = (torch.linspace(0.2, 0.7, count, dtype=torch.float64)[:, None] for count in (2, 5))
            shapes = [tuple(candidate(low + (high - low) * share).shape) for share in shares]
            ((first, *outputs), (second, *same)) = shapes
            return int(outputs[0]) if (first, second, len(outputs)) == (2, 5, 1) and outputs == same else 1
    return 1


def _training(module: nn.Module, name: str) -> list[str]:
    """Return what is to be said of a module that behaves otherwise while it is trained."""
    kinds = nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase, nn.RReLU
    if not any(isinstance(part, kinds) and part.training for part in module.modules()):
        return []
    return [f"{name} is in training mode; it is measured in evaluation mode, as after .eval()."]


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
        raise _Narrow(f"{name} computes in {values.dtype}; it must keep float64 where its points are float64.")
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
        raise PluginError(f"{name} fails on points {shape}: {_said(error)}.") from error
    if off and off > _rounding(function, domain):
        raise PluginError(
            f"the value of {name} at a point changes with the call or the other points of its batch (by up to "
            f"{off:.2g}), as with random numbers, a state, dropout or batch norm in training mode (call .eval()), or "
            "float32 inside; it must depend on the point alone."
        )


def _rounding(function: Function, domain: Domain) -> float:
    """Return by how much rounding alone may change values at the points of `consistency.sample`; 0 if not known.

    Matrix products add in another order for other numbers of points, which shows where large terms cancel.
    """
    centers, radii = around(consistency.sample(domain), domain)
    try:
        with torch.no_grad():
            low, high = function(boxes(centers, radii, domain)).range()  # type: ignore[arg-type, attr-defined]
    except Exception:  # without a rule, or whatever a user's code raises of boxes
        return 0.0
    width = high - low
    return float(width[width.isfinite()].amax()) if width.isfinite().any() else 0.0


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
        return Differenced.apply(points, values)

    return of_arrays


def _without_gradients(function: Callable[..., Any]) -> Function:
    @functools.wraps(function)
    def without_gradients(points: Tensor) -> Any:
        return Differenced.apply(points, function) if isinstance(points, Tensor) else function(points)

    return without_gradients
