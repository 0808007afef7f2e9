#!/usr/bin/env python
"""Quasi-Newton methods and Levenberg-Marquardt on one thread: iterates per second, beside others that do the same.

The others are our own batched engine, which devices use (16 networks at once), or the package in another checkout
(--against FOLDER, by its `train`), and SciPy's BFGS, one network after another, with a gradient written by hand. All
run by turns; a ratio is the median of those of neighbouring runs, in iterates of a network per second of process time.

Prints one JSON line per figure; `floor` is the least that is demanded. --quick takes less than 50 s.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import hpcsweep  # noqa: F401 - before torch: the code path of MKL

# isort: split

import numpy as np
import torch
from json_lines import show
from scipy.optimize import minimize

from hpcsweep.approx.models import MLP
from hpcsweep.approx.training import train
from hpcsweep.config import OptimizerConfig

CELLS = 16
WIDTHS = {97: 8, 321: 16, 1153: 32}  # parameters of a network with two equal hidden layers and one input
# Method, parameters, samples, ratio demanded to the engine, whether it is in --quick.
ROWS = [
    ("ssbroyden", 97, 100, 6.0, True),
    ("ssbroyden", 321, 100, 6.0, True),
    ("ssbroyden", 1153, 100, 6.0, False),
    ("ssbroyden", 97, 1000, 4.0, False),
    ("ssbroyden", 321, 1000, 4.0, False),
    ("ssbroyden", 1153, 1000, 4.0, False),
    ("bfgs", 97, 100, 4.0, True),
    ("bfgs", 321, 100, 4.0, False),
    ("lbfgs", 97, 100, 4.0, True),
    ("lbfgs", 321, 100, 4.0, False),
    ("levenberg_marquardt", 97, 100, 2.0, True),
    ("levenberg_marquardt", 321, 200, 2.0, False),
    ("levenberg_marquardt", 1153, 100, 2.0, False),
]


def points_of(samples: int) -> torch.Tensor:
    """Return Chebyshev's points (samples, 1)."""
    return torch.cos(torch.linspace(math.pi, 0, samples, dtype=torch.float64)).unsqueeze(1)


def run(method: str, parameters: int, samples: int, steps: int, batched: bool) -> float:
    """Return the seconds of an iterate of a network that learns a sine, in the package that is imported here."""
    model = MLP({"hidden": [WIDTHS[parameters]] * 2}, 1, [(-1.0, 1.0)])
    points = points_of(samples).expand(CELLS, -1, -1)
    values = torch.sin(2 * math.pi * points[:, :, 0])
    start, chosen = model.init(range(CELLS), torch.float64), [OptimizerConfig(method, steps=steps)] * CELLS
    begun = time.process_time()
    trained = train(model, start, points, values, chosen, range(CELLS), **({"batched": True} if batched else {}))
    return (time.process_time() - begun) / int(trained.steps.sum())


def elsewhere(folder: Path) -> Callable[..., float]:
    """Return `run` as the package in another checkout does it, in a process of its own that goes on."""
    code = f"import sys; sys.path[1:1] = [{str(Path(__file__).parent)!r}]\n"  # behind that checkout
    code += "from bench_second_order import serve; serve()"
    environment = {**os.environ, "PYTHONPATH": str(folder.resolve())}
    command = [sys.executable, "-c", code]
    other = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder
    )

    def asked(method: str, parameters: int, samples: int, steps: int) -> float:
        assert other.stdin is not None and other.stdout is not None
        print(json.dumps([method, parameters, samples, steps]), file=other.stdin, flush=True)
        return float(other.stdout.readline())

    return asked


def serve() -> None:
    """Answer questions of `elsewhere`."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        print(run(*json.loads(line), False), flush=True)


def by_hand(weights: np.ndarray, points: np.ndarray, values: np.ndarray) -> tuple[float, np.ndarray]:
    """Return loss and gradient of a network with two hidden layers of 8, in NumPy: the fastest that one can do."""
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


def scipy_run(steps: int) -> float:
    """Return the seconds of an iterate of SciPy's BFGS on networks of 97 parameters and 100 samples, one by one."""
    model, points = MLP({"hidden": [8, 8]}, 1, [(-1.0, 1.0)]), points_of(100)[:, 0].numpy()
    values, options, iterates = np.sin(2 * math.pi * points), {"maxiter": steps, "gtol": 0}, 0
    begun = time.process_time()
    for start in model.init(range(4), torch.float64).numpy():
        iterates += minimize(by_hand, start, (points, values), jac=True, method="BFGS", options=options).nit
    return (time.process_time() - begun) / iterates


def compare(ours: Callable[[int], float], theirs: Callable[[int], float], seconds: float) -> tuple[float, float]:
    """Return our seconds of an iterate, and the median of how many times as fast we are."""
    counts = [max(20, min(3000, int(seconds / CELLS / run(20)))) for run in (ours, theirs) if run(2)]
    times = [(ours(counts[0]), theirs(counts[1])) for _ in range(3)]
    return statistics.median(a for a, _ in times), statistics.median(b / a for a, b in times)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="some rows, shorter")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="another checkout of hpcsweep")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seconds, other = 0.5 if arguments.quick else 2.0, arguments.against and elsewhere(arguments.against)
    rival = "that_checkout" if other else "batched_engine"
    for method, parameters, samples, floor, quick in ROWS:
        if arguments.quick and not quick:
            continue
        shape = method, parameters, samples

        def ours(steps: int, shape: tuple[str, int, int] = shape) -> float:
            return run(*shape, steps, False)

        def theirs(steps: int, shape: tuple[str, int, int] = shape) -> float:
            return other(*shape, steps) if other else run(*shape, steps, True)

        each, ratio = compare(ours, theirs, seconds)
        name = f"{method}_{parameters}_parameters_{samples}_samples"
        show(name, each * 1e6, "us/iterate")
        show(f"{name}_to_{rival}", ratio, "x", floor)
    _, ratio = compare(lambda steps: run("bfgs", 97, 100, steps, False), scipy_run, seconds)
    show("bfgs_97_parameters_100_samples_to_scipy", ratio, "x", 30.0)


if __name__ == "__main__":
    main()
