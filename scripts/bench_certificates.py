#!/usr/bin/env python
"""Seconds and boxes to a proved sup-norm, to 10 % and to 1 %, by dimension, activation and width, on one CPU thread.

First the bounds of ReLU networks alone, by compiled loops and by the torch code that is their specification: seconds
for a box, in turn in one run. Then networks with three hidden layers are trained. Every certificate begins without a
lower bound, so that finding where the error is largest is part of the work. Seconds are of the process; a budget ends
what would take too long.
Prints one JSON line per figure, `floor` being the boxes per second, the ratio of torch code to compiled loops, or the
share of closed certificates, demanded at least; then a table. --quick takes under 50 s.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from itertools import pairwise, product
from statistics import median

import hpcsweep  # noqa: F401 - before torch: the code path of MKL

# isort: split

import torch
from json_lines import show
from torch import Tensor

from hpcsweep.approx import models
from hpcsweep.approx.supnorm import dense
from hpcsweep.approx.supnorm.certificate.certify import Pool, advance, start
from hpcsweep.approx.supnorm.certificate.enclosure.difference import Difference
from hpcsweep.approx.supnorm.certificate.enclosure.layers import InputBoxes, Layers
from hpcsweep.approx.training import train
from hpcsweep.config import OptimizerConfig

DOUBLE = torch.float64
DIMENSIONS, ACTIVATIONS, WIDTHS, GAPS = (1, 2, 3, 4), ("relu", "tanh"), (16, 32, 64, 128), (0.1, 0.01)
QUICK_WIDTHS = (16, 64)
BOXES = {True: 20_000, False: 3_000_000}  # the budget of a certificate, if quick or not
STEPS = {True: 300, False: 4000}
SHAPES = list(product((1, 2, 4, 6), (16, 32, 64), (2, 3)))  # dimension, width, hidden layers, of bounds alone
ALIKE, TURNS, FASTER = 3072, 5, 3.0  # boxes bounded at once, how often, and by which factor loops must be faster
RATE = {16: 20_000.0, 32: 15_000.0, 64: 8_000.0, 128: 3_000.0}  # boxes per second demanded of long runs, by width


def target(places: Tensor) -> Tensor:
    """A wave with an envelope; log(sin 10 x + 2) + sin x of one variable."""
    dimension = places.shape[1]
    if dimension == 1:
        return torch.log(torch.sin(10 * places[:, 0]) + 2) + torch.sin(places[:, 0])
    waves = torch.arange(1, dimension + 1, dtype=DOUBLE) / dimension**0.5
    return torch.cos((places * waves).sum(1)) * torch.exp(places.square().sum(1) * (-0.5 / dimension))


@dataclass(frozen=True)
class Row:
    """One network to certify."""

    dimension: int
    activation: str
    width: int

    @property
    def name(self) -> str:
        """What the row is called in the output."""
        return f"{self.dimension}-D, {self.activation}, width {self.width}"

    def trained(self, steps: int) -> dense.Dense:
        """Return a network trained on 2000 samples per axis."""
        domain = ((-1.0, 1.0),) * self.dimension
        choice = {"hidden": [self.width] * 3, "activation": self.activation}
        model = models.make(choice, self.dimension, domain)
        generator = torch.Generator().manual_seed(self.dimension)
        places = 2 * torch.rand(1, 2000 * self.dimension, self.dimension, generator=generator, dtype=DOUBLE) - 1
        settings = OptimizerConfig(steps=steps, batch=256, learning_rate=3e-3, schedule="cosine")
        made = train(model, model.init([self.width], DOUBLE), places, target(places[0])[None], [settings], [0])
        return dense.of(model, made.parameters[0])[0]


def certified(row: Row, network: dense.Dense, gap: float, boxes: int) -> tuple[Pool, float]:
    """Return what was proved, and the seconds it took."""
    difference = Difference(target, network, ((-1.0, 1.0),) * row.dimension, [network])
    begun = time.process_time()
    pool = advance(difference, start(row.dimension, 0.0, ()), gap, boxes)
    return pool, time.process_time() - begun


def measure(row: Row, quick: bool) -> tuple[str, int]:
    """Print the figures of one network; return its line of the table, and how many certificates closed."""
    network = row.trained(STEPS[quick])
    cells, closed = [f"{row.name:<24}"], 0
    for gap in GAPS:
        pool, seconds = certified(row, network, gap, BOXES[quick])
        closed += pool.status == "closed"
        bracket, long = pool.bracket, pool.done > 5000
        what = f"{row.name}, {100 * gap:g} %"
        show(f"{what}: time", seconds, "s")
        show(f"{what}: boxes", pool.done, "boxes")
        show(f"{what}: rate", pool.done / seconds, "boxes/s", None if quick or not long else RATE[row.width])
        show(f"{what}: proved", bracket.upper / bracket.lower - 1, "upper/lower - 1", None)
        cells.append(f"{seconds:8.2f} s {pool.done:9d} boxes {pool.status:<7}")
    return " ".join([*cells, f"{bracket.lower:.4g}"]), closed


def bound_seconds(dimension: int, width: int, layers: int) -> tuple[float, float]:
    """Return the seconds that bounding a random network takes for a box, by compiled loops and by torch code."""
    generator = torch.Generator().manual_seed(width)
    widths = [dimension, *[width] * layers, 1]
    weights = [torch.randn(o, i, generator=generator, dtype=DOUBLE) / i**0.5 for i, o in pairwise(widths)]
    biases = [0.3 * torch.randn(o, generator=generator, dtype=DOUBLE) for o in widths[1:]]
    network = dense.Dense(tuple(weights), tuple(biases), "relu")
    layers, everything, seconds = Layers(network), (slice(0, ALIKE),) * 2, [float("inf")] * 2
    centers = 1.8 * torch.rand(ALIKE, dimension, generator=generator, dtype=DOUBLE) - 0.9
    inputs = InputBoxes(centers, torch.full_like(centers, 0.02), torch.zeros_like(centers))
    for _ in range(TURNS):
        for number, bound in enumerate((layers.compiled_values, layers.values)):
            begun = time.process_time()
            bound(inputs, everything, False)
            seconds[number] = min(seconds[number], (time.process_time() - begun) / ALIKE)
    return seconds[0], seconds[1]


def bounds_alone() -> None:
    """Print the seconds for a box of each shape, and by which factor loops are faster."""
    ratios = []
    for dimension, width, layers in SHAPES:
        loops, specification = bound_seconds(dimension, width, layers)
        ratios.append(specification / loops)
        what = f"{dimension}-D, relu, {layers}x{width}, bounds alone"
        show(f"{what}: compiled", 1e6 * loops, "us/box")
        show(f"{what}: torch / compiled", ratios[-1], "times")
    show("bounds alone: torch / compiled, least", min(ratios), "times", FASTER)
    show("bounds alone: torch / compiled, median", median(ratios), "times", FASTER)


def main() -> None:
    """Certify networks of all shapes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two widths, short trainings, small budgets")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    bounds_alone()
    shapes = [Row(*shape) for shape in product(DIMENSIONS, ACTIVATIONS, QUICK_WIDTHS if quick else WIDTHS)]
    lines, closed = zip(*[measure(row, quick) for row in shapes], strict=True)
    show("closed certificates", sum(closed) / (len(GAPS) * len(shapes)), "share", 0.8 if quick else 0.95)
    print(f"{'':24} {'10 %':>10} {'1 %':>32}", *lines, sep="\n")


if __name__ == "__main__":
    main()
