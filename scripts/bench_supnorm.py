#!/usr/bin/env python
"""How fast the meter screens: points, target, network and reduction, against the matrix products of the network alone.

Networks of three hidden layers on the target exp_cos in four dimensions, Sobol points. A share of 1 would mean that the
whole pipeline takes no longer than the multiplications of its network take at the best rate that the machine reaches in
square matrix products; both are timed in turn, in CPU seconds of one thread. "float32" is the same pipeline with the
network in float32; the meter itself uses float64. A share may pass 1 where torch's products are slow, as on processors
of AMD. The compiled network is also compared with its layers in torch's operations, for values in fixed buffers, and
with autograd for values with slopes at one group of climbs. The plain loop is what one writes first: torch.rand, a
module, max. Prints one JSON line per figure, and a table at the end. --quick takes under a minute.
"""

from __future__ import annotations

import argparse
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from itertools import count, pairwise
from pathlib import Path
from statistics import median

import hpcsweep  # noqa: F401 - before torch: the code path of MKL

# isort: split

import torch
from json_lines import show
from torch import Tensor, nn

from hpcsweep.approx import models, plugins
from hpcsweep.approx.supnorm import dense, points
from hpcsweep.approx.supnorm.screening import screen
from hpcsweep.approx.supnorm.screening.accumulator import Accumulator
from hpcsweep.approx.supnorm.screening.evaluator import Evaluator, frozen
from hpcsweep.approx.supnorm.search import ascent

DIMENSION, DEPTH = 4, 3
WIDTHS = (16, 64, 256, 512)
FLOORS = {64: 0.60, 256: 0.85, 512: 0.85}
TIMES = {"tanh": {8: 2.5, 16: 2.5, 64: 2.0}, "relu": {}}  # as fast as torch's operations, at least; else 1
TYPES = {"float64": torch.float64, "float32": torch.float32}
TARGET = plugins.target({"name": "exp_cos"}, DIMENSION)
RANKED = 2**21  # points for the comparison of 1 and 2 ranks, in float64 at width 64


