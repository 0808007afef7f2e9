#!/usr/bin/env python
"""The equal-cost race of all methods: networks with 5 seconds of one core each, on four functions.

They learn a sine, Runge's function, a function of two variables and log(sin(10 x) + 2) + sin(x). Errors are maxima over
4001 points (101^2 in two dimensions) between the samples, of the best and of the median of eight networks. Methods with
a learning rate run with four of them and two networks each, on a cosine as long as the time allows. Least squares takes
a layer of 400 random features, at the best of three scales.

Prints one JSON line per figure; `floor` is the figure demanded. --quick takes under 50 s and demands nothing.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import hpcsweep  # noqa: F401 - before torch: the code path of MKL

# isort: split

import matplotlib
import torch
from json_lines import show
from torch import Tensor

from hpcsweep.approx.models import MLP
from hpcsweep.approx.training import Trained, optimizers, train
from hpcsweep.config import OptimizerConfig

matplotlib.use("Agg")
from matplotlib import pyplot

DOUBLE = torch.float64
NETWORKS, SECONDS = 8, 5.0
RATES = {"sgd": (0.03, 0.1, 0.2, 0.5), "muon": (3e-3, 1e-2, 2e-2, 5e-2)}
USUAL_RATES = (1e-3, 3e-3, 1e-2, 3e-2)
FLOORS = {("ssbroyden", "sine"): 1e-10, ("ssbroyden", "Runge"): 3e-11, ("ssbroyden", "2-D"): 3e-8}


@dataclass(frozen=True)
class Problem:
    """A function on [-1, 1]^dimension, sampled in Chebyshev's points, and the network to fit to it."""

    name: str
    dimension: int
    hidden: tuple[int, ...]
    samples: int  # per axis
    function: Callable[[Tensor], Tensor]

    @property
    def model(self) -> MLP:
        """The network."""
        return MLP({"hidden": list(self.hidden)}, self.dimension, [(-1.0, 1.0)] * self.dimension)

    def points(self, axis: Tensor) -> Tensor:
        """Return the grid (points, dimension) on these coordinates."""
        return torch.cartesian_prod(*[axis] * self.dimension).reshape(-1, self.dimension)

    def train(self, chosen: list[OptimizerConfig], seeds: list[int]) -> Trained:
        """Train one network for each of the settings."""
        points = self.points(torch.cos(math.pi * torch.linspace(0, 1, self.samples, dtype=DOUBLE)))
        data = points.expand(len(chosen), -1, -1), self.function(points).expand(len(chosen), -1)
        return train(self.model, self.model.init(seeds, DOUBLE), *data, chosen, seeds)

    def errors(self, rows: Tensor) -> list[float]:
        """Return the maximal errors of networks (networks, parameters) between the samples, sorted."""
        points = self.points(torch.linspace(-1, 1, 4001 if self.dimension == 1 else 101, dtype=DOUBLE))
        values, model = self.function(points), self.model
        return sorted(float((model.apply(row, points) - values).abs().max().nan_to_num(math.inf)) for row in rows)


PROBLEMS = (
    Problem("sine", 1, (16, 16), 200, lambda x: torch.sin(2 * math.pi * x[:, 0])),
    Problem("Runge", 1, (16, 16), 200, lambda x: 1 / (1 + 25 * x[:, 0] ** 2)),
    Problem(
        "2-D",
        2,
        (20, 20),
        30,
        lambda x: torch.exp(x[:, 0] * x[:, 1]) * torch.sin(math.pi * x[:, 0]) * torch.cos(math.pi * x[:, 1] / 2),
    ),
    Problem("log-sine", 1, (20, 20), 400, lambda x: torch.log(torch.sin(10 * x[:, 0]) + 2) + torch.sin(x[:, 0])),
)


def race(name: str, problem: Problem, seconds: float) -> tuple[list[float], int]:
    """Return the maximal errors of 8 networks, sorted, after so many seconds each, and the most steps that one did."""
    if name == "least_squares":
        return features(problem)
    if not optimizers.needs(name).rate:
        trained = problem.train([OptimizerConfig(name, steps=10**9, seconds=seconds)] * NETWORKS, list(range(NETWORKS)))
        return problem.errors(trained.parameters), int(trained.steps.max())
    probe = problem.train([OptimizerConfig(name, steps=10**9, seconds=min(0.5, seconds))], [0])
    steps = max(100, int(probe.steps[0] * seconds / min(0.5, seconds)))
    rates = RATES.get(name, USUAL_RATES)
    chosen = [
        OptimizerConfig(name, steps=steps, learning_rate=rate, schedule="cosine") for rate in rates for _ in range(2)
    ]
    trained = problem.train(chosen, [0, 1] * len(rates))
    return problem.errors(trained.parameters), steps


def features(problem: Problem) -> tuple[list[float], int]:
    """Return the errors of least squares in 400 random features, at the best of three scales."""
    wide, tried = replace(problem, hidden=(400,)), []
    for scale in (1.0, 3.0, 10.0):
        chosen = [OptimizerConfig("least_squares", steps=1, options={"feature_scale": scale})] * NETWORKS
        tried.append(wide.errors(wide.train(chosen, list(range(NETWORKS))).parameters))
    return min(tried), 1


def draw(rows: dict[str, dict[str, tuple[float, float]]], seconds: float, path: Path) -> None:
    """Draw best (dot) and median (bar's end) of each method, one panel per problem."""
    figure, panels = pyplot.subplots(1, len(rows), figsize=(3.2 * len(rows), 4), sharey=True, layout="constrained")
    for panel, (problem, errors) in zip(panels, rows.items(), strict=True):
        for place, (best, median) in enumerate(errors.values()):
            if math.isfinite(best):
                panel.plot([best, min(median, 10)], [place] * 2, color="0.6", linewidth=3)
                panel.plot(best, place, "o", color="tab:blue")
        panel.set(xscale="log", xlim=(1e-15, 10), title=problem, xlabel="maximal error", yticks=range(len(errors)))
        panel.set_yticklabels(list(errors))
        panel.grid(axis="x", alpha=0.3)
    figure.suptitle(f"{seconds:g} s per network on one thread; dot: best of {NETWORKS}, bar: to the median")
    figure.savefig(path)


def main() -> None:
    """Run the race."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="0.05 seconds for each network instead of 5")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each network, instead of 5")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=optimizers.NAMES, help="these methods alone")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the race")
    options = parser.parse_args()
    torch.set_num_threads(1)
    seconds = 0.05 if options.quick else options.seconds
    rows: dict[str, dict[str, tuple[float, float]]] = {problem.name: {} for problem in PROBLEMS}
    for name in options.only:
        for problem in PROBLEMS:
            errors, steps = race(name, problem, seconds)
            best, median = errors[0], errors[NETWORKS // 2]
            rows[problem.name][name] = best, median
            floor = FLOORS.get((name, problem.name)) if seconds >= SECONDS else None
            show(f"{name}, {problem.name}: best", best, "maximal error", floor)
            show(f"{name}, {problem.name}: median", median, "maximal error", None)
            show(f"{name}, {problem.name}: steps", steps, "steps", None)
    if options.figure:
        draw(rows, seconds, options.figure)


if __name__ == "__main__":
    main()
