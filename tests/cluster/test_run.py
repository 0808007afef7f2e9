"""`run` as a user runs it: alone and on ranks, resumed, extended, killed, stopped, with mistakes and failures."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from hpcsweep.store import layout, status
from hpcsweep.store.reading import opened
from scripts.fault_matrix.stored import by_key, weights_by_key
from tests.conftest import Run, command, environment


@pytest.mark.mpi
def test_the_number_of_ranks_changes_no_bit(hpcsweep: Run, tiny: Path, tmp_path: Path) -> None:
    for ranks in (0, 1, 2, 4):
        done = hpcsweep("run", tiny, "-o", f"{ranks}.h5", ranks=ranks)
        assert done.returncode == 0, done.stderr
        assert "18 done" in done.stdout
    alone = tmp_path / "0.h5"
    assert status.summary(tmp_path / "4.h5")["launch"]["ranks"] == 4
    for ranks in (1, 2, 4):
        assert by_key(tmp_path / f"{ranks}.h5") == by_key(alone)
        assert weights_by_key(tmp_path / f"{ranks}.h5") == weights_by_key(alone)


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
    assert status.summary(store)["done"] == 26


SLOW = """
title = "slow enough to be killed"
[[grid]]
target = ["exp_cos"]
dimension = [1, 2]
width = [4, 6, 8, 10]
samples = [10, 20, 30]
replicate = 3
[training]
steps = 1500
[sup_norm]
count = 2000
"""


def start(*arguments: object, ranks: int) -> subprocess.Popen[bytes]:
    line = command(*arguments, ranks=ranks)
    return subprocess.Popen(
        line, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def wait_until_live(store: Path, run: subprocess.Popen[bytes], what: str = "running", least: int = 1) -> None:
    """Wait until a run has laid out its store and trains so many cells (or has so many done), or has ended."""
    limit = time.monotonic() + 100
    while time.monotonic() < limit and run.poll() is None:
        if store.exists() and status.summary(store)[what] >= least:
            return
        time.sleep(0.02)


def wait_for_lease(store: Path, run: subprocess.Popen[bytes]) -> None:
    """Wait until a run begins to lay out or rewrite its store, or has ended; no lease of an earlier run is meant."""
    limit, before = time.monotonic() + 100, _lease(store)
    while time.monotonic() < limit and run.poll() is None and _lease(store) in (None, before):
        time.sleep(0.005)


def _lease(store: Path) -> str | None:
    try:
        return store.with_name(store.name + ".lease").read_text()
    except FileNotFoundError:
        return None


def family(process: subprocess.Popen[bytes]) -> list[int]:
    try:
        parent = psutil.Process(process.pid)
        return [process.pid, *(child.pid for child in parent.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


@pytest.mark.mpi
def test_kill_9_at_random_moments_loses_nothing_that_was_finished(hpcsweep: Run, tmp_path: Path) -> None:
    study, store = tmp_path / "slow.toml", tmp_path / "s.h5"
    study.write_text(SLOW)
    chance = random.Random(3)
    known: dict[str, bytes] = {}
    for attempt in range(6):
        run = start("run", study, "-o", store, ranks=2)
        if attempt % 2:  # while it trains, having got on
            wait_until_live(store, run, "done", len(known) + 1)
        else:  # while it starts, and perhaps rewrites the store
            wait_for_lease(store, run)
        time.sleep(chance.uniform(0.0, 0.5))
        for process in family(run):
            os.kill(process, signal.SIGKILL)
        run.wait()
        if not store.exists():
            continue
        with opened(store) as file:
            done = {key.decode() for key in file["key"][:][file["status"][:] == layout.DONE]}
        values = {key: value for key, value in by_key(store).items() if key in done}
        assert known.items() <= values.items()
        known = values
    assert len(known) > 0
    # A cell that was there at three kills is suspected of them; it is none of its fault.
    assert hpcsweep("run", study, "-o", store, "--retry-failed", ranks=2).returncode == 0
    assert hpcsweep("run", study, "-o", "whole.h5").returncode == 0
    assert by_key(store) == by_key(tmp_path / "whole.h5")
    assert known.items() <= by_key(store).items()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_stops_with_75_and_running_again_completes(hpcsweep: Run, tmp_path: Path, number: int) -> None:
    study, store = tmp_path / "slow.toml", tmp_path / "s.h5"
    few = SLOW.replace("[4, 6, 8, 10]", "[4]").replace("[10, 20, 30]", "[10]")
    study.write_text(few.replace("steps = 1500", "steps = 6000"))
    run = start("run", study, "-o", store, ranks=0)
    wait_until_live(store, run)
    time.sleep(0.3)
    run.send_signal(number)
    assert run.wait(timeout=30) == 75
    found = status.summary(store)
    assert found["pending"] > 0 and found["running"] == 0 and found["live"] is None
    assert hpcsweep("run", study, "-o", store).returncode == 0
    assert status.summary(store)["done"] == 6


@pytest.mark.mpi
def test_a_signal_to_one_rank_stops_all(hpcsweep: Run, tmp_path: Path) -> None:
    study, store = tmp_path / "slow.toml", tmp_path / "s.h5"
    study.write_text(SLOW.replace("steps = 1500", "steps = 20000"))
    run = start("run", study, "-o", store, ranks=2)
    wait_until_live(store, run)
    ranks = [number for number in family(run) if psutil.Process(number).name().startswith("python")]
    driver = int(json.loads(store.with_name("s.h5.lease").read_text())["process"])
    [other] = set(ranks) - {driver}
    os.kill(other, signal.SIGTERM)
    assert run.wait(timeout=60) == 75
    assert status.summary(store)["pending"] > 36 and status.summary(store)["live"] is None


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

class NotFinite(Target):
    smoothness, lipschitz = 0, None
    domain = ((0.0, 1.0),)
    def __call__(self, points):
        hidden = points[:, 0] > (0.5 if len(points) == 10 else 2.0)
        return torch.where(hidden, torch.inf, points[:, 0])

class NaNAtAPoint(Target):
    smoothness, lipschitz = 0, None
    domain = ((0.0, 1.0),)
    def __call__(self, points):
        hole = (points[:, 0] - 0.3).abs() < 1e-3
        return torch.where(hole, torch.nan, points[:, 0])
"""


