#!/usr/bin/env python
"""How long and how much memory planning takes: study text -> cells, keys, packs, by the command `plan --json`.

Prints one JSON line per figure; `floor` is the figure demanded (an upper limit here). --quick plans 10^5 cells.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STUDY = """
title = "planning"
[[grid]]
target = ["exp_cos", "runge"]
dimension = [1, 2, 3, 4, 5]
width = [8, 16, 32, 64, 128]
depth = [1, 2]
samples = {samples}
learning_rate = [1e-2, 1e-3]
replicate = 10
"""


def main() -> None:
    """Plan a study of 10^6 (10^5) cells in a process of its own and report it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10^5 cells")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "study.toml"
        study.write_text(STUDY.format(samples=list(range(10, 510 if quick else 5010, 10))))
        start = time.perf_counter()
        command = [sys.executable, "-m", "hpcsweep", "plan", str(study), "--ranks", "1024", "--json"]
        plan = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    for name, value, unit, floor in (
        ("cells", plan["cells"], "cells", None),
        ("packs", plan["packs"], "packs", None),
        ("plan_seconds", round(seconds, 2), "s", None if quick else 20),
        ("plan_memory", round(memory, 3), "GiB", None if quick else 2),
    ):
        print(json.dumps({"name": name, "value": value, "unit": unit, "floor": floor}))


if __name__ == "__main__":
    main()
