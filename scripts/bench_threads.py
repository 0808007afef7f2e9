#!/usr/bin/env python
"""Which shapes train faster on several threads: steps of Adam in full packs, 1 thread against more, by wall time.

Networks have two hidden layers of tanh and two inputs. One process, by turns: each figure is the ratio of the fastest
of many ticks, so that other work on the machine matters little. Prints one JSON line per shape: `value` is how many
times as fast the threads are, `rule` how many threads `costs.threads` would take.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from itertools import product

import hpcsweep  # noqa: F401 - before torch: the code path of MKL

# isort: split

import torch

from hpcsweep.approx.training import costs
from hpcsweep.approx.training.engine import Engine, Layout
from hpcsweep.approx.training.optimizers.adam import Adam

DOUBLE = torch.float64


class Ticks:
    """Steps of Adam on a pack of as many slots as the cache rule says."""

    def __init__(self, width: int, samples: int) -> None:
        slots = costs.slots([width] * 2, 2, samples, "float64", "cpu")
        layout = Layout((2, width, width, 1), slots)
        generator = torch.Generator().manual_seed(0)
        weights = torch.randn(slots * layout.parameters, generator=generator, dtype=DOUBLE) / width
        self.engine, self.adam, self.count = Engine(layout, "tanh", samples, weights), Adam(), 0
        points = torch.rand((slots, samples, 2), generator=generator, dtype=DOUBLE)
        self.engine.feed(points, torch.sin(points.sum(2)))
        self.state, self.rates = self.adam.init(self.engine), torch.full_like(weights, 1e-3)
        self.loss = weights.new_empty(slots)

    def seconds(self, threads: int, least: float) -> float:
        """Return the wall time of the fastest of the ticks that fit into `least` seconds, three at least."""
        torch.set_num_threads(threads)
        begun, fastest, done = time.perf_counter(), math.inf, 0
        while done < 3 or time.perf_counter() - begun < least:
            start = time.perf_counter()
            self.adam.step(self.engine, self.state, self.count, self.rates, self.loss)
            fastest = min(fastest, time.perf_counter() - start)
            self.count, done = self.count + 1, done + 1
        return fastest


@torch.no_grad()
def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="against one")
    parser.add_argument("--seconds", type=float, default=0.4, help="of each turn; there are four of each kind")
    options = parser.parse_args()
    for width, samples in product((8, 16, 32, 64, 128, 256), (100, 1000, 10_000)):
        ticks = Ticks(width, samples)
        turns = [(ticks.seconds(1, options.seconds), ticks.seconds(options.threads, options.seconds)) for _ in range(4)]
        one, more = (min(times) for times in zip(*turns, strict=True))
        rule = costs.threads([width] * 2, 2, samples, ticks.engine.layout.slots, options.threads)
        name = f"threads{options.threads}_width{width}_samples{samples}_slots{ticks.engine.layout.slots}"
        print(json.dumps({"name": name, "value": round(one / more, 2), "unit": "x", "rule": rule}), flush=True)


if __name__ == "__main__":
    main()
