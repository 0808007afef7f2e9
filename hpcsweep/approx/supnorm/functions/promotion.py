"""Code that is written in float32, run in float64: with the very weights it has, and everything computed from them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as trees

from hpcsweep.approx.supnorm.certificate.enclosure.shapes import widening

_NARROW = (torch.float32, torch.float16, torch.bfloat16)


class _Promoted(TorchFunctionMode):
    """Every narrower number that torch is given or makes becomes float64, and so does every narrower type."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the function with what is wide."""
        if getattr(function, "__name__", "") in ("float", "half", "bfloat16"):
            function = Tensor.double
        args, kwargs = trees.tree_map(_wide, (args, kwargs or {}))
        return trees.tree_map(_wide, function(*args, **kwargs))


def _wide(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.double() if value.dtype in _NARROW else value
    return torch.float64 if isinstance(value, torch.dtype) and value in _NARROW else value


class _Noticing(TorchFunctionMode):
    """Whether values of so many points are made narrower."""

    def __init__(self, points: int) -> None:
        super().__init__()
        self.points, self.noticed = points, False

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the function and look at what came of float64 values."""
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.dtype in _NARROW:
            wide = (part for part in args if isinstance(part, Tensor) and part.dtype == torch.float64)
            self.noticed |= any(part.shape[:1] == (self.points,) for part in wide)
        return result


def narrows(function: Callable[..., Any], points: Tensor) -> bool:
    """Return whether a function computes in less than float64 what it gives in float64; False where it fails."""
    with contextlib.suppress(Exception), torch.no_grad(), _Noticing(len(points)) as mode:
        function(points.clone())
        return mode.noticed
    return False


def promoted(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that computes in float64 where its own code computes in float32."""

    def in_double(points: Any) -> Any:
        with _Promoted(), widening():
            return function(points)

    return in_double
