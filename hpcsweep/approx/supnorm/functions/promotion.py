"""Code that is written in float32, run in float64: with the very weights it has, and everything computed from them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as trees

from hpcsweep.approx.supnorm.certificate.enclosure.shapes import widening

_NARROW = (torch.float32, torch.float16, torch.bfloat16)
_CONVERSIONS = {"float": Tensor.double, "half": Tensor.double, "bfloat16": Tensor.double}


class _Promoted(TorchFunctionMode):
    """Every narrower number that torch is given or makes becomes float64, and so does every narrower type."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the function with what is wide; what changes a type makes a copy, as it does of numbers of another."""
        function = _CONVERSIONS.get(getattr(function, "__name__", ""), function)
        args, kwargs = trees.tree_map(_wide, (args, kwargs or {}))
        numbers = (part for part in trees.tree_leaves((args, kwargs)) if isinstance(part, Tensor))
        with _default(torch.float64 if any(part.dtype != torch.bool for part in numbers) else None):
            result = trees.tree_map(_wide, function(*args, **kwargs))
        converted = function.__name__ in ("double", "to", "type", "type_as") and result is args[0]
        return result.clone() if converted and isinstance(result, Tensor) else result


@contextlib.contextmanager
def _default(dtype: torch.dtype | None) -> Iterator[None]:
    """Let whole numbers become numbers of this type where they are divided; None: as they do."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype or before)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


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
        """Call the function and look at what came of numbers, which conditions are not."""
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.dtype in _NARROW:
            numbers = (part for part in args if isinstance(part, Tensor) and part.dtype != torch.bool)
            self.noticed |= any(self.points in part.shape for part in numbers)
        return result


def narrows(function: Callable[..., Any], points: Tensor) -> bool:
    """Return whether a function computes in less than float64 what it gives in float64; False where it fails.

    Parameters
    ----------
    points: (points, dimension), as many as no axis of a weight is long.
    """
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
