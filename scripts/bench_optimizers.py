#!/usr/bin/env python
"""The equal-cost race of all optimizers: 8 networks each, on a sine, Runge's function, a function of two variables and
log(sin(10 x) + 2) + sin(x), for 40 seconds of one CPU thread; then what a line search costs, and BFGS against SciPy's.

Errors are maxima over 4001 points (101^2 in two dimensions) between the samples. Methods with a learning rate run with
four of them and two networks each, on a cosine as long as the time allows; the best of them counts, and their median.
Least squares takes a layer of 400 random features, and one step.
Prints one JSON line per figure; `floor` is the figure demanded. --quick takes under a minute and demands little.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import hpcsweep  # noqa: F401 - before torch: the code path of MKL

# isort: split

import matplotlib
import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from hpcsweep.approx import models
from hpcsweep.approx.training import optimizers
from hpcsweep.approx.training.engine import Engine, Layout

matplotlib.use("Agg")
from matplotlib import pyplot

DOUBLE = torch.float64
NETWORKS, SECONDS = 8, 40.0
RATES = {"sgd": (0.03, 0.1, 0.2, 0.5), "muon": (3e-3, 1e-2, 2e-2, 5e-2)}
USUAL_RATES = (1e-3, 3e-3, 1e-2, 3e-2)
FLOORS = {("ssbroyden", "sine"): 3e-9, ("ssbroyden", "Runge"): 5e-10, ("ssbroyden", "2-D"): 1e-6}
LINE_SEARCHES = ("lbfgs", "bfgs", "ssbfgs", "ssbroyden")


@dataclass(frozen=True)
class Problem:
    """A function on [-1, 1]^dimension, sampled in Chebyshev's points, and the network to fit to it."""

    name: str
    dimension: int
    hidden: tuple[int, ...]
    samples: int  # per axis
    function: Callable[[Tensor], Tensor]

    def points(self, axis: Tensor) -> Tensor:
        """Return the grid (points, dimension) on these coordinates."""
        return torch.cartesian_prod(*[axis] * self.dimension).reshape(-1, self.dimension)

    def engine(self, seeds: Sequence[int]) -> tuple[models.MLP, Engine]:
        """Return the model, and an engine with one network per seed."""
        domain = [(-1.0, 1.0)] * self.dimension
        model = models.MLP({"hidden": list(self.hidden)}, self.dimension, domain)
        points = self.points(torch.cos(math.pi * torch.linspace(0, 1, self.samples, dtype=DOUBLE)))
        layout = Layout(model.widths, len(seeds))
        engine = Engine(layout, "tanh", len(points), torch.empty(layout.slots * layout.parameters, dtype=DOUBLE))
        layout.fill(engine.weights, model.init(seeds, DOUBLE))
        engine.feed(points.expand(len(seeds), -1, -1), self.function(points).expand(len(seeds), -1))
        return model, engine

    def errors(self, model: models.MLP, rows: Tensor) -> list[float]:
        """Return the maximal errors of networks (networks, parameters) between the samples, sorted."""
        points = self.points(torch.linspace(-1, 1, 4001 if self.dimension == 1 else 101, dtype=DOUBLE))
        values = self.function(points)
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
SMALL = Problem("sine", 1, (8, 8), 100, PROBLEMS[0].function)  # 97 parameters


def ticks(
    name: str, engine: Engine, rates: Callable[[int], Tensor], **settings: float
) -> Iterator[tuple[Any, Any, Tensor | None]]:
    """Let an optimizer run for ever; yield it, its state, and which slots advanced."""
    optimizer = optimizers.make(name, settings)
    state, loss = optimizer.init(engine), torch.empty(engine.layout.slots, dtype=DOUBLE)
    for tick in count():
        yield optimizer, state, optimizer.step(engine, state, tick, rates(tick), loss)


