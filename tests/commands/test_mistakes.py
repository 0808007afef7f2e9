"""A user's mistakes at the command line: one sentence, exit code 2, nothing written or lost."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest

from hpcsweep.cluster.options import RunOptions
from hpcsweep.errors import LaunchError
from tests.conftest import Run, command, finished
from tests.forks import Forks

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
        del file["digest"]  # which stores of those versions did not have
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
    for line in (("run", "none.toml"), ("run", tiny, "--wrong"), ("measure",), ("runn",), ("run",)):
        mistaken = hpcsweep(*line)
        assert mistaken.returncode == 2 and mistaken.stderr.count("\n") == 1, mistaken.stderr
        assert mistaken.stderr.startswith("hpcsweep: ") and mistaken.stderr.endswith(" --help.\n")
    assert "Commands:" in hpcsweep().stderr


@pytest.mark.mpi
@pytest.mark.parametrize("mistake", ["option of both", "option of one", "variable"])
def test_a_mistake_of_any_rank_ends_all_and_is_told_once(forks: Forks, tiny: Path, mistake: str) -> None:
    """It is given up if ranks wait for each other."""
    (mpiexec, *_), wrong = command(ranks=2), command("run", tiny, "-o", "s.h5", "--wrong", python=forks.python)
    right, other = wrong[:-1], command("measure", "s.h5", python=forks.python)  # which is not there yet
    line, variables, expected = {
        "option of both": (["-n", "2", *wrong], {}, "No such option"),
        "option of one": (["-n", "1", *right, ":", "-n", "1", *other], {}, "does not exist"),
        "variable": (
            ["-n", "2", *right],
            {"HPCSWEEP_CHECKPOINT_SECONDS": "often"},
            "HPCSWEEP_CHECKPOINT_SECONDS is 'often'; give seconds such as 60",
        ),
    }[mistake]
    done = finished([mpiexec, *line], tiny.parent, **variables)
    assert done.returncode == 2 and "Traceback" not in done.stderr and done.stderr.count(expected) == 1, done.stderr
    assert not list(tiny.parent.glob("s*.h5*")), "something was written"


@pytest.mark.parametrize("text", ["often", "", "-1", "nan"])
def test_seconds_between_checkpoints_are_a_number(text: str) -> None:
    with pytest.raises(LaunchError, match="HPCSWEEP_CHECKPOINT_SECONDS"):
        RunOptions.read({"HPCSWEEP_CHECKPOINT_SECONDS": text})
    for number in ("0", "inf"):
        assert RunOptions.read({"HPCSWEEP_CHECKPOINT_SECONDS": number}).checkpoint_seconds == float(number)


def test_what_nobody_sets_has_its_default() -> None:
    assert RunOptions.read({}) == RunOptions() == RunOptions(1, "auto", False, 60.0)
    variables = {"HPCSWEEP_THREADS": "3", "HPCSWEEP_DEVICE": "cpu", "HPCSWEEP_SHARE_GPUS": "True"}
    assert RunOptions.read(variables) == RunOptions(3, "cpu", True)
    with pytest.raises(LaunchError, match="HPCSWEEP_DEVICE='tpu': choose auto, gpu or cpu"):
        RunOptions.read({"HPCSWEEP_DEVICE": "tpu"})
