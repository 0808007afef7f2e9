"""Plugins that never return: a run that is told to stop ends all the same, and finds out which cells they were."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from hpcsweep.store import layout, status
from hpcsweep.store.reading import opened
from tests.cluster.test_run import family
from tests.conftest import command, environment

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
WALLTIME = 24  # seconds of a launch, which make the patience a matter of seconds
BOUND = 120.0  # seconds after which a test gives a run up


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of four cells, one of which hangs."""
    (tmp_path / "hangs.py").write_text(HANGS)
    (tmp_path / "hangs.toml").write_text(STUDY)
    return tmp_path / "hangs.toml"


def launch(*arguments: object, folder: Path, ranks: int = 0, **variables: str) -> subprocess.Popen[str]:
    told = {**environment(), "SLURM_JOB_END_TIME": str(int(time.time()) + WALLTIME), **variables}
    pipe = subprocess.PIPE
    line = command(*arguments, ranks=ranks)
    return subprocess.Popen(line, cwd=folder, env=told, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def end(run: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end of a run; return its exit code and what it said. Fails if it does not end."""
    try:
        told, errors = run.communicate(timeout=BOUND)
    finally:
        for process in family(run):
            os.kill(process, signal.SIGKILL)
    return run.returncode, told + errors


def stop_once_it_hangs(run: subprocess.Popen[str], folder: Path) -> tuple[int, str]:
    """Send SIGTERM to a run as soon as its plugin hangs; return its exit code and what it said."""
    limit = time.monotonic() + BOUND
    while time.monotonic() < limit and run.poll() is None and not (folder / "hanging").exists():
        time.sleep(0.05)
    run.send_signal(signal.SIGTERM)
    (folder / "hanging").unlink(missing_ok=True)
    return end(run)


def test_a_cell_that_hangs_keeps_no_run_from_stopping_and_has_failed_after_three_times(
    study: Path, tmp_path: Path
) -> None:
    store, said = tmp_path / "s.h5", []
    for _ in range(8):  # a busy machine may come to the end of the walltime before it begins
        run = launch("run", study, "-o", store, "--requeue", folder=tmp_path)
        code, told = stop_once_it_hangs(run, tmp_path)
        if code != 75:
            break
        assert "Traceback" not in told and status.summary(store)["live"] is None
        said += [told] if "do not end" in told else []
    assert code == 1 and "1 failed" in told, told
    assert len(said) == 3, said
    for told in said:  # a pack at first; what it is alone, once it is suspected
        assert "do not end and are abandoned: hangs.py:Hangs in dimension 1" in told and "Not requeued" in told
    assert "1 cell(s) do not end" in said[-1] and "77 samples" in said[-1]
    with opened(store) as file:
        failed = file["status"][:] == layout.FAILED
        assert file["samples"][:][failed].tolist() == [77] and file["kills"][:][failed].tolist() == [3]
        assert (file["status"][:][~failed] == layout.DONE).all()
        assert b"did not end" in file["message"][:][failed][0]


@pytest.mark.mpi
def test_a_rank_that_hangs_is_ended_with_the_others_by_the_walltime(study: Path, tmp_path: Path) -> None:
    """What is finished stays; the pack that hangs, on the other rank, stays marked running."""
    store = tmp_path / "s.h5"
    code, told = end(launch("run", study, "-o", store, folder=tmp_path, ranks=2))
    assert code == 75 and "do not end and are abandoned" in told and "Traceback" not in told, told
    with opened(store) as file:
        state = dict(zip(zip(file["target"][:], file["samples"][:], strict=True), file["status"][:], strict=True))
    assert state[b"exp_cos", 20] == layout.DONE and state[b"hangs.py:Hangs", 77] == layout.RUNNING


MINE = """
import pathlib, time

def net(x):
    return 0 * x[:, 0]

def f(x):
    if len(x) > 1000:
        pathlib.Path("hanging").touch()
        while True:
            time.sleep(1)
    return x[:, 0]
"""


def test_a_measurement_that_hangs_keeps_its_command_from_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    names = ("--network", "mine.py:net", "--target", "mine.py:f", "--domain", "-1,1", "--certificate", "off")
    code, told = stop_once_it_hangs(launch("measure", *names, folder=tmp_path), tmp_path)
    assert code == 75 and "do not end and are abandoned" in told and "Traceback" not in told, told
