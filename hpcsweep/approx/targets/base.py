"""What a target is: a real function on a box, with its known facts and its parameters.

A user's own target is a class under `Target` in any file (see `hpcsweep.approx.plugins`)::

    class Bump(Target):
        parameters = {"sharpness": 10.0}        # keyword parameters with their defaults
        smoothness = math.inf

        def __call__(self, points):             # (points, dimension) -> (points,)
            return torch.exp(-self.chosen["sharpness"] * torch.square(points).sum(dim=1))
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from numbers import Integral
from typing import Any, ClassVar

from torch import Tensor

from hpcsweep.errors import PluginError, unknown


class Target(ABC):
    """A real function on a box, written once in plain torch operations.

    The same `__call__` evaluates points and, where the meter proves upper bounds, affine forms on boxes. So
    it uses arithmetic, ``points[:, k]``, ``.sum(dim=1)`` and elementary functions as ``torch.sin(...)``; a
    frozen network also ``torch.nn.functional.linear`` and the `dtype` and `device` of its points. It writes
    nothing in place and takes no Python branch on a value: that is what ``torch.where`` is for, which encloses
    both sides of a jump.

    Class attributes
    ----------------
    parameters: keyword parameters with their defaults, which also say the types (a tuple: list of integers).
    limits: for a numeric parameter, its smallest and largest allowed value.
    dimensions: the allowed input dimensions; None: any dimension >= 1.
    side: (low, high) of every axis of the domain; override `domain` where the axes differ.
    smoothness: n such that derivatives up to order n are bounded, as those of C^n are on a closed box (1: Lipschitz is
        enough); math.inf: smooth; 0: continuous; -1: discontinuous.
    lipschitz: a proved upper bound of the Lipschitz constant in the Euclidean norm; None: unknown, or none.
    files: of a user's class, the data files that it reads, a tuple of names relative to its own file; their contents
        are part of the keys of its cells (docs/models.md).
    """

    parameters: ClassVar[Mapping[str, Any]] = {}
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {}
    dimensions: ClassVar[tuple[int, ...] | None] = None
    side: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    smoothness: float
    lipschitz: float | None = None

    def __init__(self, dimension: int, **parameters: Any) -> None:
        """Make the target in `dimension` variables. Raises PluginError for a wrong dimension or parameter."""
        self.allow(dimension)
        self.dimension = int(dimension)
        self.chosen = self.resolve(parameters)
        self.prepare()

    @abstractmethod
    def __call__(self, points: Tensor) -> Tensor:
        """Evaluate at `points` (points, dimension); returns (points,) of the same dtype and device."""

    def prepare(self) -> None:  # noqa: B027 - most targets have nothing to prepare
        """Compute once what `__call__` needs from `dimension` and `chosen`; the constructor ends with it."""

    @property
    def domain(self) -> tuple[tuple[float, float], ...]:
        """The box: one (low, high) per axis."""
        return (self.side,) * self.dimension

    @classmethod
    def allow(cls, dimension: int) -> None:
        """Raise PluginError if this target does not exist in `dimension` variables."""
        if not isinstance(dimension, Integral) or isinstance(dimension, bool) or dimension < 1:
            raise PluginError(f"target {cls.__name__} needs an integer dimension >= 1, not {dimension!r}.")
        if cls.dimensions is not None and dimension not in cls.dimensions:
            allowed = " or ".join(map(str, cls.dimensions))
            raise PluginError(f"target {cls.__name__} exists in dimension {allowed}, not in {dimension}.")

    @classmethod
    def resolve(cls, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Complete `parameters` with the defaults, in canonical form: where a float belongs, 10 becomes 10.0.

        Equal choices give equal results, so that they give equal keys. Raises PluginError for an unknown
        parameter, a wrong type, or a value outside `limits`.
        """
        for name in parameters:
            if name not in cls.parameters:
                raise PluginError(cls._unknown(name))
        return {
            name: _coerced(
                f"target {cls.__name__}: {name}", default, parameters.get(name, default), cls.limits.get(name)
            )
            for name, default in cls.parameters.items()
        }

    @classmethod
    def _unknown(cls, name: str) -> str:
        if not cls.parameters:
            return f"target {cls.__name__} has no parameters, so {name!r} must be left out."
        return unknown(f"parameters of target {cls.__name__}", name, cls.parameters)

    def __repr__(self) -> str:
        """Say the class, the dimension and the parameters."""
        parameters = "".join(f", {name}={value!r}" for name, value in self.chosen.items())
        return f"{type(self).__name__}({self.dimension}{parameters})"


def rounded_up(bound: float) -> float:
    """Return a little more than `bound` (>= 0): a proved bound must not be lost to its own rounding errors.

    1e-13 covers some hundred roundings of 1.1e-16 each; the formulas that use it have about ten.
    """
    return bound * (1.0 + 1e-13)


def _coerced(where: str, default: Any, value: Any, limits: tuple[float, float] | None) -> Any:
    if isinstance(default, tuple | list):
        if not isinstance(value, tuple | list) or not value:
            raise PluginError(f"{where} must be a list of integers that is not empty, not {value!r}.")
        return [_coerced(f"each entry of {where}", 0, entry, limits) for entry in value]
    expected, kind = type(default), "finite float" if isinstance(default, float) else type(default).__name__
    # bool is a kind of int for Python, not for a study; an integer may stand for a float, never the reverse
    fits = type(value) is expected or (expected is float and type(value) is int and abs(value) <= 2**1000)
    if not fits or (expected is float and not math.isfinite(value)):
        raise PluginError(f"{where} must be of type {kind}, not {value!r}.")
    if limits is not None and not limits[0] <= value <= limits[1]:
        raise PluginError(f"{where} must lie between {limits[0]} and {limits[1]}, not {value!r}.")
    return expected(value)
