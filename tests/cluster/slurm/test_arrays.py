"""`submit` and the job scripts under a real Slurm: arrays that are preempted, signalled, cancelled and merged."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from hpcsweep.cluster.shared_memory import NAMES, SHARED_MEMORY
from hpcsweep.cluster.slurm import Queue
from hpcsweep.store import shards, status
from scripts.fault_matrix.stored import by_key
from tests.cluster.launches import LONG
from tests.cluster.slurm.conftest import Slurm
from tests.cluster.test_submit import logs, wait_until_running
from tests.conftest import Run, command

pytestmark = pytest.mark.slurm
FOUR = ("--array", 4, "--ntasks-per-node", 2, "--partition", "low", "--time", "20m")
JOBS = Path(__file__).parents[3] / "jobs"


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


@pytest.mark.timeout(600)
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
    assert slurm.call("scancel", "--signal=USR2", f"{array}_{number}").returncode == 0  # at once: it runs for seconds
    shown = slurm.call(*command("status", store, "--jobs"))
    assert re.search(rf"job {array}_{number} \(hpcsweep-r\): \w+", shown.stdout), shown.stdout + shown.stderr
    assert f"job {merging} (hpcsweep-merge-r): pending" in shown.stdout
    assert slurm.wait(merging, 200) == ("COMPLETED", 0), logs(store)
    assert int(slurm.job(f"{array}_{number}")["Restarts"]) >= 2, logs(store)
    told = logs(store)
    assert "DUE TO PREEMPTION" in told and f"Requeued job {array}_{number}" in told and "Traceback" not in told
    assert hpcsweep("run", study, "-o", "alone.h5").returncode == 0
    assert by_key(store) == by_key(tmp_path / "alone.h5")
    assert hpcsweep("merge", store, "--delete-shards").returncode == 0


def test_preempted_with_notice_elements_save_themselves_and_requeue_themselves(tmp_path: Path, slurm: Slurm) -> None:
    """With GraceTime Slurm signals the steps, and holds a job that ends in time for ended."""
    study, store = tmp_path / "long.toml", tmp_path / "r.h5"
    study.write_text(LONG.replace("[4, 8]", "[4]"))
    low = ("scontrol", "update", "partitionname=low")
    assert slurm.call(*low, "gracetime=60").returncode == 0
    try:
        done = slurm.call(*command("submit", study, "-o", store, "--array", 2, *FOUR[2:]))
        array, merging = re.findall(r"job (\d+)", done.stdout)
        wait_until_running(store, 2)
        slurm.submit("--partition=high", "--nodelist=n1", "--exclusive", "--wrap=sleep 1")
        assert slurm.wait(merging, 200) == ("COMPLETED", 0), logs(store)
    finally:
        slurm.call(*low, "gracetime=0")
    assert [slurm.job(f"{array}_{number}")["Restarts"] for number in (0, 1)] == ["1", "1"], logs(store)
    assert status.summary(store)["done"] == 8 and "Calling checkpoint method" in logs(store)


def test_a_cancelled_element_stays_cancelled_and_the_merge_says_what_is_missing(tmp_path: Path, slurm: Slurm) -> None:
    study, store = tmp_path / "long.toml", tmp_path / "r.h5"
    study.write_text(LONG.replace("[4, 8]", "[4]").replace("1500000", "100000000"))
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


@pytest.mark.parametrize("script", sorted(JOBS.glob("*.sbatch")), ids=lambda path: path.stem)
def test_slurm_accepts_the_job_scripts(slurm: Slurm, script: Path) -> None:
    partition = {"preemptible": "low", "amd": "amd"}.get(script.stem, "normal")
    done = slurm.call("sbatch", "--test-only", f"--partition={partition}", script, "study.toml", "results.h5")
    assert done.returncode == 0 and "to start at" in done.stderr, done.stderr


def test_the_array_script_and_its_merge_do_a_study(hpcsweep: Run, tiny: Path, tmp_path: Path, slurm: Slurm) -> None:
    job = slurm.submit("--array=1-2", JOBS / "array.sbatch", tiny, "r.h5")
    merge = " ".join(command("merge", "r.h5", "--delete-shards"))
    merging = slurm.submit(f"--dependency=afterany:{job}", f"--wrap={merge}")
    assert slurm.wait(merging) == ("COMPLETED", 0), slurm.log(merging)
    assert hpcsweep("run", tiny, "-o", "alone.h5").returncode == 0
    assert by_key(tmp_path / "r.h5") == by_key(tmp_path / "alone.h5")
    assert not shards.beside(tmp_path / "r.h5")


def test_the_queue_is_asked_for_all_jobs_at_once_and_rarely(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real squeue, behind a script that counts its calls."""
    counts, real = slurm.folder / "calls", slurm.call("bash", "-c", "command -v squeue").stdout.strip()
    (slurm.folder / "bin").mkdir()
    counting = slurm.folder / "bin" / "squeue"
    counting.write_text(f'#!/bin/sh\necho "$@" >> {counts}\nexec {real} "$@"\n')
    counting.chmod(0o755)
    monkeypatch.setenv("PATH", f"{counting.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    held = [slurm.submit("--hold", "--array=0-2", "--wrap=true"), slurm.submit("--hold", "--wrap=true")]
    queue = Queue()
    for _ in range(5):
        found = queue.look(held)
    assert {job.number for job in found} == {*(f"{held[0]}_{number}" for number in range(3)), held[1]}
    assert {job.state for job in found} == {"PENDING"} and not queue.problem
    assert len(counts.read_text().splitlines()) == 1
    slurm.call("scancel", *held)
    assert Queue().look([held[1], "1"]) == [] == Queue().look(["1"]) and not Queue().look([])
    assert len(counts.read_text().splitlines()) == 3


def test_what_killed_ranks_left_does_not_stop_a_requeued_job(slurm: Slurm, tiny: Path) -> None:
    """A job whose ranks are killed in the middle and requeued: MPICH would find its own old shared memory and die."""
    study = slurm.folder / "long.toml"
    study.write_text(LONG.replace("[4, 8]", "[4]").replace("[1, 2]", "[1]"))
    job = slurm.submit("--nodelist=n1", "--ntasks-per-node=2", "--requeue", JOBS / "run.sbatch", study, "r.h5")
    limit = time.monotonic() + 60
    store = slurm.folder / "r.h5"
    while not store.exists() or not status.summary(store)["running"]:
        assert time.monotonic() < limit, slurm.log(job)
        time.sleep(0.1)
    before = set(SHARED_MEMORY.glob(NAMES))
    assert slurm.call("scancel", "--signal=KILL", f"{job}.0").returncode == 0
    limit = time.monotonic() + 30
    while slurm.job(job)["JobState"] in ("RUNNING", "COMPLETING"):
        assert time.monotonic() < limit, slurm.log(job)
        time.sleep(0.1)
    assert before & set(SHARED_MEMORY.glob(NAMES)), "nothing is left: this test tests nothing"
    assert slurm.call("scontrol", "requeue", job).returncode == 0
    assert slurm.wait(job) == ("COMPLETED", 0), slurm.log(job)
    assert slurm.job(job)["Restarts"] == "1"


def test_every_element_knows_itself_from_the_array(slurm: Slurm) -> None:
    """The last element has the number of the whole array, by which Slurm tells of all of them."""
    code = "from hpcsweep.cluster import slurm as s; print(s.job_of(), s.walltime() < 1e10, s.still_running())"
    array = slurm.submit("--array=0-2", "--time=5", "--output=%a.txt", f"--wrap=sleep 3; python -c '{code}'; sleep 5")
    limit = time.monotonic() + 60
    while any(slurm.job(f"{array}_{number}")["JobState"] != "COMPLETED" for number in range(3)):
        assert time.monotonic() < limit
        time.sleep(0.5)
    told = [(slurm.folder / f"{number}.txt").read_text() for number in range(3)]
    assert told == [f"{array}_{number} True True\n" for number in range(3)]
