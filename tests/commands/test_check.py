"""The command `check`: which rules a target of one's own breaks."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conftest import Run

OWN = """
import torch
from hpcsweep import {base}
from hpcsweep.approx.targets import Target as deep
assert deep is {base} or "{base}" == "Model"

class Bump(deep):
    parameters = {{"sharpness": 10.0}}
    smoothness = 0

    def __call__(self, points):
        return torch.exp(-self.chosen["sharpness"] * torch.square(points){end})
"""


@pytest.mark.parametrize("base", ["Target", "Model"])
def test_a_target_of_the_public_class_and_one_of_the_old_path_pass(hpcsweep: Run, tmp_path: Path, base: str) -> None:
    (tmp_path / "own.py").write_text(OWN.format(base=base, end=".sum(dim=1)"))
    done = hpcsweep("check", "own.py:Bump", "-d", "3")
    assert done.returncode == 0 and "all rules are satisfied" in done.stdout, done.stderr


def test_broken_rules_and_what_is_no_target_are_told(hpcsweep: Run, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN.format(base="Target", end=""))
    broken = hpcsweep("check", "own.py:Bump", "-d", "2")
    assert broken.returncode == 1 and "(256, 2)" in broken.stdout, broken.stdout + broken.stderr
    assert hpcsweep("check", "own.py:Yours").returncode == 2
    (tmp_path / "own.py").write_text("import math\n")
    assert "must define a class derived from hpcsweep.Target." in hpcsweep("check", "own.py:Bump").stderr


ODD = """
import ctypes, math, time
import numpy as np
import torch
from hpcsweep import Target

class Mine(Target):
    smoothness = math.inf

    def __call__(self, points):
        {body}
"""
TOLD = {
    "return torch.special.bessel_j0(points[:, 0] + 1)": (
        0,
        "no enclosure rule for special_bessel_j0 (own.py, line 11)",
    ),
    "return torch.sin(points[:, 0].detach())": (0, "torch.Tensor.detach, `return torch.sin(points[:, 0].detach())`"),
    "return torch.from_numpy(np.sin(points.numpy()[:, 0]))": (1, "Can't call numpy() on Tensor that requires grad"),
    "while points.dtype == torch.float32: pass\n        return points[:, 0]": (0, "all rules are satisfied"),
    "ctypes.PyDLL(None).sleep(1000); return points[:, 0]": (1, "does not end within 3 s when it is given 256 points"),
    "raise KeyboardInterrupt": (1, "evaluating it raises KeyboardInterrupt"),
    "ctypes.string_at(0)": (1, "ends its process with signal SIGSEGV"),
    "return points[:, 0] + torch.rand(1, dtype=points.dtype)": (1, "changes from call to call"),
}


@pytest.mark.parametrize("body", TOLD)
def test_what_is_known_of_a_target_is_told(hpcsweep: Run, tmp_path: Path, body: str) -> None:
    (tmp_path / "own.py").write_text(ODD.format(body=body))
    done = hpcsweep("check", "own.py:Mine", HPCSWEEP_CHECK_SECONDS="3" if "3 s" in TOLD[body][1] else "60")
    code, text = TOLD[body]
    assert done.returncode == code and text in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("while True: pass", "it does not end within 3 s while it is imported"),
        ("os._exit(0)", "exit code 0 while it is"),
    ],
)
def test_a_file_that_comes_to_no_end_is_told(hpcsweep: Run, tmp_path: Path, line: str, expected: str) -> None:
    (tmp_path / "own.py").write_text(f"import os\n{line}\n")
    done = hpcsweep("check", "own.py:Mine", HPCSWEEP_CHECK_SECONDS="3")
    assert done.returncode == 1 and expected in done.stdout, done.stdout + done.stderr


def test_a_slow_target_is_priced_by_what_it_takes_and_told_by_plan(hpcsweep: Run, tmp_path: Path) -> None:
    slow = "time.sleep(0.001 * len(points)); return torch.sin(points[:, 0])"
    (tmp_path / "own.py").write_text(ODD.format(body=slow))
    study = 'title = "slow"\n[[grid]]\ntarget = ["NAME"]\ndimension = [1]\nwidth = [4]\nsamples = [20]\n'
    seconds = {}
    for name in ("own.py:Mine", "sine"):
        (tmp_path / "s.toml").write_text(study.replace("NAME", name) + "[sup_norm]\ncount = 10000\n")
        priced = json.loads(hpcsweep("plan", "s.toml", "--json").stdout)
        seconds[name] = priced["seconds"]
        assert [target["name"] for target in priced["targets"]] == [name] * (name != "sine")
    two = '[{ name = "own.py:Mine", label = "first" }, { name = "own.py:Mine", label = "second" }]'
    (tmp_path / "s.toml").write_text(study.replace('["NAME"]', two))
    assert "first in dimension 1: " in hpcsweep("plan", "s.toml").stdout
    assert seconds["own.py:Mine"] > seconds["sine"] + 10  # 10,000 points take 10 s
    price = re.search(r"([\d.e-]+) s a point", hpcsweep("check", "own.py:Mine").stdout)
    assert price is not None and float(price[1]) >= 0.001  # it sleeps that long, at least
