"""`run` as a user runs it: alone and on ranks, resumed, extended, killed, stopped, with mistakes and failures."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from hpcsweep.cluster.stopping import SIGNALS
from hpcsweep.store import layout, status
from hpcsweep.store.reading import opened
from scripts.fault_matrix.stored import by_key, keys_with
from tests.cluster.launches import SLOW, assert_same, count, end, kill, start, stop, wait_until
from tests.conftest import Run, command
from tests.forks import Forks


@pytest.mark.mpi
def test_the_number_of_ranks_changes_no_bit(hpcsweep: Run, tiny: Path, tmp_path: Path) -> None:
    for ranks in (0, 1, 2, 4):
        done = hpcsweep("run", tiny, "-o", f"{ranks}.h5", "--device", "cpu", ranks=ranks)
        assert done.returncode == 0, done.stderr
        assert "18 done" in done.stdout
        launch = status.summary(tmp_path / f"{ranks}.h5")["launch"]
        assert (launch["ranks"], launch["devices"]) == (max(ranks, 1), f"{max(ranks, 1)} x cpu, 1 thread(s)")
        assert_same(tmp_path / f"{ranks}.h5", tmp_path / "0.h5")
    found = json.loads(hpcsweep("status", "0.h5", "--json").stdout)
    assert found["done"] == found["cells"] == 18 and found["cells_per_second"] > 0 and found["eta_seconds"] is None


def test_running_again_does_nothing_and_extending_only_what_is_new(hpcsweep: Run, tiny: Path, tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    assert hpcsweep("run", tiny, "-o", store).returncode == 0
    before = by_key(store)
    with opened(store) as file:
        finished = file["finished"][:].tolist()
    assert hpcsweep("run", tiny, "-o", store).returncode == 0
    with opened(store) as file:
        assert file["finished"][:].tolist() == finished
    tiny.write_text(tiny.read_text().replace("width = [4, 8]", "width = [4, 6, 8]"))
    extended = hpcsweep("run", tiny, "-o", store)
    assert extended.returncode == 0 and "26 done" in extended.stdout
    assert before.items() <= by_key(store).items()


def lease(store: Path) -> str | None:
    try:
        return store.with_name(store.name + ".lease").read_text()
    except FileNotFoundError:
        return None


@pytest.mark.mpi
def test_kill_9_at_random_moments_loses_nothing_that_was_finished(hpcsweep: Run, forks: Forks, tmp_path: Path) -> None:
    """While it trains, having got on, and while it starts and perhaps rewrites the store, in turn."""
    study, store = tmp_path / "slow.toml", tmp_path / "s.h5"
    study.write_text(SLOW)
    chance, known = random.Random(3), dict[str, bytes]()
    for attempt in range(6):
        before, finished = lease(store), len(known)
        run = start(command("run", study, "-o", store, ranks=2, python=forks.python), tmp_path)
        if attempt % 2:
            wait_until(lambda finished=finished: count(store, "done") > finished, run)
        else:
            wait_until(lambda before=before: lease(store) not in (None, before), run, every=0.005)
        time.sleep(chance.uniform(0.0, 0.5))
        kill(run)
        if not store.exists():
            continue
        done = keys_with(store, layout.DONE)
        values = {key: value for key, value in by_key(store).items() if key in done}
        assert known.items() <= values.items()
        known = values
    assert len(known) > 0
    # A cell that was there at three kills is suspected of them; it is none of its fault.
    assert hpcsweep("run", study, "-o", store, "--retry-failed", ranks=2).returncode == 0
    assert hpcsweep("run", study, "-o", "whole.h5").returncode == 0
    assert by_key(store) == by_key(tmp_path / "whole.h5")
    assert known.items() <= by_key(store).items()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
def test_a_signal_stops_with_75_and_running_again_completes(
    hpcsweep: Run, forks: Forks, tmp_path: Path, number: int
) -> None:
    study, store = tmp_path / "slow.toml", tmp_path / "s.h5"
    few = SLOW.replace("[4, 8]", "[4]").replace("[10, 20, 30]", "[10]")
    study.write_text(few.replace("steps = 1500", "steps = 6000"))
    run = start(command("run", study, "-o", store, python=forks.python), tmp_path)
    wait_until(lambda: count(store, "running"), run)
    assert stop(run, number)[0] == 75
    summary = status.summary(store)
    assert summary["pending"] > 0 and summary["running"] == 0 and summary["live"] is None
    assert hpcsweep("run", study, "-o", store).returncode == 0
    assert status.summary(store)["done"] == 6


@pytest.mark.mpi
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_to_one_rank_stops_all(tmp_path: Path, forks: Forks, number: int) -> None:
    """Libraries of MPI take some signals for themselves: UCX takes SIGHUP."""
    study, store = tmp_path / "slow.toml", tmp_path / "s.h5"
    study.write_text(SLOW.replace("steps = 1500", "steps = 20000"))
    run = start(command("run", study, "-o", store, ranks=2, python=forks.python), tmp_path)
    wait_until(lambda: count(store, "running"), run)
    driver = int(json.loads(lease(store) or "")["process"])
    [other] = [rank for rank in forks.running() if rank.pid != driver]
    other.send_signal(number)
    assert end(run)[0] == 75
    assert status.summary(store)["pending"] > 18 and status.summary(store)["live"] is None


PLUGIN = """
import torch
from hpcsweep.approx.targets import Target

