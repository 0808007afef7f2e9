"""What an activation knows of itself."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

Derivatives = tuple[Tensor, Tensor, Tensor]  # value, slope and second derivative


@dataclass(frozen=True)
class SelfGatedFunction:
    """A function g(x) = x P(x) with a distribution function P, as gelu and silu are; see `univariate.gelu_silu`.

    Attributes
    ----------
    value, curvature : g and its second derivative, which is even, falls up to x = `turning` and then rises to 0
    deepest, depth : relu - g is largest at x = +-deepest, and there at most `depth`; at -deepest g is smallest
    turning, trough : g'' is smallest at x = +-turning, and there at least `trough`
    """

    value: Callable[[Tensor], Tensor]
    curvature: Callable[[Tensor], Tensor]
    deepest: float
    depth: float
    turning: float
    trough: float


@dataclass(frozen=True)
class ConvexFunction:
    """A convex or concave function g on an interval; see `univariate.convex`.

    Attributes
    ----------
    value : g
    inverse_derivative : s -> x with g'(x) = s, any x where there is none
    minimizer : where g is smallest inside its domain, or None where g is monotone
    domain : g is not defined beyond these ends
    """

    value: Callable[[Tensor], Tensor]
    inverse_derivative: Callable[[Tensor], Tensor]
    minimizer: float | None = None
    domain: tuple[float, float] = (-math.inf, math.inf)


class Activation(ABC):
    """A function g of one variable, once for all: as torch code, in place for batched training, and as facts.

    Its kernel code stands in `hpcsweep.approx.kernels.activations` under the same name. `value`, `prepare` and `pull`
    are halves of the backward pass over tensors that already exist, so that one buffer serves for pre-activations and
    for gradients: `prepare` is called while the pre-activations still exist, `pull` after the gradient has taken their
    place. Only operations whose vector body and scalar tail agree to the last bit are used (no sigmoid, silu, gelu, pow
    of torch): the bits of a value do not depend on its position.

    Attributes
    ----------
    is_bounded : whether a larger first layer is a higher frequency, not a larger value
    facts : what proofs enclose it by; None where `enclosure.univariate.registry` knows its name
    steepness, offset : |g(x)| <= offset + steepness |x|, and |g'| <= steepness
    module : the class of torch that computes it
    reference : seconds for each neuron and sample of the value, and of value and slope, on the reference core of
        `hpcsweep.cluster.shares`; on other devices they are measured
    """

    is_bounded: ClassVar[bool] = False
    facts: ClassVar[SelfGatedFunction | ConvexFunction | None] = None
    steepness: ClassVar[float] = 1.25
    offset: ClassVar[float] = 0.0
    module: ClassVar[type[nn.Module] | None] = None
    reference: ClassVar[tuple[float, float]] = (2.2e-9, 2.6e-9)

    def is_module(self, part: nn.Module) -> bool:
        """Return whether a module of torch computes it."""
        return type(part) is self.module

    @abstractmethod
    def apply(self, inputs: Tensor) -> Tensor:
        """Return g(inputs); may overwrite them, and can be differentiated by torch."""

    def derivatives(self, inputs: Tensor) -> Derivatives | None:
        """Return value, slope and second derivative; None where the second is zero or does not exist."""
        return None

    @abstractmethod
    def value(self, inputs: Tensor, outputs: Tensor) -> None:
        """Write g(inputs) into `outputs`, of equal shape; `inputs` are kept."""

    @abstractmethod
    def prepare(self, inputs: Tensor, outputs: Tensor) -> None:
        """Leave in `outputs`, which holds g(inputs), what `pull` will need; `inputs` may be destroyed."""

    def pull(self, gradient: Tensor, outputs: Tensor) -> None:
        """Multiply `gradient` in place by g'(inputs); `outputs` as `prepare` left them, by default g'(inputs)."""
        gradient.mul_(outputs)