def cosine(name: str, engine: Engine, steps: int) -> Callable[[int], Tensor]:
    """Return the rates of each step: four different ones that fall to a millionth, after a warm-up of 2 %."""
    column = torch.tensor(RATES.get(name, USUAL_RATES), dtype=DOUBLE).repeat(engine.layout.slots // 4).unsqueeze(1)
    first, now = torch.empty_like(engine.weights), torch.empty_like(engine.weights)
    engine.layout.fill(first, column)

    def at(step: int) -> Tensor:
        warm = min(1.0, (step + 1) / (0.02 * steps + 1))
        return torch.mul(first, warm * (0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0))) + 1e-6), out=now)

    return at


def seconds_per_tick(name: str, problem: Problem) -> float:
    """Return the CPU seconds of a step of a method with a learning rate."""
    _, engine = problem.engine(range(NETWORKS))
    running = ticks(name, engine, cosine(name, engine, 10**6))
    for _ in range(20):
        next(running)
    begun = time.process_time()
    for _ in range(100):
        next(running)
    return (time.process_time() - begun) / 100


def race(name: str, problem: Problem, seconds: float, **settings: float) -> tuple[list[float], int]:
    """Return the maximal errors of 8 networks, sorted, after so many seconds of CPU time, and the ticks done."""
    if optimizers.needs(name).rate:
        model, engine = problem.engine([network // 4 for network in range(NETWORKS)])
        steps = max(100, int(seconds / seconds_per_tick(name, problem)))
        rates, limit = cosine(name, engine, steps), 1.5 * seconds
    else:
        model, engine = problem.engine(range(NETWORKS))
        ones = torch.ones_like(engine.weights)
        rates, steps, limit = (lambda _: ones), 10**9, seconds
    begun = time.process_time()
    for done, (optimizer, state, _) in enumerate(ticks(name, engine, rates, **settings), start=1):
        settled = optimizer.settled(engine, state)
        if done >= steps or time.process_time() - begun > limit or (settled is not None and settled.all()):
            break
    return problem.errors(model, engine.layout.rows(optimizer.iterate(engine, state))), done


def features(problem: Problem) -> tuple[list[float], int]:
    """Return the errors of least squares in 400 random features, at the best of three scales."""
    wide = replace(problem, hidden=(400,))
    return min(race("least_squares", wide, 1.0, feature_scale=scale) for scale in (1.0, 3.0, 10.0))


def evaluations_per_iterate(name: str, slots: int = 64, total: int = 500) -> float:
    """Return how many packed evaluations a method with a line search needs for one iterate of each slot."""
    _, engine = SMALL.engine(range(slots))
    ones = torch.ones_like(engine.weights)
    running = ticks(name, engine, lambda _: ones)
    iterates = sum(int(advanced.sum()) for _, (_, _, advanced) in zip(range(total), running, strict=False))
    return total * slots / iterates


def ours_per_second(seconds: float, slots: int = 64) -> float:
    """Return iterates per second of BFGS on 64 networks of 97 parameters."""
    _, engine = SMALL.engine(range(slots))
    ones, iterates, begun = torch.ones_like(engine.weights), 0, time.process_time()
    for _, _, advanced in ticks("bfgs", engine, lambda _: ones):
        iterates += int(advanced.sum())
        if time.process_time() - begun > seconds:
            return iterates / (time.process_time() - begun)
    raise AssertionError("unreachable")


def numpy_loss(weights: np.ndarray, points: np.ndarray, values: np.ndarray) -> tuple[float, np.ndarray]:
    """Return loss and gradient of one network with two hidden layers of 8, by hand: the fastest that one can do."""
    inner, middle, outer = weights[:16].reshape(8, 2), weights[16:88].reshape(8, 9), weights[88:]
    first = np.tanh(inner[:, :1] * points + inner[:, 1:])  # (8, samples)
    second = np.tanh(middle[:, :8] @ first + middle[:, 8:])
    residual = outer[:8] @ second + outer[8] - values
    delta = 2 / len(values) * residual
    above = outer[:8, None] * delta * (1 - second * second)
    below = (middle[:, :8].T @ above) * (1 - first * first)
    slopes = [np.stack([below @ points, below.sum(1)], 1).ravel()]
    slopes += [np.concatenate([above @ first.T, above.sum(1, keepdims=True)], 1).ravel(), second @ delta, [delta.sum()]]
    return float(residual @ residual) / len(values), np.concatenate(slopes)


def scipy_per_second(seconds: float) -> float:
    """Return iterates per second of SciPy's BFGS on the same networks, one by one."""
    model, engine = SMALL.engine([0, 1])
    data = engine.points[0, 0].numpy().copy(), engine.values[0, 0].numpy().copy()
    iterates, begun = 0, time.process_time()
    for seed in count():
        start, options = model.init([seed], DOUBLE)[0].numpy(), {"maxiter": 500, "gtol": 0}
        iterates += minimize(numpy_loss, start, data, jac=True, method="BFGS", options=options).nit
        if time.process_time() - begun > seconds:
            return iterates / (time.process_time() - begun)
    raise AssertionError("unreachable")


def show(name: str, value: float, unit: str, floor: float | None) -> None:
    """Print one figure; null if it is not finite."""
    rounded = float(f"{value:.4g}") if math.isfinite(value) else None
    print(json.dumps({"name": name, "value": rounded, "unit": unit, "floor": floor}), flush=True)


def draw(rows: dict[str, dict[str, tuple[float, float]]], seconds: float, path: Path) -> None:
    """Draw best (dot) and median (bar's end) of each optimizer, one panel per problem."""
    figure, panels = pyplot.subplots(1, len(rows), figsize=(3.2 * len(rows), 4), sharey=True, layout="constrained")
    for panel, (problem, errors) in zip(panels, rows.items(), strict=True):
        for place, (best, median) in enumerate(errors.values()):
            if math.isfinite(best):
                panel.plot([best, min(median, 10)], [place] * 2, color="0.6", linewidth=3)
                panel.plot(best, place, "o", color="tab:blue")
        panel.set(xscale="log", xlim=(1e-15, 10), title=problem, xlabel="maximal error", yticks=range(len(errors)))
        panel.set_yticklabels(list(errors))
        panel.grid(axis="x", alpha=0.3)
    figure.suptitle(f"{seconds / NETWORKS:g} s per network on one thread; dot: best of {NETWORKS}, bar: to the median")
    figure.savefig(path)


def main() -> None:
    """Run the race, and what line searches cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="0.3 seconds per race instead of 40")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of CPU time per race, instead of 40")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=optimizers.NAMES, help="these optimizers alone")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the race")
    options = parser.parse_args()
    torch.set_num_threads(1)
    seconds = 0.3 if options.quick else options.seconds
    rows: dict[str, dict[str, tuple[float, float]]] = {problem.name: {} for problem in PROBLEMS}
    for name in options.only:
        for problem in PROBLEMS:
            errors, done = features(problem) if name == "least_squares" else race(name, problem, seconds)
            best, median = errors[0], errors[NETWORKS // 2]
            rows[problem.name][name] = best, median
            floor = FLOORS.get((name, problem.name)) if seconds >= SECONDS else None
            show(f"{name}, {problem.name}: best", best, "maximal error", floor)
            show(f"{name}, {problem.name}: median", median, "maximal error", None)
            show(f"{name}, {problem.name}: ticks", done, "ticks", None)
    for name in LINE_SEARCHES:
        show(f"{name}: evaluations per iterate, 64 slots", evaluations_per_iterate(name), "evaluations", 1.5)
    ours, theirs = ours_per_second(seconds / 10 + 1), scipy_per_second(seconds / 10 + 1)
    show("bfgs: 97 parameters, 64 slots", ours, "iterates/s", None)
    show("scipy: 97 parameters, one by one", theirs, "iterates/s", None)
    show("bfgs: ours to scipy", ours / theirs, "ratio", 5.0)
    if options.figure:
        draw(rows, seconds, options.figure)


if __name__ == "__main__":
    main()
