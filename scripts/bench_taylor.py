#!/usr/bin/env python
"""Proofs by Taylor models and by straight lines alone, of the same networks: seconds and boxes, on one CPU thread.

Networks of tanh neurons, of two and three hidden layers, are fitted to analytic targets: some are trained by
Levenberg-Marquardt or Adam, others have random hidden layers and a last one by least squares, for errors from 1e-1 to
1e-10. The lower bound is known when a proof begins, as in a study; the models are made before the clock starts. Then
networks whose errors are near the rounding errors of float64, or whose output weights cancel: by Taylor models in
float64 alone, and in double-double too. Prints one JSON line per figure; `floor` is what is demanded at least: the
share of proofs by Taylor models that close, and of those that take at most 50 ms up to 3-D and 0.5 s up to 6-D. Then a
table. --quick takes under a minute.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from typing import Any

import hpcsweep  # noqa: F401 - before torch: the code path of MKL

# isort: split

import numpy as np
import torch
from json_lines import show
from torch import Tensor

from hpcsweep.approx import models
from hpcsweep.approx.supnorm import dense
from hpcsweep.approx.supnorm.certificate.certify import Pool, advance, begin, start
from hpcsweep.approx.supnorm.certificate.enclosure.difference import Difference
from hpcsweep.approx.supnorm.certificate.lower import lower_end
from hpcsweep.approx.supnorm.certificate.methods import Methods
from hpcsweep.approx.targets import REGISTRY, Target
from hpcsweep.approx.training import train
from hpcsweep.config import OptimizerConfig

DOUBLE = torch.float64
GAPS = {1: (0.01, 1e-6), 2: (0.01, 1e-6), 3: (0.01, 1e-3), 4: (0.01, 1e-3), 5: (0.01,), 6: (0.01,)}
BOXES = {True: 20_000, False: 1 << 20}  # the budget of a proof, if quick or not
DEFAULT_BOXES = 1 << 18  # that of studies up to 4-D
SECONDS = {1: 0.05, 2: 0.05, 3: 0.05, 4: 0.5, 5: 0.5, 6: 0.5}  # what is aimed at
SMALL = 400  # seconds by Taylor models are the least of repetitions where there are fewer boxes


@dataclass(frozen=True)
class Row:
    """One network to certify: trained in so many steps, or by least squares where there are none."""

    target: str
    dimension: int
    width: int
    depth: int = 2
    steps: int = 0
    method: str = "levenberg_marquardt"

    @property
    def name(self) -> str:
        """What the row is called in the output."""
        how = (
            {"levenberg_marquardt": "LM", "adam": "Adam"}.get(self.method, "features")
            if self.steps
            else "least squares"
        )
        return f"{self.target} {self.dimension}-D {self.depth}x{self.width} {how}"

    def difference(self) -> Difference:
        """Return target minus network."""
        target = REGISTRY[self.target](self.dimension)
        terms = self.fitted(target)
        return Difference(target, lambda points: sum(term(points) for term in terms), target.domain, terms)

    def fitted(self, target: Target) -> tuple[dense.Dense, ...]:
        """Return the network."""
        model = models.make({"hidden": [self.width] * self.depth}, self.dimension, target.domain)
        generator = torch.Generator().manual_seed(self.dimension)
        low, high = torch.tensor(target.domain, dtype=DOUBLE).T
        count = max(40 * self.width, 1000)
        places = low + (high - low) * torch.rand(1, count, self.dimension, generator=generator, dtype=DOUBLE)
        values, first = target(places[0]), model.init([self.width], DOUBLE)
        if not self.steps:
            return (_least_squares(dense.of(model, 2.0 * first[0])[0], places[0], values),)
        fields: dict[str, Any] = {"adam": {"learning_rate": 3e-3, "schedule": "cosine", "batch": 256}}.get(
            self.method, {}
        )
        settings = OptimizerConfig(name=self.method, steps=self.steps, **fields)
        return dense.of(model, train(model, first, places, values[None], [settings], [0]).parameters[0])


def _least_squares(network: dense.Dense, places: Tensor, values: Tensor) -> dense.Dense:
    signal = places
    for weight, bias in zip(network.weights[:-1], network.biases[:-1], strict=True):
        signal = torch.tanh(signal @ weight.T + bias)
    columns = torch.cat([signal, torch.ones_like(signal[:, :1])], 1)
    solution = torch.from_numpy(np.linalg.lstsq(columns.numpy(), values.numpy(), rcond=1e-11)[0])
    weights, biases = (*network.weights[:-1], solution[None, :-1]), (*network.biases[:-1], solution[-1:])
    return dense.Dense(weights, biases, network.activation)


LEAST_SQUARES = [
    *(Row("exp_cos", 1, width) for width in (16, 32)),
    *(Row("runge", 1, width) for width in (16, 32, 64)),
    *(Row("exp_cos", 2, width, depth) for width, depth in ((16, 2), (32, 2), (64, 2), (32, 3))),
    *(Row("exp_cos", 3, width, depth) for width, depth in ((32, 2), (64, 2), (32, 3))),
    *(Row("exp_cos", dimension, 32) for dimension in (4, 5, 6)),
]
TRAINED = [
    Row("runge", 1, 32, steps=400),
    Row("exp_cos5", 1, 16, steps=400),
    Row("exp_cos", 2, 16, steps=200),
    Row("exp_cos", 2, 32, 3, steps=100),
    Row("runge", 2, 32, steps=200),
    Row("exp_cos", 3, 16, steps=200),
    Row("runge", 3, 32, steps=100),
    Row("exp_cos", 4, 16, steps=200),
    Row("sine_product", 4, 32, steps=100),
    Row("exp_cos", 5, 32, steps=4000, method="adam"),
    Row("exp_cos", 6, 32, steps=4000, method="adam"),
]
TINY = [
    *(Row("sine", 1, width, depth, 1, "least_squares") for width, depth in ((48, 1), (64, 2), (100, 1))),
    *(Row("sine", 1, width, 1, 1, "least_squares") for width in (200, 400)),
    *(Row(target, 2, 200, 1, 1, "least_squares") for target in ("exp_cos", "sine_product")),
]
QUICK = [*LEAST_SQUARES[::2], Row("exp_cos", 2, 16, steps=60), Row("exp_cos", 4, 16, steps=300, method="adam")]


def known(difference: Difference, dimension: int) -> tuple[float, tuple[float, ...]]:
    """Return the largest error at many points, on faces and at corners too, proved where it is, and where that is."""
    generator = torch.Generator().manual_seed(1)
    inside = 2 * torch.rand(1 << 16, dimension, dtype=DOUBLE, generator=generator) - 1
    faces = torch.where(torch.rand(inside.shape, generator=generator) < 0.5, inside.sign(), inside)
    places = difference.places(torch.cat([inside, faces, inside.sign()]))
    best = places[difference.evaluated(places).abs().argsort(descending=True)[:32]]
    bracket = lower_end(difference, best, lambda: places[:4096], difference._domain).bracket
    return bracket.lower, bracket.where


def gate() -> tuple[str, Difference]:
    """Return four tanh neurons that multiply two numbers, with output weights of 5e9 that cancel."""
    rate, bias = 1e-5, 0.7
    signs = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]], dtype=DOUBLE)
    curvature = -2.0 * math.tanh(bias) * (1.0 - math.tanh(bias) ** 2)
    last = torch.tensor([[1.0, 1.0, -1.0, -1.0]], dtype=DOUBLE) / (4.0 * rate**2 * curvature)
    biases = torch.full((4,), bias, dtype=DOUBLE), torch.zeros(1, dtype=DOUBLE)
    net = dense.Dense((rate * signs, last), biases, "tanh")
    return "product 2-D 1x4 by hand", Difference(lambda x: x[:, 0] * x[:, 1], net, [(-1.0, 1.0)] * 2, [net])


class InFloat64(Methods):
    """The methods without double-double."""

    precise = ()


def measure_tiny(name: str, difference: Difference, dimension: int) -> tuple[str, bool]:
    """Print the figures of one network with an error near roundings; return a line, and whether it closed at 1 %."""
    begun, cells = start(dimension, *known(difference, dimension)), []
    for how, methods in (("float64", InFloat64(difference)), ("double-double", Methods(difference))):
        once = time.process_time()
        pool = begin(methods, begun, 0.01, DEFAULT_BOXES, DEFAULT_BOXES)
        seconds, reached = time.process_time() - once, pool.bracket.upper / pool.bracket.lower - 1
        show(f"{name}, {how}: time", seconds, "s")
        show(f"{name}, {how}: boxes", pool.done, "boxes")
        show(f"{name}, {how}: proved", reached, "upper/lower - 1")
        cells.append(f"{1000 * seconds:9.1f} ms {pool.done:8d} {pool.status:<6} {reached:8.1e}")
    show(f"{name}: error", pool.bracket.lower, "proved from below")
    return f"{name:<36} {pool.bracket.lower:8.1e} | " + " | ".join(cells), pool.status == "closed"


class LinesAlone(Methods):
    """The methods there were before Taylor models."""

    def __init__(self, difference: Difference) -> None:
        super().__init__(difference)
        self.orders = ()


def proved(difference: Difference, begun: Pool, gap: float, boxes: int, lines: bool) -> tuple[Pool, float]:
    """Return what was proved, and the seconds of the process that it took."""
    methods = LinesAlone(difference) if lines else Methods(difference)
    once = time.process_time()
    pool = advance(difference, begun, gap, boxes, methods=methods)
    seconds = time.process_time() - once
    for _ in range(2 if pool.done < SMALL else 0):
        once = time.process_time()
        advance(difference, begun, gap, boxes, methods=methods)
        seconds = min(seconds, time.process_time() - once)
    return pool, seconds


def measure(row: Row, quick: bool) -> tuple[list[str], list[bool], list[bool]]:
    """Print the figures of one network; return lines of the table, and of each gap whether it closed, and in time."""
    difference = row.difference()
    begun, lines, closed, quickly = start(row.dimension, *known(difference, row.dimension)), [], [], []
    for gap in GAPS[row.dimension][: 1 if quick else None]:
        cells = [f"{row.name:<36} {begun.lower:8.1e} {100 * gap:7g} %"]
        for name, by_lines in (("lines", True), ("Taylor", False)):
            pool, seconds = proved(difference, begun, gap, BOXES[quick], by_lines)
            what = f"{row.name}, {100 * gap:g} %, {name}"
            show(f"{what}: time", seconds, "s")
            show(f"{what}: boxes", pool.done, "boxes")
            reached = pool.bracket.upper / pool.bracket.lower - 1
            show(f"{what}: proved", reached, "upper/lower - 1")
            order = f" k={pool.order}" if not by_lines else ""
            cells.append(f"{1000 * seconds:9.1f} ms {pool.done:8d} {pool.status:<6} {reached:8.1e}{order}")
        closed.append(pool.status == "closed" or (pool.status == "floor" and reached < 0.01))
        quickly.append(closed[-1] and seconds <= SECONDS[row.dimension])
        lines.append(" | ".join(cells))
    return lines, closed, quickly


def main() -> None:
    """Certify all networks both ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer networks, short trainings, small budgets")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    tiny = [measure_tiny(*gate(), 2), *(measure_tiny(row.name, row.difference(), row.dimension) for row in TINY)]
    measured = [measure(row, quick) for row in (QUICK if quick else [*LEAST_SQUARES, *TRAINED])]
    closed, quickly = ([value for row in measured for value in row[part]] for part in (1, 2))
    show("closed near rounding errors", sum(done for _, done in tiny) / len(tiny), "share", 0.99)
    show("closed by Taylor models", sum(closed) / len(closed), "share", 0.95)
    show("closed in the time aimed at", sum(quickly) / len(quickly), "share", 0.5)
    print(*[line for lines, *_ in measured for line in lines], *[line for line, _ in tiny], sep="\n")


if __name__ == "__main__":
    main()
