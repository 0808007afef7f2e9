"""The command `check`: which rules a target of one's own breaks."""

from __future__ import annotations

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
