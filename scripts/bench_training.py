#!/usr/bin/env python
"""Adam on small networks: ours beside what a user would write instead, on one thread of a processor.

Networks have two hidden layers of tanh and two inputs. The others are torch.nn with Adam(fused=True), one network after
another, and, where jax imports (pip install .[bench]), 40 lines of JAX: all networks in one program by jax.vmap, or one
after another within it by jax.lax.map, whichever is faster. All run in this process, by turns, compiled beforehand; a
row is the median of the ratios of neighbouring runs, in network steps per second of process time.

What bounds a step are its fused multiplications and additions, three for each weight and sample, and the activations.
So the share of the core's rate of such operations stands beside, as measured in registers, and the time of tanh alone.

Prints one JSON line per figure, where `floor` is the least that is demanded, and a table. --quick takes under 50 s.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
import hpcsweep  # noqa: F401 - before torch: the code path of MKL

# isort: split

import numpy as np
import torch
from json_lines import show
from rates import fused_rate, tanh_seconds
from torch import nn

from hpcsweep.approx import models
from hpcsweep.approx.training import train
from hpcsweep.config import OptimizerConfig

DTYPES = {"float64": torch.float64, "float32": torch.float32}


@dataclass(frozen=True)
class Row:
    """One shape to measure, and the least ratios demanded: to torch's loop, and to the better form of JAX."""

    width: int
    samples: int
    loop: float | None = None
    jax: float | None = None
    batch: int | None = None
    precision: str = "float64"
    quick: bool = False

    @property
    def name(self) -> str:
        """What the row is called in the output."""
        batch = f"_batch{self.batch}" if self.batch else ""
        return f"adam_{self.precision}_width{self.width}_samples{self.samples}{batch}"

    @property
    def fused(self) -> int:
        """Fused multiplications and additions of a step."""
        width, step = self.width, self.batch or self.samples
        return step * (2 * 3 * width + 3 * width * (width + 1) + 3 * (width + 1) - width)


ROWS = [
    Row(8, 100, 70, 1.4, quick=True),
    Row(16, 100, 30, 1.4, quick=True),
    Row(32, 100, 13, 1.2),
    Row(64, 100, 5, 1.0, quick=True),
    Row(256, 100, 1.5, 1.0),
    Row(8, 1000, 11, 1.4, quick=True),
    Row(16, 1000, 6, 1.4),
    Row(32, 1000, 3.6, 1.2),
    Row(64, 1000, 2.4, 1.0, quick=True),
    Row(256, 1000, None, 1.0),
    Row(16, 10_000, 20, None, batch=100, quick=True),
    Row(16, 100, None, None, precision="float32", quick=True),
]


