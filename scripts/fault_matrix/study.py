"""The study that all faults befall: some seconds on two ranks, in many packs; and its plugin that errs when told to."""

from __future__ import annotations

SAMPLES = (21, 22, 23, 24, 25)  # of the cells of the plugin: one cell each, told apart by the points of a call
TILE = 300  # points of a call when it is measured

STUDY = f"""
title = "faults"
[[grid]]
target = ["exp_cos"]
dimension = [1, 2]
width = [4, 6, 8]
samples = [10, 20]
replicate = 3
[[grid]]
target = ["troubled.py:Troubled"]
dimension = [1]
width = [4]
samples = {list(SAMPLES)}
[training]
steps = 1500
[sup_norm]
count = 500
tile = {TILE}
uniform = 0
starts = 8
kinks = 0
certificate = "off"
"""
CELLS = 41

# Its source is part of the keys of its cells, so one file has to behave in all ways: by TROUBLE, "KIND POINTS".
PLUGIN = '''"""A target that errs on calls with as many points as the environment says."""

import os
import signal
import time
from pathlib import Path

import torch

from hpcsweep.approx.targets import Target


class Troubled(Target):
    smoothness = 1
    files = ("table.csv",)

    def __call__(self, points):
        values = torch.cos(float(Path(__file__).with_name("table.csv").read_text()) * points[:, 0])
        time.sleep(float(os.environ.get("TROUBLE_SLOW", "0")) if len(points) == 300 else 0.0)
        kind, count = os.environ.get("TROUBLE", "none 0").split()
        if len(points) != int(count):
            return values
        if kind == "raises":
            raise RuntimeError("no luck today")
        if kind == "exits":
            raise SystemExit(3)
        if kind == "ends":
            os._exit(0)
        if kind == "forks":
            os.fork()
        if kind == "hangs":
            time.sleep(1e6)
        if kind == "kills":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "hogs":
            hoard = torch.ones(3 * 2**27, dtype=torch.float64)  # 3 GiB
            time.sleep(8)
        if kind == "nan":
            return torch.full_like(values, torch.nan)
        if kind == "shape":
            return values[:, None].expand(-1, 2)
        return values
'''
