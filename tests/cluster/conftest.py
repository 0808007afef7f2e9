"""A finished store that tests measure again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import runner
from tests.forks import Forks

MEASURED = """
title = "to be measured again"
[[grid]]
target = ["exp_cos"]
dimension = [1, 2]
width = [6]
samples = [20]
replicate = 2
[training]
steps = 300
learning_rate = 0.01
[sup_norm]
points = ["sobol"]
count = 300
starts = 0
kinks = 0
uniform = 0
certificate = "off"
"""


@pytest.fixture(scope="session")
def measured(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the study MEASURED and its finished store."""
    folder = tmp_path_factory.mktemp("measured")
    (folder / "study.toml").write_text(MEASURED)
    assert runner(folder, forks)("run", "study.toml", "-o", "s.h5").returncode == 0
    return folder


@pytest.fixture
def store(measured: Path, tmp_path: Path) -> Path:
    """A copy of the finished store, beside its study, to be measured again."""
    shutil.copytree(measured, tmp_path, dirs_exist_ok=True)
    return tmp_path / "s.h5"
