"""`submit`: a study as an array of elements, on this machine, in this process, and under a real Slurm."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from hpcsweep import shards, status
from hpcsweep.slurm import clean, folder_of
from tests.cluster.conftest import Slurm
from tests.cluster.test_run import by_key, start, weights_by_key
from tests.conftest import Run, command

# Four elements with two packs each, that train for seconds.
LONG = """
title = "long"
[[grid]]
target = ["exp_cos"]
dimension = [1, 2]
width = [4, 8]
samples = [10, 20]
replicate = 2
[training]
steps = 60000
[sup_norm]
count = 500
uniform = 0
starts = 8
kinks = 0
certificate = "off"
"""
FOUR = ("--array", 4, "--ntasks-per-node", 2, "--partition", "low", "--time", "20m")


@pytest.mark.parametrize("how", [("debug",), ("local",), ("local", "--ntasks-per-node", 2)])
def test_without_slurm_elements_give_what_one_process_gives_to_the_bit(
    hpcsweep: Run, tiny: Path, tmp_path: Path, how: tuple[str, ...]
) -> None:
    submit = ("submit", tiny, "-o", "r.h5", "--array", 3, "--cluster", *how)
    done = hpcsweep(*submit)
    assert done.returncode == 0 and "18 cells new" in done.stdout, done.stderr
    assert "3 of 3 element(s)" in done.stdout and "flops" in done.stdout
    assert hpcsweep("run", tiny, "-o", "alone.h5").returncode == 0
    assert by_key(tmp_path / "r.h5") == by_key(tmp_path / "alone.h5")
    assert weights_by_key(tmp_path / "r.h5") == weights_by_key(tmp_path / "alone.h5")
    again = hpcsweep(*submit)
    assert again.returncode == 0 and "0 of 3 element(s)" in again.stdout and "0 cells new" in again.stdout
    other = hpcsweep("submit", tiny, "-o", "r.h5", "--array", 2, "--cluster", *how)
    assert other.returncode == 2 and "--delete-shards" in other.stderr
    assert hpcsweep("merge", "r.h5", "--delete-shards").returncode == 0
    other = hpcsweep("submit", tiny, "-o", "r.h5", "--array", 2, "--cluster", *how)
    assert other.returncode == 0 and "0 of 2 element(s)" in other.stdout, other.stderr


def test_one_element_is_a_run_of_the_main_file(hpcsweep: Run, tiny: Path, tmp_path: Path) -> None:
    done = hpcsweep("submit", tiny, "-o", "r.h5", "--cluster", "debug")
    assert done.returncode == 0, done.stderr
    assert status.everything(tmp_path / "r.h5")["done"] == 18 and not shards.beside(tmp_path / "r.h5")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_elements_save_themselves_and_go_on_when_submitted_again(
    hpcsweep: Run, tmp_path: Path, number: signal.Signals
) -> None:
    study, store = tmp_path / "long.toml", tmp_path / "r.h5"
    study.write_text(LONG.replace("60000", "20000").replace("[4, 8]", "[4]"))
    submit = ("submit", study, "-o", store, "--array", 2, "--cluster", "local")
    run = start(*submit, ranks=0)
    wait_until_running(store, 1)
    os.killpg(run.pid, number)  # as the keyboard does
    assert run.wait(timeout=60) == 75
    found = status.everything(store)
    assert not status.is_live(found) and found["together"]["pending"] > 0
    again = hpcsweep(*submit)
    assert again.returncode == 0, again.stderr
    assert hpcsweep("run", study, "-o", "alone.h5").returncode == 0
    assert by_key(store) == by_key(tmp_path / "alone.h5")


def wait_until_running(store: Path, count: int) -> list[Path]:
    """Wait until so many shards have cells that run; return these."""
    limit = time.monotonic() + 100
    while time.monotonic() < limit:
        found = [path for path in shards.beside(store) if status.summary(path)["running"]]
        if len(found) >= count:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{shards.beside(store)} do not run")


def test_mistakes_are_told_before_anything_runs(hpcsweep: Run, tiny: Path, tmp_path: Path) -> None:
    for wrong, remedy in [
        (("--nodes", 2, "--cluster", "local"), "--nodes 1"),
        (("--ntasks-per-node", 2, "--cluster", "debug"), "--ntasks-per-node 1"),
    ]:
        done = hpcsweep("submit", tiny, "-o", "r.h5", "--array", 2, *wrong)
        assert done.returncode == 2 and remedy in done.stderr and "Traceback" not in done.stderr
    nowhere = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(command("submit", tiny, "-o", tmp_path / "r.h5"), env=nowhere, capture_output=True, text=True)
    assert done.returncode == 2 and "--cluster local" in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.glob("r.*"))


def test_an_allocation_leaves_no_trace_in_what_is_submitted_from_it() -> None:
    inside = {
        "SLURM_NTASKS": "8",
        "SLURM_MEM_PER_CPU": "1",
        "SBATCH_PARTITION": "x",
        "PMI_RANK": "3",
        "OMPI_UNIVERSE": "1",
    }
    outside = {"SLURM_CONF": "/x", "HOME": "/y", "HPCSWEEP_DEVICE": "cpu", "CUDA_HOME": "/z", "SBATCH_ACCOUNT": "mine"}
    assert clean({**inside, **outside}) == outside


@pytest.mark.slurm
def test_a_dry_run_shows_what_slurm_accepts_and_submits_nothing(tiny: Path, slurm: Slurm) -> None:
    line = command("submit", tiny, "-o", "r.h5", *FOUR, "--gpus-per-node", 2, "--mpi", "pmix", "--dry-run")
    done = slurm.call(*line)
    assert done.returncode == 0, done.stderr
    text = done.stdout[done.stdout.index("#!/bin/bash") :]
    for wanted in ("--array=0-3%4", "--requeue", "--gpus-per-node=2", "--mpi=pmix", "--kill-on-bad-exit=1", "USR2@"):
        assert wanted in text
    script = slurm.folder / "dry.sh"
    script.write_text(text)
    accepted = slurm.call("sbatch", "--test-only", script)
    assert accepted.returncode == 0, accepted.stderr
    assert not slurm.call("squeue", "-h").stdout and not list(slurm.folder.glob("r.*"))


@pytest.mark.slurm
def test_preempted_and_signalled_elements_go_on_and_give_what_one_process_gives(
    hpcsweep: Run, tmp_path: Path, slurm: Slurm
) -> None:
    """Four elements of two ranks, submitted from inside an allocation; all are preempted, one then gets USR2."""
    study, store = tmp_path / "long.toml", tmp_path / "r.h5"
    study.write_text(LONG)
    line = command("submit", study, "-o", store, *FOUR)
    done = slurm.call("srun", "-n1", "--partition=high", "--mpi=pmi2", *line)
    assert done.returncode == 0, done.stderr
    array, merging = re.findall(r"job (\d+)", done.stdout)
    wait_until_running(store, 2)
    for node in ("n1", "n2"):
        slurm.submit("--partition=high", f"--nodelist={node}", "--exclusive", "--wrap=sleep 1")
    time.sleep(8)
    again = wait_until_running(store, 1)
    number = shards.of(again[0]).number - 1
    shown = slurm.call(*command("status", store, "--jobs"))
    assert f"job {array}_{number} (hpcsweep-r): running" in shown.stdout, shown.stdout + shown.stderr
    assert f"job {merging} (hpcsweep-merge-r): pending" in shown.stdout
    assert slurm.call("scancel", "--signal=USR2", f"{array}_{number}").returncode == 0
    assert slurm.wait(merging, 250) == ("COMPLETED", 0), logs(store)
    assert int(slurm.job(f"{array}_{number}")["Restarts"]) >= 2, logs(store)
    told = logs(store)
    assert "DUE TO PREEMPTION" in told and f"Requeued job {array}_{number}" in told and "Traceback" not in told
    assert hpcsweep("run", study, "-o", "alone.h5").returncode == 0
    assert by_key(store) == by_key(tmp_path / "alone.h5")
    assert hpcsweep("merge", store, "--delete-shards").returncode == 0


def logs(store: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(folder_of(store).glob("*_log.*")))


@pytest.mark.slurm
def test_a_cancelled_element_stays_cancelled_and_the_merge_says_what_is_missing(tmp_path: Path, slurm: Slurm) -> None:
    study, store = tmp_path / "long.toml", tmp_path / "r.h5"
    study.write_text(LONG.replace("[4, 8]", "[4]").replace("60000", "100000000"))
    done = slurm.call(*command("submit", study, "-o", store, "--array", 2, "--time", "20m"))
    assert done.returncode == 0, done.stderr
    array, merging = re.findall(r"job (\d+)", done.stdout)
    wait_until_running(store, 2)
    assert slurm.call("scancel", array).returncode == 0
    assert slurm.wait(merging) == ("FAILED", 75), logs(store)
    for number in (0, 1):
        found = slurm.job(f"{array}_{number}")
        assert found["JobState"] == "CANCELLED" and found["Restarts"] == "0", logs(store)
    told = logs(store)
    assert "r.1-of-2.h5: 4 cells are not finished" in told and "r.2-of-2.h5: 4 cells are not finished" in told
    found = status.everything(store)
    assert found["together"]["pending"] == 8 and not status.is_live(found)
