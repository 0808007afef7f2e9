"""A study with noise, from its file to its page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpcsweep.findings.dataset import read
from scripts.fault_matrix.stored import by_key
from tests.cluster.launches import assert_same
from tests.conftest import TINY, Run

STUDY = """
title = "noisy"
[[grid]]
target = ["exp_cos"]
dimension = [1]
width = [4]
samples = [20, 80]
optimizer = ["adam", "bfgs"]
noise = [0.0, 0.05, 0.5]
replicate = 2
"""


@pytest.mark.mpi
def test_ranks_and_replays_draw_the_same_noise_and_the_page_compares_levels(hpcsweep: Run, tmp_path: Path) -> None:
    sections = TINY[TINY.index("[sup_norm]") :] + "[training]\nsteps = 200\n"
    (tmp_path / "noisy.toml").write_text(STUDY + sections)
    for ranks in (0, 2):
        done = hpcsweep("run", "noisy.toml", "-o", f"{ranks}.h5", ranks=ranks)
        assert done.returncode == 0 and "24 done" in done.stdout, done.stderr
    assert_same(tmp_path / "0.h5", tmp_path / "2.h5")
    cells = read(tmp_path / "0.h5")
    noise, rmse = cells["noise"].values, cells["train_rmse"].values
    assert np.median(rmse[noise == 0.5]) > 0.2 > 0.02 > np.median(rmse[noise == 0.0])
    # The error is that of the target without noise, which many samples of little noise approach.
    many = (noise == 0.05) & (cells["samples"] == 80) & (cells["optimizer"] == "bfgs")
    assert (cells["l2_error"].values[many] < 0.03).all() and (rmse[many] > 0.035).all()
    key = str(cells["key"].values[np.flatnonzero(many)[0]])
    replayed = hpcsweep("replay", "0.h5", key)
    assert replayed.returncode == 0 and "differs" not in replayed.stdout, replayed.stdout + replayed.stderr
    plain = STUDY.replace("noise = [0.0, 0.05, 0.5]\n", "")
    (tmp_path / "plain.toml").write_text(plain + sections)
    assert hpcsweep("run", "plain.toml", "-o", "plain.h5").returncode == 0
    assert by_key(tmp_path / "plain.h5").items() <= by_key(tmp_path / "0.h5").items()
    assert hpcsweep("report", "0.h5", "-o", "page").returncode == 0
    page = (tmp_path / "page" / "index.html").read_text()
    assert "without noise or with Gaussian noise of standard deviation 0.05 or 0.5" in page
    assert ">noise 0.5</th>" in page and "With noise of standard deviation 0.5 in the samples" in page
