"""Double-doubles contain the truth, to 80 digits: every function, random expressions, random and extreme networks.

`python -m tests.approx.supnorm.certificate.test_double_double 2000` looks at so many expressions and networks.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch

from hpcsweep.approx.supnorm.certificate.enclosure import DoubleDouble, exact
from hpcsweep.approx.supnorm.certificate.enclosure.affine import apply
from hpcsweep.approx.supnorm.certificate.enclosure.difference import network
from hpcsweep.approx.supnorm.dense import Dense
from hpcsweep.approx.targets import REGISTRY
from tests.approx.supnorm.certificate.exact import Exact, exactly, random_network
from tests.approx.supnorm.certificate.expressions import expression

POINTS, DIGITS = 6, 80
DOMAINS = ((-1.0, 1.0), (0.1, 0.7), (-3.0, 4.1), (1e8, 1e8 + 1), (0.3, 0.3 + 1e-9))


def doubles(numbers: Any) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def truth(values: torch.Tensor) -> np.ndarray:
    return np.vectorize(mp.mpf, otypes=[object])(values.numpy())


def outside(numbers: DoubleDouble, values: np.ndarray) -> Iterator[str]:
    """One line for each number that is further from the truth than its radius, or whose parts overlap."""
    parts = (part.reshape(-1).tolist() for part in (numbers.leading, numbers.trailing, numbers.radius))
    for leading, trailing, radius, value in zip(*parts, np.ravel(values), strict=True):
        if isinstance(value, mp.mpc) or not mp.isfinite(value) or not radius < math.inf:
            continue
        if not abs(mp.mpf(leading) + mp.mpf(trailing) - value) <= radius or abs(trailing) > 2.0**-53 * abs(leading):
            yield f"{value} is not within {radius} of {leading} + {trailing}"


def within(domain: Sequence[tuple[float, float]], generator: random.Random) -> torch.Tensor:
    draw = [lambda low, _: low, lambda _, high: high, generator.uniform]
    return doubles([[generator.choice(draw)(*side) for side in domain] for _ in range(POINTS)])


def expressions(count: int, seed: int) -> list[str]:
    """What is wrong with random functions of up to three variables."""
    generator, found = random.Random(seed), []
    for trial in range(count):
        dimension = generator.choice((1, 2, 3))
        function = expression(generator, dimension, depth=generator.choice((1, 2, 3)))
        points = within([generator.choice(DOMAINS)] * dimension, generator)
        with mp.workdps(DIGITS):
            values = function(Exact(truth(points))).values
            found += [f"{trial}: {line}" for line in outside(function(exact(points)), values)]
    return found


def extreme(numbers: np.random.Generator, drawn: Dense) -> Dense:
    """The network with weights between 1e-300 and 1e6, or with an output that cancels, or as it is."""
    kind, weights = numbers.integers(3), list(drawn.weights)
    if kind == 0:
        weights = [w.sign() * 10.0 ** torch.from_numpy(numbers.uniform(-300, 6, size=tuple(w.shape))) for w in weights]
    if kind == 1:
        signs = 1.0 - 2.0 * (torch.arange(weights[-1].shape[1]) % 2)
        weights[-1] = signs[None].double() * 10.0 ** numbers.uniform(0, 12)
        weights[0] = weights[0] * 10.0 ** -numbers.uniform(0, 6)
    return Dense(tuple(weights), drawn.biases, drawn.activation, drawn.shift, drawn.factor, drawn.amplitude)


def networks(count: int, seed: int) -> list[str]:
    """What is wrong with random networks."""
    generator, numbers, found = random.Random(seed), np.random.default_rng(seed), []
    for trial in range(count):
        dimension, activation = generator.choice((1, 2, 4)), generator.choice(("relu", "tanh", "sin", "gelu", "silu"))
        hidden, scale = (
            [generator.choice((1, 3, 8))] * generator.choice((0, 1, 2, 4)),
            generator.choice((0.5, 1.0, 3.0)),
        )
        drawn = random_network(numbers, dimension, hidden, activation, scale, standardised=generator.random() < 0.3)
        drawn = extreme(numbers, drawn)
        points = within([generator.choice(DOMAINS)] * dimension, generator)
        with mp.workdps(DIGITS):
            values = np.array([exactly(drawn, row) for row in truth(points)])
            found += [f"{trial} {activation}: {line}" for line in outside(network(drawn, exact(points)), values)]
    return found


def test_random_expressions() -> None:
    assert expressions(200, seed=7) == []


def test_random_networks() -> None:
    assert networks(150, seed=7) == []


FUNCTIONS = [
    "exp",
    "expm1",
    "log",
    "log1p",
    "sin",
    "cos",
    "tan",
    "tanh",
    "sinh",
    "cosh",
    "arctan",
    "sigmoid",
    "softplus",
    "silu",
    "gelu",
    "erf",
    "sqrt",
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_numbers_may_lie_in_any_order(name: str) -> None:
    """Transposed tensors are flattened into copies, in which a compiled loop would leave its results."""
    values = torch.rand(3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 0.1
    in_order = apply(name, exact(values))
    for axes in ((2, 0, 1), (0, 2, 1), (2, 1, 0)):
        back = [axes.index(axis) for axis in range(3)]
        permuted = apply(name, exact(values.permute(axes).contiguous().permute(back)))
        for part in ("leading", "trailing", "radius"):
            assert torch.equal(getattr(permuted, part), getattr(in_order, part)), (axes, part)


def test_numbers_have_thirty_digits() -> None:
    """Of most functions; a bound that is infinite or wide would pass all other tests."""
    generator, digits = random.Random(1), []
    for _ in range(60):
        numbers = expression(generator, 2, depth=2)(exact(within([(-1.0, 1.0)] * 2, generator)))
        digits += (numbers.radius / (numbers.leading.abs() + 1e-3)).tolist()
    assert np.quantile(digits, 0.7) < 1e-28


@pytest.mark.parametrize("name", REGISTRY)
def test_targets(name: str) -> None:
    generator = random.Random(name)
    for dimension in REGISTRY[name].dimensions or (1, 3):
        target = REGISTRY[name](dimension)
        points = within(target.domain, generator)
        with mp.workdps(DIGITS):
            assert list(outside(target(exact(points)), target(Exact(truth(points))).values)) == []


if __name__ == "__main__":
    for kind in (expressions, networks):
        lines = kind(int(sys.argv[1]), seed=int((*sys.argv, "1")[2]))
        print(kind.__name__, sys.argv[1], "violations:", len(lines), *lines[:5], sep="\n")
