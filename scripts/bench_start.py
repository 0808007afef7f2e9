#!/usr/bin/env python
"""How long it takes until a first network is trained: with an empty cache of compiled code, and with a full one.

Each row is a process of its own: ten steps of a network of 97 parameters, after the imports. Prints one JSON line per
figure; `floor` is the most that is allowed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile

METHODS = {"adam": 10.0, "adam+ssbroyden": 10.0, "levenberg_marquardt": None, "soap": None}
CODE = """
import time
import hpcsweep
import torch
from hpcsweep.approx.models import MLP
from hpcsweep.approx.training import train
from hpcsweep.config import OptimizerConfig
begun = time.perf_counter()
torch.set_num_threads(1)
model = MLP({{"hidden": [8, 8]}}, 1, [(-1.0, 1.0)])
points = torch.linspace(-1, 1, 100, dtype=torch.float64).view(1, -1, 1)
train(model, model.init([0], torch.float64), points, points[..., 0].sin(), [OptimizerConfig({method!r}, steps=10)], [0])
print(time.perf_counter() - begun)
"""


def first_training(method: str, cache: str) -> float:
    """Return the seconds of a first training in a new process."""
    environment = {**os.environ, "HPCSWEEP_CACHE_DIR": cache, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CODE.format(method=method)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="Adam alone")
    chosen = ["adam"] if parser.parse_args().quick else list(METHODS)
    for method in chosen:
        with tempfile.TemporaryDirectory() as cache:
            for name, most in (("empty", METHODS[method]), ("full", 1.0)):
                value = float(f"{first_training(method, cache):.3g}")
                row = {"name": f"first_training_{method}_{name}_cache", "value": value, "unit": "s", "floor": most}
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
