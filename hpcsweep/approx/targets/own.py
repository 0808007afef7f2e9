"""A target of a user: its calls affect nothing else, and what they return is looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, final

import torch
from torch import Tensor

from hpcsweep.approx.isolation import isolated
from hpcsweep.approx.targets.base import Target
from hpcsweep.errors import PluginError

T = TypeVar("T")


@final
class Own(Target):
    """A user's target, which cannot change anything but its values.

    Each call is `isolated`. It is given a copy of the points, must leave that as it is, and must return a real tensor
    (points,) of their dtype and device; PluginError otherwise.
    """

    def __init__(self, target: Target, name: str, strict: bool = True) -> None:
        """`strict`: False where `check` is to see for itself what it returns."""
        self._target, self._name, self._strict = target, name, strict
        self.dimension, self.chosen = target.dimension, target.chosen
        self.smoothness = self._isolated(lambda: getattr(target, "smoothness", None))  # type: ignore[assignment]
        self.lipschitz = self._isolated(lambda: target.lipschitz)

    def _isolated(self, action: Callable[[], T]) -> T:
        with isolated(f"target {self._name!r} cannot be evaluated", type(self._target).__module__):
            return action()

    @property
    def domain(self) -> tuple[tuple[float, float], ...]:
        """The box: one (low, high) per axis."""
        return self._isolated(lambda: self._target.domain)

    def __call__(self, points: Tensor) -> Tensor:
        """Evaluate at points (points, dimension), or at whatever stands for them."""
        if not (self._strict and isinstance(points, Tensor)):
            return self._isolated(lambda: self._target(points))
        copied = points.clone()
        version = copied._version
        values: Any = self._isolated(lambda: self._target(copied))
        if broken := _broken(values, points) or _changed(copied, version, points):
            raise PluginError(f"target {self._name!r} {broken}.")
        return values

    def __repr__(self) -> str:
        """Say what the user's class says."""
        return repr(self._target)


def _broken(values: Any, points: Tensor) -> str:
    if not isinstance(values, Tensor):
        return f"returned {type(values).__name__} for {len(points)} points; it must return a tensor"
    if values.shape != points.shape[:-1]:
        return f"returned shape {tuple(values.shape)} for {len(points)} points of its domain"
    if values.dtype != points.dtype:
        return f"returned values of {values.dtype} for {len(points)} points of {points.dtype}"
    if values.device != points.device:
        return f"returned values on {values.device} for points on {points.device}"
    return ""


def _changed(copied: Tensor, version: int, points: Tensor) -> str:
    plain = type(points) is Tensor and not torch._C._functorch.is_functorch_wrapped_tensor(points)
    written = plain and not torch.equal(copied, points)
    return "changes the points that it is given" if written or copied._version != version else ""