class Contest:
    """The data of one row, and the ways to train on them: each returns the seconds of one step of one network."""

    def __init__(self, row: Row) -> None:
        self.row, self.cells = row, 16 if row.width < 256 else 4
        self.model = models.MLP({"hidden": [row.width] * 2}, 2, [(-1.0, 1.0)] * 2)
        dtype, generator = DTYPES[row.precision], torch.Generator().manual_seed(0)
        self.points = torch.rand(self.cells, row.samples, 2, generator=generator, dtype=dtype) * 2 - 1
        self.values = torch.sin(3 * self.points.sum(-1))
        self.parameters = self.model.init(range(self.cells), dtype)

    def ours(self, steps: int) -> float:
        """Train by `hpcsweep.approx.training.train`, set-up and history included."""
        chosen = [OptimizerConfig(steps=steps, batch=self.row.batch)] * self.cells
        data = self.parameters, self.points, self.values
        return self._seconds(lambda: train(self.model, *data, chosen, range(self.cells)), steps * self.cells)

    def loop(self, steps: int) -> float:
        """Train one network of torch.nn, set-up excluded."""
        layers: list[nn.Module] = []
        for block in self.model.layers(self.parameters[0]):
            linear = nn.Linear(block.shape[1] - 1, block.shape[0], dtype=block.dtype)
            linear.weight.data, linear.bias.data = block[:, :-1].clone(), block[:, -1].clone()
            layers += [linear, nn.Tanh()]
        network = nn.Sequential(*layers[:-1])
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
        points, values, batch = self.points[0], self.values[0].unsqueeze(1), self.row.batch

        def run() -> None:
            for _ in range(steps):
                inputs, targets = points, values
                if batch:
                    index = torch.randint(0, len(points), (batch,))
                    inputs, targets = points[index], values[index]
                optimizer.zero_grad(set_to_none=True)
                nn.functional.mse_loss(network(inputs), targets).backward()
                optimizer.step()

        return self._seconds(run, steps)

    def jax(self) -> list[Callable[[int], float]]:
        """Return the two forms of JAX; none where it does not import."""
        try:
            import jax
        except ImportError:
            return []
        import jax_peer

        jax.config.update("jax_enable_x64", True)
        rows = [np.stack([self.model.layers(one)[k].numpy() for one in self.parameters]) for k in range(3)]
        weights = [(jax.numpy.asarray(row[:, :, :-1]), jax.numpy.asarray(row[:, :, -1])) for row in rows]
        programs = jax_peer.programs(jax.numpy.asarray(self.points.numpy()), jax.numpy.asarray(self.values.numpy()))

        def timed(program: Callable[..., object]) -> Callable[[int], float]:
            return lambda steps: self._seconds(
                lambda: jax.block_until_ready(program(weights, steps)), steps * self.cells
            )

        return [timed(program) for program in programs]

    @staticmethod
    def _seconds(run: Callable[[], object], count: int) -> float:
        begun = time.process_time()
        run()
        return (time.process_time() - begun) / count

    def measure(self, rounds: int, seconds: float) -> tuple[float, float, float | None]:
        """Return our seconds of a step, and how many times as fast we are as the loop and as JAX."""
        runs = [self.ours, self.loop, *(self.jax() if self.row.batch is None else [])]
        steps = [_steps(run, seconds / (1 if run == self.loop else self.cells)) for run in runs]
        times = [[run(count) for run, count in zip(runs, steps, strict=True)] for _ in range(rounds)]
        ours = statistics.median(one[0] for one in times)
        ratio = statistics.median(one[1] / one[0] for one in times)
        jax = statistics.median(min(one[2:]) / one[0] for one in times) if len(runs) > 2 else None
        return ours, ratio, jax


def _steps(run: Callable[[int], float], seconds: float) -> int:
    """Return how many steps of each network take about `seconds`; warms up on the way."""
    steps = 5
    run(2)
    for _ in range(3):
        steps = max(5, min(int(seconds / max(run(steps), 1e-9)), 40 * steps))
    return steps


def line(row: Row, rounds: int, seconds: float) -> str:
    """Measure a row, print its figures, and return its line of the table."""
    step, loop, jax = Contest(row).measure(rounds, seconds)
    dtype = np.dtype(row.precision)
    share = row.fused / step / fused_rate(dtype)
    bent = tanh_seconds(dtype) * 2 * row.width * (row.batch or row.samples) / step
    show(row.name, 1 / step, "network steps/s")
    show(f"{row.name}_to_torch_loop", loop, "x", row.loop)
    if jax is not None:
        show(f"{row.name}_to_jax", jax, "x", row.jax)
    show(f"{row.name}_fused_share", share, "of the core's rate")
    show(f"{row.name}_tanh_share", bent, "of the time")
    wanted = (("torch", loop, row.loop), ("jax", jax, row.jax))
    missed = ", ".join(f"{name} < {floor:g}" for name, got, floor in wanted if _less(got, floor))
    return (
        f"{row.precision:8} {row.width:6} {row.samples:8} {row.batch or '':>6} {1 / step:12,.0f} {loop:8.2f} "
        f"{'' if jax is None else f'{jax:.2f}':>6} {share:8.2f} {bent:6.2f}  {missed and 'MISSED ' + missed}"
    )


def _less(got: float | None, floor: float | None) -> bool:
    return got is not None and floor is not None and got < floor


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="half of the rows, shorter")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rounds, seconds = (3, 0.4) if arguments.quick else (7, 0.8)
    lines = [line(row, rounds, seconds) for row in ROWS if row.quick or not arguments.quick]
    print("\ntype      width  samples  batch      steps/s  x torch  x jax  of FMA   tanh")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
