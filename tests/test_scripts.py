"""The scripts that anyone can run: the matrix of faults, whose verdicts must be able to be bad; published systems."""

from __future__ import annotations

import importlib
import json
import math
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
import torch

from hpcsweep.store import layout
from hpcsweep.store.weights import path_of
from scripts.fault_matrix.matrix import ROWS
from scripts.fault_matrix.row import Repetition, Verdict
from scripts.fault_matrix.table import document
from scripts.fault_matrix.trial import Reference, Trial
from tests.conftest import finished

SCRIPTS = Path(__file__).parents[1] / "scripts"
FAULTS = SCRIPTS / "faults"


def test_a_run_survives_three_faults(tmp_path: Path) -> None:
    """Killed, told to stop, and with a target that raises; alone, so that no MPI is needed."""
    rows = [word for name in ("everything", "sigterm", "raises") for word in ("--only", name)]
    line = [sys.executable, FAULTS, "--quick", "--seed", "4", "--ranks", "0", "--at-once", "2", *rows]
    done = finished([*line, "--output", tmp_path / "faults.md"], tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "faults.md").read_text()
    assert page.count("| 1 | 1 × ") == 3 and page.count("| 1/1 | 1/1 | 0 |") == 3, page
    assert "exit -9" in page and "exit 75" in page and "some cells failed" in page


def test_a_fault_that_loses_something_is_told(finished_store: Path) -> None:
    """One bit of one result, then one of one parameter."""
    truth = Reference.of(finished_store)
    assert truth.wrong(finished_store) == 0 and truth.whole(finished_store)
    with h5py.File(finished_store, "r+", locking=False) as file:
        file["sup_lower"][3] *= 1 + 2**-52
    assert truth.wrong(finished_store) == 1 and not truth.whole(finished_store)
    with h5py.File(path_of(finished_store), "r+", locking=False) as file:
        file["parameters"][0] *= 1 + 2**-52
    assert truth.wrong(finished_store) == 2


def test_a_cell_that_is_done_no_more_is_seen(finished_store: Path, tmp_path: Path) -> None:
    trial = Trial(tmp_path / "trial", random.Random(0), 0)
    with trial.watched():
        finished_store.rename(trial.store)
        _wait_for(lambda: len(trial.seen) == 18)
        assert not trial.vanished
        with h5py.File(trial.store, "r+", locking=False) as file:
            file["status"][5] = layout.RUNNING
            file["checksum"][5] = 0  # or it would be known to be complete
        _wait_for(lambda: len(trial.vanished) == 1)
    assert len(trial.begun()) == 1


def _wait_for(happened: Callable[[], bool]) -> None:
    limit = time.monotonic() + 10
    while not happened() and time.monotonic() < limit:
        time.sleep(0.02)
    assert happened()


def test_the_page_says_what_was_lost_and_what_was_skipped() -> None:
    fine = Repetition("exit 9", readable=True, right=True, done=7, again=4, launches=1)
    bad = Repetition("exit 0", readable=True, right=False, done=7, lost=2, again=6, launches=2)
    assert fine.good and not bad.good and not Verdict(ROWS[0], repetitions=[fine, bad]).good
    page = document([Verdict(ROWS[0], repetitions=[fine, bad]), Verdict(ROWS[1], "no Slurm")], 3, "Linux", 2, 6)
    assert "| 2 | 1 × exit 9; 1 × exit 0 | 2/2 | 1/2 | 2 | 4 to 6 | 2/2 (2) |" in page
    assert "skipped: no Slurm" in page


def test_published_systems_are_decided_and_bracketed(tmp_path: Path) -> None:
    done = finished([sys.executable, SCRIPTS / "bench_published_systems.py", "--quick", "--only", "tank"], tmp_path)
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    figures = {line["name"]: line["value"] for line in map(json.loads, printed[:-4])}
    assert figures["proved 5 % above the error and refuted 5 % below"] == 1.0
    assert figures["brackets closed in 5 s, up to four inputs"] == 1.0
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed[-2:]]
    assert [row[2:5] for row in rows] == [["1x12", "1", "0.097"], ["3x64", "1", "0.002"]]
    assert all(row[5] == ("proved" if float(row[8]) < float(row[4]) else "refuted") for row in rows)


@pytest.mark.parametrize(
    ("name", "point", "derivatives"),
    [
        ("water tank", (4,), (-0.5,)),
        ("jet engine", (1, 0.5), (-2.6, 2.5)),
        ("steam governor", (math.pi / 4, 0.1, 1), (0.1, 0.2 - math.sqrt(0.5), 1 - math.sqrt(0.5))),
        ("exponential", (0.5, 0), (-math.sin(math.e), -0.5)),
        ("non-Lipschitz 1", (0.25, -1), (-1, 0.5)),
        ("non-Lipschitz 2", (-0.125, 1), (1.015625, 0.375)),
        ("oscillator", (2,), (-6 + 0.3 * math.sin(2),)),
        ("van der Pol", (2, 1), (1, -5)),
        ("Sine2D", (1, 2), (math.sin(2), -math.sin(1))),
        ("Lorenz", (1, 2, 3), (10, 23, -6)),
        ("vortex 3-D", (1, 1, 2), (1, -0.185, math.sin(0.4) - 0.01)),
        ("vortex 4-D", (0, 1, 2, 1), (1, -0.02, 0.29, 0.3 * (0.2 * math.cos(0.4) - 2) - 0.005)),
        ("quadcopter", (1, 0.5, -1, 3, 2, 1, 0), (-0.1, 1.4, 1.0)),
        ("spacecraft", (10, 1, 1, 2, 0, 1, 0), (0.01, 2e-6, 4e-8 - 0.03986 + 1 / 750, -2e-8, -0.025)),
    ],
)
def test_published_systems_have_their_derivatives(
    name: str, point: tuple[float, ...], derivatives: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(SCRIPTS)
    systems = importlib.import_module("bench_published_systems").ALL
    values = next(system for system in systems if system.name == name)(torch.tensor([point], dtype=torch.float64))
    assert values[0].tolist() == pytest.approx(derivatives, rel=1e-12)