class Raises(Target):
    smoothness, lipschitz = 0, None
    domain = ((0.0, 1.0),)
    def __call__(self, points):
        if len(points) == 10:  # the samples
            raise RuntimeError("no luck today")
        return points[:, 0]

class NotFinite(Raises):
    def __call__(self, points):
        hidden = points[:, 0] > (0.5 if len(points) == 10 else 2.0)
        return torch.where(hidden, torch.inf, points[:, 0])

class NaNAtAPoint(Raises):
    def __call__(self, points):
        hole = (points[:, 0] - 0.3).abs() < 1e-3
        return torch.where(hole, torch.nan, points[:, 0])
"""


def test_failures_are_outcomes_of_their_own_cells(hpcsweep: Run, tmp_path: Path) -> None:
    """And a cell that diverges fails nobody, itself included."""
    (tmp_path / "mine.py").write_text(PLUGIN)
    names = ["exp_cos", "mine.py:Raises", "mine.py:NotFinite", "mine.py:NaNAtAPoint"]
    (tmp_path / "s.toml").write_text(
        f'title = "t"\n[[grid]]\ntarget = {json.dumps(names)}\ndimension = [1]\nsamples = [10]\nwidth = [4]\n'
        '[[grid]]\ntarget = ["exp_cos"]\ndimension = [1]\nsamples = [10]\nwidth = [4]\n'
        "learning_rate = [0.02, 1e308]\nactivation = ['relu']\n[training]\nsteps = 50\n[sup_norm]\ncount = 2000\n"
    )
    done = hpcsweep("run", "s.toml", "-o", "s.h5")
    assert done.returncode == 1 and "3 done, 1 diverged, 2 failed" in done.stdout, done.stdout + done.stderr
    assert "no luck today" in done.stdout and "not finite at" in done.stdout and "--retry-failed" in done.stdout
    with opened(tmp_path / "s.h5") as file:
        targets, messages = file["target"].asstr()[:].tolist(), b"".join(file["message"][:]).decode()
        states = dict(zip(targets[:4], file["status"][:4].tolist(), strict=True))
        lower = dict(zip(targets[:4], file["sup_lower"][:4].tolist(), strict=True))
    assert [states[name] for name in names] == [layout.DONE, layout.FAILED, layout.FAILED, layout.DONE]
    assert lower["exp_cos"] > 0 and np.isnan(lower["mine.py:NaNAtAPoint"])
    assert "The error is NaN or infinite at " in messages
    assert hpcsweep("run", "s.toml", "-o", "s.h5").returncode == 1
    (tmp_path / "mine.py").write_text(PLUGIN.replace("== 10", "== -1"))
    healed = hpcsweep("run", "s.toml", "-o", "s.h5", "--retry-failed")
    assert healed.returncode == 0, healed.stdout + healed.stderr


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [0, 2])
def test_threads_that_would_fight_for_cores_are_refused(hpcsweep: Run, tiny: Path, tmp_path: Path, ranks: int) -> None:
    threads = len(os.sched_getaffinity(0)) // max(ranks, 1) + 1
    refused = hpcsweep("run", tiny, "-o", "s.h5", "--threads", threads, ranks=ranks)
    assert refused.returncode == 2 and "lower --threads" in refused.stderr
    assert not (tmp_path / "s.h5").exists()
