"""Random functions of points, written in plain torch, that use every rule of enclosures."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import torch

Function = Callable[[Any], Any]  # from points (points, dimension), of any kind, to (points,)

# Inner functions keep the arguments of exp, log, ... where these are defined and moderate.
UNARY: tuple[Function, ...] = (
    torch.sin,
    torch.cos,
    torch.tanh,
    torch.erf,
    torch.sigmoid,
    torch.arctan,
    torch.relu,
    torch.nn.functional.gelu,
    lambda u: torch.nn.functional.gelu(u, approximate="tanh"),
    torch.nn.functional.silu,
    torch.nn.functional.softplus,
    torch.nn.functional.leaky_relu,
    torch.nn.functional.elu,
    torch.nn.functional.logsigmoid,
    torch.abs,
    torch.square,
    lambda u: u * u,
    lambda u: u**3,
    lambda u: -u,
    lambda u: torch.tan(torch.tanh(u)),
    lambda u: torch.sin(40.0 * u),
    lambda u: torch.exp(torch.tanh(u)),
    lambda u: torch.expm1(torch.sin(u)),
    lambda u: torch.cosh(torch.arctan(u)),
    lambda u: torch.sinh(torch.sin(u)),
    lambda u: torch.log(torch.square(u) + 0.01),
    lambda u: torch.log1p(torch.abs(u)),
    lambda u: torch.sqrt(torch.square(u) + 1e-3),
    lambda u: torch.sqrt(torch.abs(u)),
    lambda u: torch.rsqrt(torch.square(u) + 0.1),
    lambda u: 1.0 / (1.1 + torch.sin(u)),
    lambda u: torch.reciprocal(torch.cos(u) - 1.3),
    lambda u: (u - 3.0) ** -2,
    lambda u: torch.arcsin(torch.sin(u)),
    lambda u: torch.arccos(torch.tanh(u)),
    lambda u: torch.clamp(u, min=-0.3, max=0.4),
    lambda u: u / 3.0,
    lambda u: 0.1 * u + 0.7,
    lambda u: torch.where(u > 0.2, torch.ones_like(u), u),
    lambda u: torch.where((u >= -0.1) & ~(u > 0.3), u * 0.5, torch.zeros_like(u)),
)
BINARY: tuple[Callable[[Any, Any], Any], ...] = (
    torch.add,
    torch.sub,
    torch.mul,
    torch.maximum,
    torch.minimum,
    lambda u, v: u * v - v,
    lambda u, v: u / (torch.square(v) + 0.2),
    lambda u, v: torch.where(u < v, torch.sin(u), torch.cos(v)),
    lambda u, v: torch.linalg.vector_norm(torch.stack([u, v], dim=1), dim=1),
    lambda u, v: torch.stack([u, v, u - v], dim=1).amax(dim=1),
    lambda u, v: torch.stack([u, v], dim=1).prod(dim=1),
    lambda u, v: torch.cat([torch.stack([u, v], dim=1), torch.stack([v, v], dim=1)], dim=1).mean(dim=1),
)


def expression(generator: random.Random, dimension: int, depth: int = 3) -> Function:
    """Return a random function of `dimension` variables, `depth` compositions deep."""
    if depth == 0:
        return _leaf(generator, dimension)
    inner = expression(generator, dimension, depth - 1)
    if generator.random() < 0.5:
        outer = generator.choice(UNARY)
        return lambda x: outer(inner(x))
    join, other = generator.choice(BINARY), expression(generator, dimension, depth - 1)
    return lambda x: join(inner(x), other(x))


def _leaf(generator: random.Random, dimension: int) -> Function:
    kind, axis = generator.random(), generator.randrange(dimension)
    if kind < 0.5:
        factor = generator.uniform(-2, 2)
        return lambda x: factor * x[:, axis]
    if kind < 0.7:
        return lambda x: torch.cos(x).sum(dim=1)
    numbers = torch.Generator().manual_seed(generator.randrange(10**9))
    inner = torch.nn.Linear(dimension, 4)  # float32, upcast exactly
    weight, bias = torch.randn(4, dimension, generator=numbers), torch.randn(4, generator=numbers)
    inner.load_state_dict({"weight": weight, "bias": bias})
    activation = generator.choice((torch.relu, torch.tanh, torch.sin, torch.nn.functional.gelu))
    return lambda x: torch.nn.functional.linear(activation(inner(x)), weight.T.contiguous()).sum(dim=1)


def fuzz(violations: Callable[..., list[str]], count: int, seed: int, domains: Sequence[Any]) -> list[str]:
    """What is violated by so many random functions."""
    generator, found = random.Random(seed), []
    for trial in range(count):
        dimension = generator.choice((1, 2, 3))
        function = expression(generator, dimension, depth=generator.choice((1, 2, 3)))
        domain = generator.choice(domains) * dimension
        found += [f"trial {trial}, {line}" for line in violations(generator, function, domain)]
    return found
