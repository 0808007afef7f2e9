"""A user's mistakes at the command line: one sentence, exit code 2, nothing written or lost."""

from __future__ import annotations

import math
import subprocess
from pathlib import Path

import h5py
import pytest

from hpcsweep.cluster.options import RunOptions
from hpcsweep.errors import LaunchError
from tests.conftest import Run, command, environment

MISTAKES = {
    "axis": (("width =", "wdith ="), "Did you mean 'width'?"),
    "target": (('"logsin"', '"logsine"'), "Did you mean 'logsin'?"),
    "width": (("width = [4, 8]", "width = [-4]"), "grid[0].width"),
    "memory": (("width = [4, 8]", "width = [300000]"), "lower width or samples"),
}


ON_RANKS = [pytest.param(name, 2, marks=pytest.mark.mpi) for name in ("target", "memory")]  # read, and planned


@pytest.mark.parametrize(("name", "ranks"), [*((name, 0) for name in MISTAKES), *ON_RANKS])
def test_a_mistake_in_the_study_is_a_sentence_and_2(hpcsweep: Run, tiny: Path, name: str, ranks: int) -> None:
    change, expected = MISTAKES[name]
    text = tiny.read_text().replace("depth = 1", "depth = 3") if name == "memory" else tiny.read_text()
    tiny.write_text(text.replace(*change))
    done = hpcsweep("run", tiny, "-o", "s.h5", ranks=ranks)
    assert done.returncode == 2
    assert expected in done.stderr and "Traceback" not in done.stderr
    if not ranks:
        assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tiny.parent.glob("s*.h5*")), "something was written"


def test_a_store_of_a_study_that_is_refused_by_now_is_read(hpcsweep: Run, finished_store: Path) -> None:
    """Choices have been removed; what was stored with them stays."""
    with h5py.File(finished_store, "r+") as file:
        text = file.attrs["study"] + 'points = ["lattice"]\nascent = "newton"\n'
        file.attrs["study"] = text
    for line in (["status", finished_store], ["merge", "new.h5", finished_store]):
        done = hpcsweep(*line)
        assert done.returncode == 0, done.stderr
    finished_store.with_name("old.toml").write_text(text)
    refused = hpcsweep("run", "old.toml", "-o", finished_store)
    assert refused.returncode == 2 and "have been removed; write" in refused.stderr


def test_a_mistake_about_the_output_is_a_sentence_and_2(hpcsweep: Run, tiny: Path, tmp_path: Path) -> None:
    unwritable = hpcsweep("run", tiny, "-o", tiny / "s.h5")
    assert unwritable.returncode == 2 and "cannot be made" in unwritable.stderr
    assert hpcsweep("run", tiny, "-o", "s.h5").returncode == 0
    before = (tmp_path / "s.h5").read_bytes()
    tiny.write_text(tiny.read_text().replace("steps = 40", "steps = 41"))
    another = hpcsweep("run", tiny, "-o", "s.h5")
    assert another.returncode == 2 and "training.steps is 40 in the store and 41 in the study" in another.stderr
    assert (tmp_path / "s.h5").read_bytes() == before
    missing = hpcsweep("run", "none.toml")
    assert missing.returncode == 2 and "none.toml" in missing.stderr


def told_by(line: list[str], folder: Path, **variables: str) -> str:
    """Return what a command says that has to end with 2; it is given up if ranks wait for each other."""
    told = {**environment(), **variables}
    done = subprocess.run(line, cwd=folder, env=told, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert not list(folder.glob("s*.h5*")), "something was written"
    return done.stderr


@pytest.mark.mpi
def test_a_wrong_option_of_any_rank_ends_all_and_is_told_once(tiny: Path, tmp_path: Path) -> None:
    both = command("run", tiny, "-o", "s.h5", "--wrong", ranks=2)
    assert told_by(both, tmp_path).count("No such option") == 1
    right, wrong = command("run", tiny, "-o", "s.h5"), command("measure", "s.h5")  # which is not there yet
    one = [both[0], "-n", "1", *right, ":", "-n", "1", *wrong]
    assert told_by(one, tmp_path).count("does not exist") == 1


@pytest.mark.mpi
def test_a_wrong_variable_is_told_once_with_its_name(tiny: Path, tmp_path: Path) -> None:
    line = command("run", tiny, "-o", "s.h5", ranks=2)
    told = told_by(line, tmp_path, HPCSWEEP_CHECKPOINT_SECONDS="often")
    assert told.count("HPCSWEEP_CHECKPOINT_SECONDS is 'often'; give seconds such as 60") == 1


@pytest.mark.parametrize("told", ["often", "", "-1", "nan"])
def test_seconds_between_checkpoints_are_a_number(told: str) -> None:
    with pytest.raises(LaunchError, match="HPCSWEEP_CHECKPOINT_SECONDS"):
        RunOptions.read({"HPCSWEEP_CHECKPOINT_SECONDS": told})
    for given, seconds in (("0", 0.0), ("inf", math.inf)):
        assert RunOptions.read({"HPCSWEEP_CHECKPOINT_SECONDS": given}).checkpoint_seconds == seconds


def test_what_nobody_sets_has_its_default() -> None:
    assert RunOptions.read({}) == RunOptions() == RunOptions(1, "auto", False, 60.0)
    told = {"HPCSWEEP_THREADS": "3", "HPCSWEEP_DEVICE": "cpu", "HPCSWEEP_SHARE_GPUS": "True"}
    assert RunOptions.read(told) == RunOptions(3, "cpu", True)
    with pytest.raises(LaunchError, match="HPCSWEEP_DEVICE='tpu': choose auto, gpu or cpu"):
        RunOptions.read({"HPCSWEEP_DEVICE": "tpu"})
