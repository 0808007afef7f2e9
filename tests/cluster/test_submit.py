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
from hpcsweep.cluster.leftovers import NAMES, SHARED_MEMORY
from hpcsweep.slurm import Queue, clean, folder_of
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
steps = 1500000
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
    done = hpcsweep("submit", tiny, "-o", "r.h5", "--array", 3, "--cluster", *how)
    assert done.returncode == 0 and "18 cells new" in done.stdout, done.stderr
    assert "3 of 3 element(s)" in done.stdout and "flops" in done.stdout
    assert hpcsweep("run", tiny, "-o", "alone.h5").returncode == 0
    assert by_key(tmp_path / "r.h5") == by_key(tmp_path / "alone.h5")
    assert weights_by_key(tmp_path / "r.h5") == weights_by_key(tmp_path / "alone.h5")


def test_submitted_again_only_what_is_left_is_done(hpcsweep: Run, tiny: Path) -> None:
    submit = ("submit", tiny, "-o", "r.h5", "--cluster", "debug")
    assert hpcsweep(*submit, "--array", 3).returncode == 0
    again = hpcsweep(*submit, "--array", 3)
    assert again.returncode == 0 and "0 of 3 element(s)" in again.stdout and "0 cells new" in again.stdout
    other = hpcsweep(*submit, "--array", 2)
    assert other.returncode == 2 and "--delete-shards" in other.stderr
    assert hpcsweep("merge", "r.h5", "--delete-shards").returncode == 0
    other = hpcsweep(*submit, "--array", 2)
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
    study.write_text(LONG.replace("1500000", "8000").replace("[4, 8]", "[4]").replace("[10, 20]", "[10]"))
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
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        found = [path for path in shards.beside(store) if status.summary(path)["running"]]
        if len(found) >= count:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{shards.beside(store)} do not run\n{logs(store)}")


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
    assert slurm.wait(merging, 400) == ("COMPLETED", 0), logs(store)
    assert int(slurm.job(f"{array}_{number}")["Restarts"]) >= 2, logs(store)
    told = logs(store)
    assert "DUE TO PREEMPTION" in told and f"Requeued job {array}_{number}" in told and "Traceback" not in told
    assert hpcsweep("run", study, "-o", "alone.h5").returncode == 0
    assert by_key(store) == by_key(tmp_path / "alone.h5")
    assert hpcsweep("merge", store, "--delete-shards").returncode == 0


def logs(store: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(folder_of(store).glob("*_log.*")))


@pytest.mark.slurm
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


@pytest.mark.slurm
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


JOBS = Path(__file__).parents[2] / "jobs"


@pytest.mark.slurm
@pytest.mark.parametrize("script", sorted(JOBS.glob("*.sbatch")), ids=lambda path: path.stem)
def test_slurm_accepts_the_job_scripts(slurm: Slurm, script: Path) -> None:
    partition = {"preemptible": "low", "amd": "amd"}.get(script.stem, "normal")
    done = slurm.call("sbatch", "--test-only", f"--partition={partition}", script, "study.toml", "results.h5")
    assert done.returncode == 0 and "to start at" in done.stderr, done.stderr


@pytest.mark.slurm
def test_the_array_script_and_its_merge_do_a_study(hpcsweep: Run, tiny: Path, tmp_path: Path, slurm: Slurm) -> None:
    job = slurm.submit("--array=1-2", JOBS / "array.sbatch", tiny, "r.h5")
    merge = " ".join(command("merge", "r.h5", "--delete-shards"))
    merging = slurm.submit(f"--dependency=afterany:{job}", f"--wrap={merge}")
    assert slurm.wait(merging) == ("COMPLETED", 0), slurm.log(merging)
    assert hpcsweep("run", tiny, "-o", "alone.h5").returncode == 0
    assert by_key(tmp_path / "r.h5") == by_key(tmp_path / "alone.h5")
    assert not shards.beside(tmp_path / "r.h5")


@pytest.mark.slurm
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


@pytest.mark.slurm
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


@pytest.mark.slurm
def test_every_element_knows_itself_from_the_array(slurm: Slurm) -> None:
    """The last element has the number of the whole array, by which Slurm tells of all of them."""
    code = "from hpcsweep.cluster import stopping as s; print(s.job_of(), s.walltime() < 1e10, s.still_running())"
    array = slurm.submit("--array=0-2", "--time=5", "--output=%a.txt", f"--wrap=sleep 3; python -c '{code}'; sleep 5")
    limit = time.monotonic() + 60
    while any(slurm.job(f"{array}_{number}")["JobState"] != "COMPLETED" for number in range(3)):
        assert time.monotonic() < limit
        time.sleep(0.5)
    told = [(slurm.folder / f"{number}.txt").read_text() for number in range(3)]
    assert told == [f"{array}_{number} True True\n" for number in range(3)]
