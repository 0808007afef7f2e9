#!/usr/bin/env python
"""How much of the sup-norm error a search sees at equal cost: three point sets against the meter's screen with ascent.

Networks are trained first: ReLU and tanh, few samples and many, in 1, 2, 3, 4, 6 and 8 dimensions. Then every search
gets the same number of evaluations of the error; a value with its gradient counts as many as it was measured to cost.
The truth is the largest error that anything found, a search with many times the evaluations included.

Prints one JSON line per figure, 1 - seen/truth over networks and seeds; `floor` is the figure demanded, at most. Then a
table. --quick takes under a minute.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import hpcsweep  # noqa: F401 - before torch: the code path of MKL

# isort: split

import matplotlib
import torch
from json_lines import show
from torch import Tensor

from hpcsweep.approx import models
from hpcsweep.approx.supnorm import dense, points
from hpcsweep.approx.supnorm.screening.screen import evaluate
from hpcsweep.approx.supnorm.search import ascent, kinks
from hpcsweep.approx.supnorm.search.refine import AGAIN, STEPS, refine
from hpcsweep.approx.training import train
from hpcsweep.config import OptimizerConfig

matplotlib.use("Agg")
from matplotlib import pyplot

Table = dict[str, dict[int, tuple[float, float]]]  # [search][dimension]: median and worst missing part

DOUBLE = torch.float64
DIMENSIONS = (1, 2, 3, 4, 6, 8)
KINDS = ("uniform", "sobol", "grid")
TILE = 1024
LONG = 2000  # training steps of a full run
LEAST = 1e-16  # what the picture shows of less
FLOORS = {1: 1e-6, 2: 1e-6, 3: 1e-6, 4: 1e-6, 6: 1e-3, 8: 1e-3}  # of the median of the meter, full run


def target(places: Tensor) -> Tensor:
    """A wave with an envelope; log(sin 10 x + 2) + sin x of one variable."""
    if places.shape[1] == 1:
        return torch.log(torch.sin(10 * places[:, 0]) + 2) + torch.sin(places[:, 0])
    numbers = torch.arange(1, places.shape[1] + 1, dtype=places.dtype)
    wave = torch.cos((places * numbers).sum(1) / math.sqrt(places.shape[1]))
    return wave * torch.exp(-torch.square(places).mean(1) / 2)


@dataclass(frozen=True, eq=False)
class Subject:
    """A trained network on [-1, 1]^dimension."""

    name: str
    domain: points.Domain
    term: dense.Dense
    samples: Tensor

    def error(self, places: Tensor) -> Tensor:
        """Return the signed error, (places,)."""
        return target(places) - self.term(places)


def subjects(dimension: int, steps: int, several: int) -> Iterator[Subject]:
    """Train networks: ReLU and tanh, on 30 samples per axis and on 1000, `several` of each."""
    domain = ((-1.0, 1.0),) * dimension
    for activation in ("relu", "tanh"):
        for count, batch in ((30 * dimension, None), (1000 * dimension, 128)):
            model = models.make({"hidden": [32, 32, 32], "activation": activation}, dimension, domain)
            generator = torch.Generator().manual_seed(1000 * dimension + count)
            samples = 2 * torch.rand(several, count, dimension, generator=generator, dtype=DOUBLE) - 1
            values = torch.stack([target(some) for some in samples])
            settings = OptimizerConfig(steps=steps, batch=batch, learning_rate=5e-3, schedule="cosine")
            seeds = range(several)
            trained = train(model, model.init(seeds, DOUBLE), samples, values, [settings] * several, seeds)
            for one, row in enumerate(trained.parameters):
                (term,) = dense.of(model, row)
                yield Subject(f"{activation}, {count} samples", domain, term, samples[one])


def worst(subject: Subject, places: Callable[[int, int], Tensor], count: int, kept: int = 1) -> tuple[Tensor, Tensor]:
    """Return the `kept` largest |error| of `count` points, and the points."""
    values, best = torch.empty(0, dtype=DOUBLE), torch.empty(0, len(subject.domain), dtype=DOUBLE)
    for start in range(0, count, TILE):
        some = places(start, TILE)[: count - start]
        values, best = torch.cat([values, evaluate(subject.error, some).abs()]), torch.cat([best, some])
        chosen = ascent.largest_first(values)[:kept]
        values, best = values[chosen], best[chosen]
    return values, best


def by_points(kind: str, subject: Subject, total: int, seed: int) -> tuple[float, float]:
    """Return the largest |error| on a point set, and what it cost. A grid may be smaller or larger than asked."""
    some = points.make(kind, len(subject.domain), total, seed, subject.domain)
    return float(worst(subject, some, some.count)[0]), some.count


def by_meter(subject: Subject, total: int, seed: int) -> tuple[float, float]:
    """Return the largest |error| that a screen with ascent finds, and what it cost."""
    # One half screens, three eighths climb (from the best of five places for each start), one eighth looks for kinks.
    climb = ascent.GRADIENT_COST * (1 + STEPS * (1 + AGAIN)) + 5
    kink = ascent.GRADIENT_COST * kinks.PROJECTIONS + 1
    screened, starts = total // 2, max(1, int(3 / 8 * total / climb))
    inflated = points.make("inflated", len(subject.domain), screened, seed, subject.domain)
    _, candidates = worst(subject, inflated, screened, starts)
    found = refine(
        subject.error,
        candidates,
        subject.domain,
        terms=[subject.term],
        samples=subject.samples,
        starts=starts,
        kinks=int(total / 8 / kink),
        seed=seed,
    )
    return found.value, screened + found.values + ascent.GRADIENT_COST * found.gradients


def race(subject: Subject, total: int, seeds: int, more: int) -> dict[str, tuple[list[float], float, float]]:
    """Return for each search the missing parts of the truth, evaluations and seconds of one run.

    The truth is the largest of everything found, and by the meter with `more` times the evaluations.
    """
    searches = {kind: lambda seed, kind=kind: by_points(kind, subject, total, seed) for kind in KINDS}
    searches["meter"] = lambda seed: by_meter(subject, total, seed)
    found, spent = {}, {}
    for name, search in searches.items():
        begun = time.perf_counter()
        runs = [search(seed) for seed in range(seeds)]
        found[name] = [value for value, _ in runs]
        spent[name] = (runs[0][1], (time.perf_counter() - begun) / seeds)
    truth = max(by_meter(subject, more * total, seeds)[0], *(max(values) for values in found.values()))
    return {name: ([1 - value / truth for value in values], *spent[name]) for name, values in found.items()}


def from_below(exponent: int, steps: int, several: int, seeds: int, more: int) -> Table:
    """Race all searches in all dimensions; print the figures and return the missing parts."""
    table: Table = {}
    for dimension in DIMENSIONS:
        missing: dict[str, list[float]] = {}
        spent: dict[str, list[float]] = {}
        for subject in subjects(dimension, steps, several):
            for name, (parts, cost, seconds) in race(subject, 2**exponent, seeds, more).items():
                missing.setdefault(name, []).extend(parts)
                spent.setdefault(name, []).append(cost)
                show(f"{name}, {dimension}-D, {subject.name}: seconds", seconds, "s", None)
        for name, parts in missing.items():
            middle, most = statistics.median(parts), max(parts)
            floor = FLOORS[dimension] if steps == LONG and name == "meter" else None
            show(f"{name}, {dimension}-D: median", middle, "missing part of the sup-norm", floor)
            show(f"{name}, {dimension}-D: worst", most, "missing part of the sup-norm", None)
            show(f"{name}, {dimension}-D: cost", max(spent[name]) / 2**exponent, "of the budget", None)
            table.setdefault(name, {})[dimension] = middle, most
    return table


def write(table: Table, exponent: int) -> None:
    """Print median and worst of the missing parts, one line per search."""
    print(f"\nmissing part of the sup-norm at 2^{exponent} evaluations, median / worst")
    print(f"{'':8}" + "".join(f"{f'{dimension}-D':>18}" for dimension in DIMENSIONS))
    for name, row in table.items():
        print(f"{name:8}" + "".join(f"{f'{middle:.0e} / {most:.0e}':>18}" for middle, most in row.values()))


def draw(table: Table, exponent: int, path: Path) -> None:
    """Draw median (dot) and worst (bar's end) of every search over the dimension."""
    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    for place, (name, row) in enumerate(table.items()):
        for number, (middle, most) in enumerate(row.values()):
            at = number + 0.15 * (place - len(table) / 2 + 0.5)
            low, high = max(middle, LEAST), max(most, LEAST)
            axes.plot([at, at], [low, high], color=f"C{place}", linewidth=3, alpha=0.4)
            axes.plot(at, low, "o", color=f"C{place}", label=name if number == 0 else None)
    axes.set(yscale="log", ylim=(LEAST / 2, 1.5), ylabel="missing part of the sup-norm", xlabel="dimension")
    axes.set_xticks(range(len(DIMENSIONS)), [str(dimension) for dimension in DIMENSIONS])
    axes.set_title(f"$2^{{{exponent}}}$ evaluations each; dot: median, bar: to the worst", fontsize=10)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(ncols=len(table), fontsize=8, loc="lower center", bbox_to_anchor=(0.5, -0.3), frameon=False)
    figure.savefig(path)


def main() -> None:
    """Run the races."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one network of each kind, briefly trained")
    parser.add_argument("--exponent", type=int, default=15, metavar="N", help="2^N evaluations for each search")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    steps, several, seeds, more = (200, 1, 1, 4) if options.quick else (LONG, 4, 5, 32)
    table = from_below(options.exponent, steps, several, seeds, more)
    write(table, options.exponent)
    if options.figure:
        draw(table, options.exponent, options.figure)


if __name__ == "__main__":
    main()
