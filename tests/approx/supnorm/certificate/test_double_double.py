"""Double-doubles contain the truth, to 80 digits: every function, random expressions, random and extreme networks.

`python -m tests.approx.supnorm.certificate.test_double_double 2000` looks at so many of each kind.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence

import mpmath as mp
import numpy as np
import torch

from hpcsweep.approx.supnorm.certificate.enclosure import DoubleDouble, exact
from hpcsweep.approx.supnorm.certificate.enclosure.difference import network
from hpcsweep.approx.supnorm.dense import Dense
from tests.approx.supnorm.certificate.exact import Exact, exactly, random_network
from tests.approx.supnorm.certificate.expressions import expression

POINTS = 6
DIGITS = 80


def truth(values: torch.Tensor) -> np.ndarray:
    return np.vectorize(lambda x: mp.mpf(x), otypes=[object])(values.numpy())


def outside(numbers: DoubleDouble, values: np.ndarray) -> Iterator[str]:
    """One line for each number that is further from the truth than its radius, or is no number where the radius is."""
    parts = (part.reshape(-1).tolist() for part in (numbers.leading, numbers.trailing, numbers.radius))
    for leading, trailing, radius, value in zip(*parts, np.ravel(values), strict=True):
        if isinstance(value, mp.mpc) or not mp.isfinite(value) or not radius < np.inf:
            continue
        if not abs(mp.mpf(leading) + mp.mpf(trailing) - value) <= radius:
            yield f"{value} is not within {radius} of {leading} + {trailing}"


def within(domain: Sequence[tuple[float, float]], generator: random.Random) -> torch.Tensor:
    rows = [
        [generator.choice((low, high, generator.uniform(low, high))) for low, high in domain] for _ in range(POINTS)
    ]
    return torch.tensor(rows, dtype=torch.float64)


DOMAINS: tuple[tuple[float, float], ...] = ((-1.0, 1.0), (0.1, 0.7), (-3.0, 4.1), (1e8, 1e8 + 1), (0.3, 0.3 + 1e-9))


def expressions(count: int, seed: int) -> list[str]:
    """What is wrong with random functions of up to three variables."""
    generator, found = random.Random(seed), []
    for trial in range(count):
        dimension = generator.choice((1, 2, 3))
        function = expression(generator, dimension, depth=generator.choice((1, 2, 3)))
        points = within([generator.choice(DOMAINS)] * dimension, generator)
        with mp.workdps(DIGITS):
            found += [
                f"{trial}: {line}" for line in outside(function(exact(points)), function(Exact(truth(points))).values)
            ]
    return found


def random_weights(random_: np.random.Generator, network_: Dense) -> Dense:
    """The network with weights between 1e-300 and 1e6, or with an output that cancels, or as it is."""
    kind = random_.integers(3)
    if kind == 0:
        scales = [
            torch.from_numpy(10.0 ** random_.uniform(-300, 6, size=tuple(weight.shape))) for weight in network_.weights
        ]
        weights = tuple(weight.sign() * scale for weight, scale in zip(network_.weights, scales, strict=True))
        return Dense(weights, network_.biases, network_.activation, network_.shift, network_.factor, network_.amplitude)
    if kind == 1:
        doubled = [*network_.weights]
        signs = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(doubled[-1].shape[1])[: doubled[-1].shape[1]]
        doubled[-1] = signs[None] * 10.0 ** random_.uniform(0, 12)
        doubled[0] = doubled[0] * 10.0 ** -random_.uniform(0, 6)
        return Dense(tuple(doubled), network_.biases, network_.activation, network_.shift, network_.factor)
    return network_


def networks(count: int, seed: int) -> list[str]:
    """What is wrong with random networks."""
    generator, numbers, found = random.Random(seed), np.random.default_rng(seed), []
    for trial in range(count):
        dimension = generator.choice((1, 2, 4))
        hidden = [generator.choice((1, 3, 8))] * generator.choice((0, 1, 2, 4))
        activation = generator.choice(("relu", "tanh", "sin", "gelu", "silu"))
        drawn = random_network(numbers, dimension, hidden, activation, scale=generator.choice((0.5, 1.0, 3.0)))
        drawn = random_weights(numbers, drawn)
        points = within([generator.choice(DOMAINS)] * dimension, generator)
        with mp.workdps(DIGITS):
            values = np.array([exactly(drawn, row) for row in truth(points)])
            found += [f"{trial} {activation}: {line}" for line in outside(network(drawn, exact(points)), values)]
    return found


def test_random_expressions() -> None:
    assert expressions(200, seed=7) == []


def test_random_networks() -> None:
    assert networks(150, seed=7) == []


if __name__ == "__main__":
    for kind in (expressions, networks):
        lines = kind(int(sys.argv[1]), seed=int((*sys.argv, "1")[2]))
        print(kind.__name__, sys.argv[1], "violations:", len(lines), *lines[:5], sep="\n")
