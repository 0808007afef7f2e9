"""Random expression trees over everything that has a rule, in torch, and by formulas in mpmath."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np
import torch

from scripts.soundness.subject import Real
from tests.approx.supnorm.certificate.exact import Exact
from tests.approx.supnorm.certificate.expressions import BINARY, UNARY
from tests.approx.supnorm.certificate.formulas import MOVES, SUMS
from tests.approx.supnorm.certificate.formulas_of_modules import FUNCTIONS, MODULES

OF_TWO = MOVES | SUMS | MODULES
_INTO = ((torch.sin, mp.sin), (torch.tanh, mp.tanh), (torch.erf, mp.erf))  # maps of the line into [-1, 1]


@dataclass(frozen=True)
class Function:
    """One function of points.

    Parameters
    ----------
    torch: of points (points, dimension), or whatever stands for them, to (points,).
    real: of the coordinates of one point.
    """

    torch: Callable[[Any], Any]
    real: Real


def by_code(code: Callable[[Any], Any]) -> Function:
    """Return a function whose formula is torch code, run on numbers of mpmath."""
    return Function(code, lambda *point: code(Exact(np.array([point], dtype=object))).values[0])


def tree(generator: random.Random, dimension: int, depth: int) -> Function:
    """Return a random function of `dimension` variables, `depth` compositions deep."""
    if depth == 0:
        return by_code(_leaf(generator, dimension))
    nodes: Sequence[Callable[..., Function]] = (_unary, _interval, _binary, _pair)
    return generator.choice(nodes)(generator, tree(generator, dimension, depth - 1), dimension, depth)


def _leaf(generator: random.Random, dimension: int) -> Callable[[Any], Any]:
    axis, factor, kind = generator.randrange(dimension), generator.uniform(-2, 2), generator.randrange(4)
    weight = torch.tensor([[generator.gauss(0, 1) for _ in range(dimension)]], dtype=torch.float64)
    leaves: Sequence[Callable[[Any], Any]] = (
        lambda x: factor * x[:, axis],
        lambda x: torch.cos(x).sum(dim=1),
        lambda x: torch.square(x).sum(dim=1) * factor,
        lambda x: torch.nn.functional.linear(x, weight).sum(dim=1) + factor,
    )
    return leaves[kind]


def _unary(generator: random.Random, inner: Function, dimension: int, depth: int) -> Function:
    code = generator.choice(UNARY)
    return Function(
        lambda x: code(inner.torch(x)),
        lambda *point: code(Exact(np.array([inner.real(*point)], dtype=object))).values[0],
    )


def _interval(generator: random.Random, inner: Function, dimension: int, depth: int) -> Function:
    """Return a function that is defined on an interval, or a module, of a tree that is mapped into it."""
    code, formula, (low, high) = FUNCTIONS[generator.choice(list(FUNCTIONS))]
    into, real = generator.choice(_INTO)
    middle, half = (low + high) / 2, generator.choice((0.99, 0.3, 1e-3)) * (high - low) / 2
    return Function(
        lambda x: code(middle + half * into(inner.torch(x))),
        lambda *point: formula(mp.mpf(middle) + mp.mpf(half) * real(inner.real(*point))),
    )


def _binary(generator: random.Random, inner: Function, dimension: int, depth: int) -> Function:
    code, other = generator.choice(BINARY), tree(generator, dimension, depth - 1)
    return Function(
        lambda x: code(inner.torch(x), other.torch(x)),
        lambda *point: code(*(Exact(np.array([part.real(*point)], dtype=object)) for part in (inner, other))).values[0],
    )


def _pair(generator: random.Random, inner: Function, dimension: int, depth: int) -> Function:
    """Return a function of points with two coordinates, of two trees in their place."""
    code, formula = OF_TWO[generator.choice(list(OF_TWO))]
    other = tree(generator, dimension, depth - 1)
    (into, real), factor = generator.choice(_INTO), generator.choice((1.0, 0.1, 2.4))
    return Function(
        lambda x: code(torch.stack([factor * into(part.torch(x)) for part in (inner, other)], dim=1)),
        lambda *point: formula(*(mp.mpf(factor) * real(part.real(*point)) for part in (inner, other))),
    )
