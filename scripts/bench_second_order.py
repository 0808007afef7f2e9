#!/usr/bin/env python
"""Levenberg-Marquardt and least squares, on one thread of a CPU: how fast, and how deep.

Prints one JSON line per figure; `floor` is the figure demanded: at least so much of a ratio ("x"), at most so much of
an error. --quick takes less than 50 s.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator

import hpcsweep  # noqa: F401 - before torch: the code path of MKL

# isort: split

import torch
from torch import Tensor

from hpcsweep.approx.models import MLP
from hpcsweep.approx.training.engine import Engine, Layout
from hpcsweep.approx.training.optimizers.damping import NormalEquations
from hpcsweep.approx.training.optimizers.least_squares import LeastSquares
from hpcsweep.approx.training.optimizers.levenberg_marquardt import LevenbergMarquardt
from hpcsweep.approx.training.optimizers.optimizer import Optimizer

Row = tuple[str, float, str, float | None]
Function = Callable[[Tensor], Tensor]


def sine(x: Tensor) -> Tensor:
    """One period on [-1, 1] and another."""
    return torch.sin(2 * math.pi * x)


def runge(x: Tensor) -> Tensor:
    """Runge's function."""
    return 1 / (1 + 25 * x * x)


def problem(hidden: list[int], samples: int, slots: int, function: Function) -> tuple[MLP, Engine]:
    """Return tanh networks, as torch draws them, that are to learn a function from its values at Chebyshev points."""
    model = MLP({"hidden": hidden}, 1, [(-1.0, 1.0)])
    layout = Layout(model.widths, slots)
    engine = Engine(layout, "tanh", samples, torch.empty(slots * layout.parameters, dtype=torch.float64))
    layout.fill(engine.weights, model.init(range(slots), torch.float64))
    points = torch.cos(torch.linspace(math.pi, 0, samples, dtype=torch.float64))
    engine.feed(points.view(1, -1, 1).expand(slots, -1, 1), function(points).expand(slots, -1))
    return model, engine


def rate(work: Callable[[], object], seconds: float) -> float:
    """Return how often a piece of work is done per second of processor time, by the median of five stretches."""
    work()
    rates = []
    for _ in range(5):
        begun, count = time.process_time(), 0
        while time.process_time() - begun < seconds / 5:
            work()
            count += 1
        rates.append(count / (time.process_time() - begun))
    return statistics.median(rates)


def stepper(optimizer: Optimizer, engine: Engine, dual: bool | None = None) -> Callable[[], None]:
    """Return a function that does one step of all slots; `dual` chooses the form of the normal equations."""
    state, loss = optimizer.init(engine), torch.empty(engine.layout.slots, dtype=torch.float64)
    if dual is not None:
        layout = engine.layout
        state.equations = NormalEquations(layout.slots, layout.parameters, engine.samples, engine.weights, dual)
    return lambda: optimizer.step(engine, state, 0, torch.empty(0), loss)


def one_by_one(model: MLP, engine: Engine) -> Callable[[], None]:
    """Return a function that does one plain step of one network: torch.func.jacrev, one damping, torch.linalg.solve."""
    points, values = engine.points[0].T.contiguous(), engine.values[0, 0]
    state = {"at": engine.layout.rows(engine.weights)[0], "damping": 1e-2, "loss": math.inf}

    def residuals(at: Tensor) -> Tensor:
        return model.apply(at, points) - values

    def step() -> None:
        at, damping = state["at"], state["damping"]
        r, J = residuals(at), torch.func.jacrev(residuals)(at)  # (samples,), (samples, parameters)
        A = J.T @ J
        A.diagonal().add_(damping * A.diagonal().mean())
        trial = at - torch.linalg.solve(A, J.T @ r)
        loss = float(residuals(trial).square().mean())
        accepted = loss < float(r.square().mean())
        state.update({"at": trial if accepted else at, "damping": damping * (0.3 if accepted else 3)})

    return step