def test_failures_are_outcomes_of_their_own_cells(hpcsweep: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    study = tmp_path / "s.toml"
    names = ["exp_cos", "mine.py:Raises", "mine.py:NotFinite", "mine.py:NaNAtAPoint"]
    study.write_text(
        f'title = "t"\n[[grid]]\ntarget = {json.dumps(names)}\ndimension = [1]\nsamples = [10]\nwidth = [4]\n'
        "[training]\nsteps = 20\n[sup_norm]\ncount = 2000\n"
    )
    done = hpcsweep("run", study, "-o", "s.h5")
    assert done.returncode == 1
    assert "no luck today" in done.stdout and "not finite at" in done.stdout and "--retry-failed" in done.stdout
    with opened(tmp_path / "s.h5") as file:
        found = dict(zip((t.decode() for t in file["target"][:]), file["status"][:].tolist(), strict=True))
        lower = dict(zip((t.decode() for t in file["target"][:]), file["sup_lower"][:].tolist(), strict=True))
        messages = b"".join(file["message"][:]).decode()
    assert [found[name] for name in names] == [layout.DONE, layout.FAILED, layout.FAILED, layout.DONE]
    assert lower["exp_cos"] > 0 and np.isnan(lower["mine.py:NaNAtAPoint"])
    assert "The error is NaN or infinite at " in messages
    again = hpcsweep("run", study, "-o", "s.h5")
    assert again.returncode == 1
    (tmp_path / "mine.py").write_text(PLUGIN.replace("== 10", "== -1"))
    healed = hpcsweep("run", study, "-o", "s.h5", "--retry-failed")
    assert healed.returncode == 0, healed.stdout + healed.stderr


def test_check_says_which_rules_a_plugin_breaks(hpcsweep: Run, tmp_path: Path) -> None:
    body = "import torch\nfrom hpcsweep.approx.targets import Target\n"
    body += "class Mine(Target):\n    smoothness = 0\n    def __call__(self, points):\n        return {}\n"
    (tmp_path / "mine.py").write_text(body.format("points[:, 0].abs()"))
    good = hpcsweep("check", "mine.py:Mine", "-d", "2")
    assert good.returncode == 0 and "all rules kept" in good.stdout
    (tmp_path / "mine.py").write_text(body.format("points"))
    bad = hpcsweep("check", "mine.py:Mine", "-d", "2")
    assert bad.returncode == 1 and "(256, 2)" in bad.stdout, bad.stdout + bad.stderr
    assert hpcsweep("check", "mine.py:Yours").returncode == 2


def test_a_diverging_cell_does_not_stop_its_pack(hpcsweep: Run, tmp_path: Path) -> None:
    study = tmp_path / "s.toml"
    study.write_text(
        'title = "t"\n[[grid]]\ntarget = ["exp_cos"]\ndimension = [1]\nsamples = [10]\nwidth = [4]\n'
        "learning_rate = [0.01, 1e308]\nactivation = ['relu']\n[training]\nsteps = 50\n[sup_norm]\ncount = 500\n"
    )
    done = hpcsweep("run", study, "-o", "s.h5")
    assert done.returncode == 0 and "1 done, 1 diverged" in done.stdout, done.stdout + done.stderr


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [0, 2])
def test_threads_that_would_fight_for_cores_are_refused(hpcsweep: Run, tiny: Path, tmp_path: Path, ranks: int) -> None:
    threads = len(os.sched_getaffinity(0)) // max(ranks, 1) + 1
    refused = hpcsweep("run", tiny, "-o", "s.h5", "--threads", threads, ranks=ranks)
    assert refused.returncode == 2 and "lower --threads" in refused.stderr
    assert not (tmp_path / "s.h5").exists()


def test_status_and_plan_in_json(hpcsweep: Run, tiny: Path) -> None:
    plan = json.loads(hpcsweep("plan", tiny, "--ranks", "3", "--json").stdout)
    assert (plan["cells"], plan["ranks"]) == (18, 3) and plan["seconds"] > 0 and plan["flops"] > 0
    assert hpcsweep("run", tiny, "-o", "s.h5").returncode == 0
    found = json.loads(hpcsweep("status", "s.h5", "--json").stdout)
    assert found["done"] == found["cells"] == 18 and found["cells_per_second"] > 0 and found["eta_seconds"] is None


@pytest.mark.mpi
def test_an_uncaught_exception_ends_all_ranks(tmp_path: Path) -> None:
    """A defect in the driver must not leave the other ranks waiting for ever."""
    code = (
        "from hpcsweep.cluster.workforce import assemble\n"
        "with assemble() as workforce:\n"
        "    if workforce is not None:\n"
        "        raise RuntimeError('a defect')\n"
    )
    line = command(ranks=2)
    line = [*line[: line.index("-m")], "-c", code]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "a defect" in done.stderr and "rank 0 of 2 failed" in done.stderr
