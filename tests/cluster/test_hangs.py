"""Plugins that never return: a run that is told to stop ends all the same, and finds out which cells they were."""

from __future__ import annotations

import time
from pathlib import Path
from subprocess import Popen

import pytest

from hpcsweep.store import layout, status
from hpcsweep.store.reading import opened
from tests.cluster.launches import end, start, stop, wait_until
from tests.conftest import command
from tests.forks import Forks

HANGS = """
import pathlib, time
from hpcsweep.approx.targets import Target

class Hangs(Target):
    smoothness = 1

    def __call__(self, points):
        if len(points) == 77:  # as many as one cell has samples
            pathlib.Path("hanging").touch()
            while True:
                time.sleep(1)
        return points[:, 0]
"""
STUDY = """
title = "one cell hangs"
[[grid]]
target = ["hangs.py:Hangs"]
dimension = [1]
width = [4]
samples = [20, 30, 77]
[[grid]]
target = ["exp_cos"]
dimension = [1]
width = [8]
samples = [20]
[training]
steps = 20
[sup_norm]
count = 300
tile = 256
uniform = 0
starts = 8
kinks = 0
certificate = "off"
"""
WALLTIME = 18  # seconds of a launch, which make the patience a matter of seconds


def launch(forks: Forks, folder: Path, *arguments: object, ranks: int = 0) -> Popen[str]:
    """Start hpcsweep, as in a job of Slurm that ends soon, beside a study of four cells, one of which hangs."""
    (folder / "hangs.py").write_text(HANGS)
    (folder / "hangs.toml").write_text(STUDY)
    line = command(*arguments, ranks=ranks, python=forks.python)
    return start(line, folder, SLURM_JOB_END_TIME=str(int(time.time()) + WALLTIME))


def stop_once_it_hangs(run: Popen[str], folder: Path) -> tuple[int, str]:
    """Send SIGTERM to a run as soon as its plugin hangs; return its exit code and what it said."""
    wait_until((folder / "hanging").exists, run)
    (folder / "hanging").unlink(missing_ok=True)
    return stop(run)


def test_a_cell_that_hangs_keeps_no_run_from_stopping_and_has_failed_after_three_times(
    forks: Forks, tmp_path: Path
) -> None:
    store, stopped = tmp_path / "s.h5", []
    for _ in range(8):  # a busy machine may come to the end of the walltime before it begins
        run = launch(forks, tmp_path, "run", "hangs.toml", "-o", "s.h5", "--requeue")
        code, text = stop_once_it_hangs(run, tmp_path)
        if code != 75:
            break
        assert "Traceback" not in text and status.summary(store)["live"] is None
        stopped += [text] if "do not end" in text else []
    assert code == 1 and "1 failed" in text, text
    assert len(stopped) == 3, stopped
    for text in stopped:  # a pack at first; what it is alone, once it is suspected
        assert "do not end and are abandoned: hangs.py:Hangs in dimension 1" in text and "Not requeued" in text
    assert "1 cell(s) do not end" in stopped[-1] and "77 samples" in stopped[-1]
    with opened(store) as file:
        failed = file["status"][:] == layout.FAILED
        assert file["samples"][:][failed].tolist() == [77] and file["kills"][:][failed].tolist() == [3]
        assert (file["status"][:][~failed] == layout.DONE).all()
        assert b"did not end" in file["message"][:][failed][0]


@pytest.mark.mpi
def test_a_rank_that_hangs_is_ended_with_the_others_by_the_walltime(forks: Forks, tmp_path: Path) -> None:
    """What is finished stays; the pack that hangs, on the other rank, stays marked running."""
    code, text = end(launch(forks, tmp_path, "run", "hangs.toml", "-o", "s.h5", ranks=2))
    assert code == 75 and "do not end and are abandoned" in text and "Traceback" not in text, text
    with opened(tmp_path / "s.h5") as file:
        cells = zip(file["target"][:], file["samples"][:], strict=True)
        state = dict(zip(cells, file["status"][:], strict=True))
    assert state[b"exp_cos", 20] == layout.DONE and state[b"hangs.py:Hangs", 77] == layout.RUNNING


FUNCTIONS = """
import pathlib, time

def net(x):
    return 0 * x[:, 0]

def f(x):
    if len(x) > 5000:  # more than any probe has
        pathlib.Path("hanging").touch()
        while True:
            time.sleep(1)
    return x[:, 0]
"""


def test_a_measurement_that_hangs_keeps_its_command_from_nothing(forks: Forks, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FUNCTIONS)
    names = ("--network", "mine.py:net", "--target", "mine.py:f", "--domain", "-1,1", "--certificate", "off")
    code, text = stop_once_it_hangs(launch(forks, tmp_path, "measure", *names), tmp_path)
    assert code == 75 and "do not end and are abandoned" in text and "Traceback" not in text, text