def dual_against_primal(seconds: float) -> Iterator[Row]:
    """Whole steps, each with a Jacobian, two dampings and acceleration, at 1153 parameters and 100 samples."""
    rates = {}
    for dual in (False, True):
        _, engine = problem([32, 32], 100, 4, sine)
        rates[dual] = 4 * rate(stepper(LevenbergMarquardt(), engine, dual), seconds)
        yield f"lm_1153_parameters_100_samples_{'dual' if dual else 'primal'}", rates[dual], "iterations/s", None
    yield "lm_1153_parameters_100_samples_dual_against_primal", rates[True] / rates[False], "x", 20.0


def against_one_by_one(hidden: list[int], samples: int, slots: int, seconds: float) -> Iterator[Row]:
    """Steps with two dampings and acceleration, packed, against plain steps (which are less work) one by one."""
    model, engine = problem(hidden, samples, slots, sine)
    name = f"lm_{model.parameters}_parameters_{samples}_samples"
    alone = rate(one_by_one(model, engine), seconds)
    packed = slots * rate(stepper(LevenbergMarquardt(), engine), seconds)
    yield f"{name}_jacrev_and_solve", alone, "iterations/s", None
    yield f"{name}_{slots}_slots", packed, "iterations/s", None
    yield f"{name}_{slots}_slots_against_jacrev_and_solve", packed / alone, "x", None


def largest_errors(model: MLP, engine: Engine, function: Function) -> Tensor:
    """Return the largest error of each network on 4001 points, sorted."""
    grid = torch.linspace(-1, 1, 4001, dtype=torch.float64)
    rows = engine.layout.rows(engine.weights)
    return torch.stack([(model.apply(row, grid[:, None]) - function(grid)).abs().max() for row in rows]).sort()[0]


def random_features(function: Function, feature_scale: float) -> Iterator[Row]:
    """Least squares on 400 random features, 8 networks."""
    model, engine = problem([400], 400, 8, function)
    begun = time.process_time()
    stepper(LeastSquares(feature_scale), engine)()
    milliseconds = (time.process_time() - begun) / 8 * 1e3
    errors, name = largest_errors(model, engine, function), f"least_squares_{function.__name__}"
    yield f"{name}_median_largest_error", float(errors.median()), "1", 1e-12
    yield f"{name}_time", milliseconds, "ms/network", None


def depth(function: Function, seconds: float) -> Iterator[Row]:
    """Largest errors of 8 networks of width 16, two layers, after so many seconds of processor time each."""
    model, engine = problem([16, 16], 200, 8, function)
    step, begun = stepper(LevenbergMarquardt(), engine), time.process_time()
    while time.process_time() - begun < 8 * seconds:
        step()
    errors = largest_errors(model, engine, function)
    yield f"lm_{function.__name__}_{seconds:g}_s_best_largest_error", float(errors[0]), "1", None
    yield f"lm_{function.__name__}_{seconds:g}_s_median_largest_error", float(errors.median()), "1", None


def rows(quick: bool) -> Iterator[Row]:
    """Yield all figures."""
    seconds = 1.0 if quick else 5.0
    for function, feature_scale in ((sine, 3.0), (runge, 10.0)):
        yield from random_features(function, feature_scale)
    yield from dual_against_primal(seconds)
    for hidden, samples, slots in (([8, 8], 100, 16), ([16, 16], 200, 4), ([16, 16], 400, 4)):
        yield from against_one_by_one(hidden, samples, slots, seconds)
    for function in (sine, runge):
        yield from depth(function, 0.7 if quick else 5.0)


def main() -> None:
    """Print the figures as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="shorter stretches")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    for name, value, unit, floor in rows(quick):
        print(json.dumps({"name": name, "value": float(f"{value:.3g}"), "unit": unit, "floor": floor}), flush=True)


if __name__ == "__main__":
    main()