def typical(runs: Mapping[str, Callable[[], object]], seconds: float, device: str = "cpu") -> dict[str, float]:
    """Return the median time of each function, all of them run in turn for so many seconds in all.

    CPU seconds of this thread, since others may use the machine, and medians, since they then slow all alike; seconds
    by the clock on a GPU.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    end = time.monotonic() + seconds
    for run in runs.values():
        run()
    for turn in count():
        if turn >= 3 and time.monotonic() > end:
            break
        for name, run in runs.items():
            times[name].append(timed(run, device))
    return {name: median(taken) for name, taken in times.items()}


def timed(run: Callable[[], object], device: str) -> float:
    """Return what one run takes, in seconds."""
    if device == "cpu":
        begun = time.thread_time()
        run()
        return time.thread_time() - begun
    torch.cuda.synchronize()
    begun = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - begun


@dataclass(frozen=True)
class Case:
    """Networks of one shape."""

    width: int
    activation: str = "relu"
    device: str = "cpu"

    @property
    def model(self) -> models.Model:
        """Return the shape."""
        return models.make({"hidden": [self.width] * DEPTH, "activation": self.activation}, DIMENSION, TARGET.domain)

    @property
    def parameters(self) -> Tensor:
        """Return the weights of one network, (parameters,)."""
        return self.model.init([3], torch.float64)[0].to(self.device)

    @property
    def flops(self) -> int:
        """Return the multiplications and additions of the matrix products at one point."""
        return 2 * self.width * (DIMENSION + (DEPTH - 1) * self.width + 1)

    def evaluator(self, dtype: torch.dtype = torch.float64) -> screen.Function:
        """Return the network as the meter runs it."""
        return frozen(self.model, self.parameters.to(dtype))

    def module(self) -> nn.Module:
        """Return such a network as a module in float64."""
        activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[self.activation]
        sizes = (DIMENSION, *[self.width] * DEPTH)
        layers = [part for i, o in pairwise(sizes) for part in (nn.Linear(i, o), activation())]
        return nn.Sequential(*layers, nn.Linear(self.width, 1)).double().to(self.device)

    def tiles(self) -> int:
        """Return how many tiles of the default size make a run of some ten milliseconds."""
        rate = 5e10 if self.device == "cpu" else 2e13
        return max(1, int(rate * 0.04 / self.flops / screen.default_tile(self.width, self.device)))


def products(dtype: torch.dtype, device: str) -> dict[str, tuple[Callable[[], object], float]]:
    """Return square matrix products of several sizes, with their operations."""
    found: dict[str, tuple[Callable[[], object], float]] = {}
    for size in (256, 512, 1024) if device == "cpu" else (4096, 8192):
        a, b, c = (torch.rand(size, size, dtype=dtype, device=device) for _ in range(3))
        found[f"product {size}"] = (lambda a=a, b=b, c=c: torch.mm(a, b, out=c)), 2.0 * size**3
    return found


def pipeline(case: Case, networks: list[screen.Function], kind: str = "sobol", worst: int = 0) -> Callable[[], object]:
    """Return a run of the meter over some tiles."""
    tile, tiles = screen.default_tile(case.width, case.device), case.tiles()
    some = points.make(kind, DIMENSION, tile * tiles, 1, TARGET.domain)
    return lambda: screen.screen(some, range(tiles), tile, TARGET, networks, case.device, worst=worst)


def plain(case: Case, chunk: int = 2**16) -> Callable[[], object]:
    """Return the loop that one writes first."""
    module = case.module()

    @torch.no_grad()
    def run() -> float:
        places = 2 * torch.rand(chunk, DIMENSION, dtype=torch.float64, device=case.device) - 1
        return float((TARGET(places) - module(places)[:, 0]).abs().max())

    return run


def against_products(case: Case, dtype: str, seconds: float) -> tuple[float, float]:
    """Return points per second, and the share of the rate of matrix products."""
    known = products(TYPES[dtype], case.device)
    runs = {name: run for name, (run, _) in known.items()}
    best = typical({**runs, "meter": pipeline(case, [case.evaluator(TYPES[dtype])])}, seconds, case.device)
    peak = max(operations / best[name] for name, (_, operations) in known.items())
    rate = case.tiles() * screen.default_tile(case.width, case.device) / best["meter"]
    return rate, rate * case.flops / peak


def rates(seconds: float, rows: list[str], device: str = "cpu") -> None:
    """Show the speed of every width and type."""
    where = "" if device == "cpu" else f"{device}, "
    for activation, dtype, width in [
        *(("relu", dtype, width) for dtype in (TYPES if device == "cpu" else ["float64"]) for width in WIDTHS),
        *(("tanh", "float64", width) for width in (16, 64, 256)),
    ]:
        rate, share = against_products(Case(width, activation, device), dtype, seconds)
        name = f"{where}{activation}, {dtype}, width {width}"
        floor = FLOORS.get(width) if activation == "relu" else None
        show(f"{name}: points", rate, "points/s")
        show(f"{name}: share of matrix products", share, "ratio", floor)
        rows.append(f"{name:32} {rate / 1e6:8.2f} Mpoints/s {share:6.2f} {floor or '':>5}")


def parts(seconds: float) -> None:
    """Show what a tile costs besides its network, in float64 at width 16, and what sharing it among networks gives."""
    case = Case(16)
    tile, network = screen.default_tile(16), case.evaluator()
    some, accumulator = points.make("sobol", DIMENSION, 2**40, 1, TARGET.domain), Accumulator(tile, 1, True, "cpu")
    places, errors = some(tile, tile), torch.rand(tile, dtype=torch.float64)
    runs: dict[str, Callable[[], object]] = {
        "points": lambda: some(7 * tile, tile),
        "target": lambda: TARGET(places),
        "network": lambda: network(places),
        "reduction": lambda: accumulator.add(tile, errors),
    }
    for name, best in typical(runs, seconds).items():
        show(f"one tile of {tile} points, width 16: {name}", best * 1e6, "us")
    kinds = {kind: pipeline(case, [network], kind, 512) for kind in ("sobol", "inflated", "uniform")}
    several = {"bare": pipeline(case, [network]), "8 networks": pipeline(case, [network] * 8)}
    best = typical({**kinds, **several}, 2 * seconds)
    for name in kinds:
        show(f"width 16: {name} with 512 worst points, to sobol with 1", best[name] / best["bare"], "ratio")
    show("width 16: 8 networks together, to one by one", 8 * best["bare"] / best["8 networks"], "ratio", 1.2)


def against_torch(seconds: float) -> None:
    """Show values, and values with slopes, beside what torch's operations take for them."""
    for activation, width in [("tanh", 8), *((kind, width) for kind in ("tanh", "relu") for width in WIDTHS[:3])]:
        case = Case(width, activation)
        compiled, terms = case.evaluator(), dense.of(case.model, case.parameters)
        plain = partial(case.model.apply, case.parameters)
        buffered = Evaluator(terms, points=max(256, min(4096, 2**16 // width)))
        places = points.make("sobol", DIMENSION, 2**13, 1, TARGET.domain)(0, 2**13)
        group = places[: ascent.GROUP].contiguous()
        runs: dict[str, Callable[[], object]] = {
            "values": lambda f=compiled, x=places: f(x),
            "values in torch": lambda f=buffered, x=places: f(x),
            "slopes": lambda f=compiled, x=group: ascent.with_slopes(f, x),
            "slopes in torch": lambda f=plain, x=group: ascent.with_slopes(f, x),
        }
        best = typical(runs, seconds)
        for name in ("values", "slopes"):
            ratio = best[f"{name} in torch"] / best[name]
            floor = TIMES[activation].get(width, 1.0)
            show(f"{activation}, float64, width {width}: {name}, to torch's", ratio, "ratio", floor)


def against_plain(seconds: float) -> None:
    """Show the plain loop beside the meter."""
    for width in WIDTHS[:3]:
        case = Case(width)
        best = typical({"meter": pipeline(case, [case.evaluator()]), "plain": plain(case)}, seconds)
        ours = case.tiles() * screen.default_tile(width) / best["meter"]
        show(f"plain loop, float64, width {width}", 2**16 / best["plain"], "points/s")
        show(f"meter to plain loop, float64, width {width}", ours * best["plain"] / 2**16, "ratio", 1.2)


def ranked(rank: int, ranks: int, number: int) -> screen.Screen:
    """Return the share of one rank."""
    case = Case(64)
    tile = screen.default_tile(case.width)
    some = points.make("sobol", DIMENSION, number, 1, TARGET.domain)
    share = range(rank, screen.tile_count(some, tile), ranks)
    return screen.screen(some, share, tile, TARGET, [case.evaluator()], worst=64)[0]


def as_rank(path: Path, number: int) -> None:
    """Be one of several ranks; the first writes seconds and result."""
    from mpi4py import MPI  # only here: the other rows need no MPI

    world = MPI.COMM_WORLD
    ranked(world.rank, world.size, 2**14)
    world.Barrier()
    begun = MPI.Wtime()
    own = world.gather(ranked(world.rank, world.size, number))
    if own is not None:
        path.write_bytes(pickle.dumps((MPI.Wtime() - begun, reduce(screen.merge, own))))


def by_ranks(number: int) -> None:
    """Show the speed of 1 and 2 ranks by the clock, and whether they find the same bits."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for ranks in (1, 2):
            path = Path(folder) / str(ranks)
            launch = [Path(sys.executable).with_name("mpiexec"), "-n", str(ranks), sys.executable, __file__]
            subprocess.run([*launch, "--rank", path, "--count", str(number)], check=True)
            found[ranks] = pickle.loads(path.read_bytes())
            show(f"{ranks} rank(s), float64, width 64, by the clock", number / found[ranks][0], "points/s")
    show("2 ranks find the bits of 1", float(found[1][1] == found[2][1]), "true", 1.0)


def on_gpu(number: int) -> None:
    """Screen so many points on a GPU."""
    case = Case(64, device="cuda")
    tile = screen.default_tile(case.width, case.device)
    some = points.make("sobol", DIMENSION, number, 1, TARGET.domain)
    tiles = range(screen.tile_count(some, tile))
    once = partial(screen.screen, some, tiles, tile, TARGET, [case.evaluator()], case.device, worst=512)
    seconds = timed(once, "cuda")
    show(f"cuda, float64, width 64: {number:.3g} points", number / seconds, "points/s")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1.5 seconds per figure instead of 10")
    parser.add_argument("--rank", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    if options.rank:
        as_rank(options.rank, options.count)
        return
    seconds, rows = 1.5 if options.quick else 10.0, list[str]()
    rates(seconds, rows)
    for compared in (parts, against_torch, against_plain):
        compared(seconds)
    by_ranks(RANKED if options.quick else 8 * RANKED)
    if torch.cuda.is_available():
        rates(seconds, rows, "cuda")
        on_gpu(2**32 if options.quick else 2**36)
    print("\n".join(rows))


if __name__ == "__main__":
    main()
