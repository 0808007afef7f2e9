#!/usr/bin/env python
"""Packed training against plain torch.nn with Adam(fused=True), one network after another, on one CPU thread.

Networks have two hidden layers of tanh and two inputs. Both sides run in this process, by turns; a row is the median of
the ratios of neighbouring runs: network steps per second of process time (on a GPU: of wall time). Prints one JSON line
per figure, where `floor` is the least that is demanded, and a table. --quick measures the rows with a floor, once each
in under 50 s; --full the whole table of widths, samples and networks. Where there is a GPU its rows follow, against the
same eager loop on that GPU, with the roofline beside.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import hpcsweep  # noqa: F401 - before torch: the code path of MKL

# isort: split

import torch
from torch import nn

from hpcsweep.approx import models
from hpcsweep.approx.training import Settings, costs, train

DTYPES = {"float64": torch.float64, "float32": torch.float32}


@dataclass(frozen=True)
class Row:
    """One shape to measure, and the least ratio demanded."""

    precision: str
    width: int
    samples: int
    cells: int
    batch: int | None = None
    floor: float | None = None
    device: str = "cpu"
    general: bool = False  # the model is known by its values only

    @property
    def name(self) -> str:
        """What the row is called in the output."""
        batch = f"_batch{self.batch}" if self.batch else ""
        shape = f"width{self.width}_samples{self.samples}{batch}_cells{self.cells}"
        return f"adam_{self.device}_{self.precision}_{shape}{'_general' if self.general else ''}"

    @property
    def flops(self) -> int:
        """Operations of one step of one network."""
        return costs.flops_per_step([self.width] * 2, 2, self.batch or self.samples)


DEMANDED = [
    Row("float64", 8, 100, 64, floor=25),
    Row("float64", 16, 100, 64, floor=14),
    Row("float64", 64, 100, 64, floor=3),
    Row("float32", 16, 100, 64, floor=22),
    Row("float64", 256, 1000, 4, floor=1),
    Row("float64", 16, 10_000, 64, batch=100, floor=10),
]
GENERAL = Row("float64", 16, 100, 64, general=True)
FULL = [
    Row(precision, width, samples, cells)
    for precision, width, samples, cells in product(DTYPES, (8, 16, 32, 64, 128, 256), (100, 1000, 10_000), (1, 8, 64))
    if width * samples * cells <= 10_000_000
]
GPU_RATIOS = [
    Row("float64", 16, samples, cells, floor=100, device="cuda") for samples in (100, 1000) for cells in (256, 1024)
]
GPU_RATES = [Row("float32", width, 4096, 16, device="cuda") for width in (512, 1024)]


class Disguised(models.Model):
    """A perceptron that does not tell that it is one."""

    def __init__(self, network: models.MLP) -> None:
        self.dimension, self.parameters, self._network = network.dimension, network.parameters, network

    def init(self, seeds: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Return the perceptron's initial parameters (cells, parameters)."""
        return self._network.init(seeds, dtype)

    def apply(self, parameters: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """Return the perceptron's values (points,)."""
        return self._network.apply(parameters, points)


class Contest:
    """The data of one row, and the two ways to train on them."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.model = models.MLP({"hidden": [row.width] * 2}, 2, [(-1.0, 1.0)] * 2)
        self.trained: models.Model = Disguised(self.model) if row.general else self.model
        dtype, generator = DTYPES[row.precision], torch.Generator().manual_seed(0)
        points = torch.rand(row.cells, row.samples, 2, generator=generator, dtype=dtype) * 2 - 1
        self.points, self.values = points.to(row.device), torch.sin(3 * points.sum(-1)).to(row.device)
        self.parameters = self.model.init(range(row.cells), dtype).to(row.device)

    def packed(self, steps: int) -> float:
        """Return the seconds of one step of one network in the packs of `train`, set-up included."""
        chosen = [Settings(steps=steps, batch=self.row.batch)] * self.row.cells
        seeds = range(self.row.cells)
        return self._seconds(
            lambda: train(self.trained, self.parameters, self.points, self.values, chosen, seeds),
            steps * self.row.cells,
        )

    def plain(self, steps: int) -> float:
        """Return the seconds of one step of a network of torch.nn, set-up excluded."""
        network = self._network()
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
        points, values, batch = self.points[0], self.values[0].unsqueeze(1), self.row.batch

        def run() -> None:
            for _ in range(steps):
                inputs, targets = points, values
                if batch:
                    index = torch.randint(0, len(points), (batch,), device=points.device)
                    inputs, targets = points[index], values[index]
                optimizer.zero_grad(set_to_none=True)
                nn.functional.mse_loss(network(inputs), targets).backward()
                optimizer.step()

        return self._seconds(run, steps)

    def _network(self) -> nn.Sequential:
        layers: list[nn.Module] = []
        for block in self.model.layers(self.parameters[0]):
            linear = nn.Linear(block.shape[1] - 1, block.shape[0], dtype=block.dtype, device=block.device)
            linear.weight.data, linear.bias.data = block[:, :-1].clone(), block[:, -1].clone()
            layers += [linear, nn.Tanh()]
        return nn.Sequential(*layers[:-1])

    def _seconds(self, run: Callable[[], object], count: int) -> float:
        on_gpu = self.row.device == "cuda"
        clock = time.perf_counter if on_gpu else time.process_time
        for wait in (torch.cuda.synchronize,) * on_gpu:
            wait()
        begun = clock()
        run()
        for wait in (torch.cuda.synchronize,) * on_gpu:
            wait()
        return (clock() - begun) / count

    def measure(self, pairs: int, seconds: float) -> tuple[float, float]:
        """Return the median ratio of `pairs` runs of about `seconds` each, and the packed seconds per network step."""
        plain_steps, packed_steps = self._steps(self.plain, seconds), self.packed_steps(seconds)
        times = [(self.plain(plain_steps), self.packed(packed_steps)) for _ in range(pairs)]
        return statistics.median(a / b for a, b in times), statistics.median(b for _, b in times)

    def packed_steps(self, seconds: float) -> int:
        """Return how many packed steps take about `seconds`; at least 1000 of small networks, 100 of wide ones."""
        least = 100 if self.row.flops > 1e8 else 400 if self.row.flops > 1e6 else 1000
        return max(least, self._steps(self.packed, seconds / self.row.cells))

    @staticmethod
    def _steps(run: Callable[[int], float], seconds: float) -> int:
        """Return how many steps take about `seconds`; warms up on the way."""
        steps = 5
        run(2)
        for _ in range(2):
            steps = max(5, min(int(seconds / max(run(steps), 1e-9)), 40 * steps))
        return steps


def product_rate(precision: str, device: str = "cpu", size: int = 768) -> float:
    """Return the operations per second of a large matrix product: the best of ten."""
    size = 8192 if device == "cuda" else size
    left, right = (torch.rand(size, size, dtype=DTYPES[precision], device=device) for _ in range(2))
    clock = time.perf_counter if device == "cuda" else time.process_time
    times = []
    for _ in range(10):
        begun = clock()
        (left @ right)[0, 0].item()  # waits
        times.append(clock() - begun)
    return 2 * size**3 / min(times)


def copy_rate(precision: str) -> float:
    """Return the bytes per second that the GPU reads and writes in a large copy: the best of ten."""
    source = torch.rand(1 << 27, dtype=DTYPES[precision], device="cuda")
    target, times = torch.empty_like(source), []
    for _ in range(10):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        target.copy_(source)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    return 2 * source.nbytes / min(times)


def show(name: str, value: float, unit: str, floor: float | None = None) -> None:
    """Print one JSON line."""
    print(json.dumps({"name": name, "value": float(f"{value:.3g}"), "unit": unit, "floor": floor}), flush=True)


def rows(chosen: list[Row], pairs: int, seconds: float) -> Iterator[str]:
    """Measure rows, print their lines, and yield those of the table."""
    rates = {(row.precision, row.device): product_rate(row.precision, row.device) for row in chosen}
    for row in chosen:
        ratio, step = Contest(row).measure(pairs, seconds)
        share = row.flops / step / rates[row.precision, row.device]
        show(row.name, ratio, "x", row.floor)
        show(f"{row.name}_product_rate", share, "of the measured rate")
        missed = "" if row.floor is None else f"  >= {row.floor:g}{'' if ratio >= row.floor else '  MISSED'}"
        yield (
            f"{row.device:5} {row.precision:8} {row.width:6} {row.samples:8} {row.batch or '':>6} {row.cells:6}"
            f" {1 / step:12,.0f} {ratio:7.2f} {share:8.3f}{missed}"
        )


def general(row: Row, pairs: int, seconds: float) -> Iterator[str]:
    """Measure a model known by its values: against torch.nn, and against the same networks in closed form."""
    yield from rows([row], pairs, seconds)
    slow, fast = Contest(row), Contest(replace(row, general=False))
    counts = slow.packed_steps(seconds), fast.packed_steps(seconds)
    times = [(slow.packed(counts[0]), fast.packed(counts[1])) for _ in range(pairs)]
    ratio = statistics.median(a / b for a, b in times)
    show(f"{row.name}_time", ratio, "of the closed form")
    yield f"cpu   the row above is a model known by its values only: {ratio:.2f} times the time of the closed form"


def rooflines(chosen: list[Row], seconds: float) -> Iterator[str]:
    """Measure which share of the GPU's matrix rate, and of its roofline, wide networks reach."""
    for row in chosen:
        contest = Contest(row)
        steps = contest.packed_steps(seconds)
        step = statistics.median(contest.packed(steps) for _ in range(3))
        peak, bandwidth = product_rate(row.precision, "cuda"), copy_rate(row.precision)
        moved = costs.traffic_per_step([row.width] * 2, 2, row.samples, row.precision)
        roof = min(peak, row.flops / moved * bandwidth)
        show(f"{row.name}_product_rate", row.flops / step / peak, "of the measured rate", 0.5)
        show(f"{row.name}_roofline", row.flops / step / roof, "of the roofline")
        yield f"cuda  {row.precision:8} width {row.width}: {row.flops / step:.3g} flop/s of {peak:.3g}, roof {roof:.3g}"


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="shorter runs")
    parser.add_argument("--full", action="store_true", help="the whole table")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pairs, seconds = (2, 0.3) if arguments.quick else (7, 0.8)
    lines = [*rows(DEMANDED, pairs, seconds)]
    if not arguments.quick:
        lines += general(GENERAL, pairs, seconds)
    if arguments.full:
        lines += rows(FULL, 3, 0.3)
    if torch.cuda.is_available():
        lines += rows(GPU_RATIOS, pairs, seconds)
        lines += rooflines(GPU_RATES, seconds)
    print("\ndevice type      width  samples  batch  cells   steps/s        ratio  of products")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
