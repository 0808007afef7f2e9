"""hpcsweep under a real Slurm, as `scripts/slurm_sandbox` makes it: n1 and n2 with 2 GPUs each, a1 with 8 of AMD."""

from __future__ import annotations

import json
import signal
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from hpcsweep.store import layout, status
from hpcsweep.store.reading import opened
from scripts.fault_matrix.stored import by_key
from tests.cluster.launches import SLOW
from tests.cluster.slurm.conftest import Slurm
from tests.conftest import Run

pytestmark = pytest.mark.slurm
SBATCH = Path(__file__).parents[3] / "jobs" / "run.sbatch"
HPCSWEEP = ("python", "-m", "hpcsweep")
RECORDED = Path(__file__).with_name("slurm_environments.json")

# Some cells that take seconds together, and one that takes for ever.
ENDLESS = """
[[grid]]
target = ["exp_cos"]
dimension = [1]
width = [5]
samples = [10]
steps = [1000000000]
"""


def done_in(store: Path) -> dict[str, bytes]:
    """Every stored value of the cells that are done, by key."""
    with opened(store) as file:
        done = {key.decode() for key in file["key"][:][file["status"][:] == layout.DONE]}
    return {key: value for key, value in by_key(store).items() if key in done}


def wait_for(store: Path, wanted: str, count: int, slurm: Slurm, job: str) -> None:
    """Wait until so many cells of a store are in a state."""
    limit = time.monotonic() + 100
    while not store.exists() or status.summary(store)[wanted] < count:
        assert time.monotonic() < limit and slurm.job(job)["JobState"] in ("PENDING", "RUNNING"), slurm.log(job)
        time.sleep(0.1)


def test_two_nodes_give_what_one_process_gives_to_the_bit(hpcsweep: Run, tiny: Path, slurm: Slurm) -> None:
    line = ("srun", "-N2", "-n2", "--mpi=pmi2", *HPCSWEEP, "run", tiny, "-o", "two.h5")
    done = slurm.call(*line)
    assert done.returncode == 0 and "18 done" in done.stdout, done.stderr
    assert hpcsweep("run", tiny, "-o", "alone.h5").returncode == 0
    launch = status.summary(slurm.folder / "two.h5")["launch"]
    assert launch["ranks"] == 2 and launch["job"].isdigit()
    assert by_key(slurm.folder / "two.h5") == by_key(slurm.folder / "alone.h5")


def test_the_wrong_mpi_is_refused_with_the_remedy(tiny: Path, slurm: Slurm) -> None:
    refused = slurm.call("srun", "-N2", "-n2", "--mpi=none", *HPCSWEEP, "run", tiny, "-o", "s.h5")
    assert refused.returncode == 2
    assert "2 tasks" in refused.stderr and "srun --mpi=list" in refused.stderr and "Traceback" not in refused.stderr
    assert not list(slurm.folder.glob("s*.h5*")), "something was written"


def test_stopped_submitted_again_and_preempted_a_study_still_ends_the_same(
    hpcsweep: Run, tmp_path: Path, slurm: Slurm
) -> None:
    study, store = tmp_path / "slow.toml", tmp_path / "s.h5"
    few = SLOW.replace("[4, 8]", "[4]").replace("[10, 20, 30]", "[10, 20]")
    study.write_text(few.replace("steps = 1500", "steps = 5000"))
    batch = ("--partition=low", "--nodelist=n2", "--ntasks-per-node=2", SBATCH, study, store)
    job = slurm.submit(*batch)
    wait_for(store, "running", 1, slurm, job)
    assert slurm.call("scancel", "--signal=TERM", job).returncode == 0
    assert slurm.wait(job) == ("FAILED", 75), slurm.log(job)
    found = status.summary(store)
    assert found["pending"] > 0 and found["running"] == 0 and found["live"] is None
    assert "run the same command again" in slurm.log(job)
    again = slurm.submit(*batch)
    wait_for(store, "running", 1, slurm, again)
    slurm.submit("--partition=high", "--nodelist=n2", "--exclusive", "--wrap=true")
    assert slurm.wait(again) == ("COMPLETED", 0), slurm.log(again)
    assert "DUE TO PREEMPTION" in slurm.log(again) and slurm.job(again)["Restarts"] == "1"
    assert hpcsweep("run", study, "-o", "alone.h5").returncode == 0
    assert by_key(store) == by_key(tmp_path / "alone.h5")


def test_the_walltime_loses_nothing_that_was_finished(hpcsweep: Run, tiny: Path, tmp_path: Path, slurm: Slurm) -> None:
    """Slurm looks at time limits twice a minute, so the end of the first minute is brought forward."""
    study, store = tmp_path / "long.toml", tmp_path / "s.h5"
    first, training = tiny.read_text().split("[training]")
    study.write_text(f"{first}{ENDLESS}[training]{training}")
    harmless = "--signal=CONT@1"  # instead of the script's SIGTERM two minutes before the end
    job = slurm.submit("--ntasks-per-node=2", "--time=1", harmless, SBATCH, study, store)
    wait_for(store, "done", 18, slurm, job)
    soon = datetime.now() + timedelta(seconds=1)
    assert slurm.call("scontrol", "update", f"jobid={job}", f"EndTime={soon:%FT%T}").returncode == 0
    state, _ = slurm.wait(job)
    assert state == "TIMEOUT" and "DUE TO TIME LIMIT" in slurm.log(job)
    assert hpcsweep("run", tiny, "-o", "alone.h5").returncode == 0
    assert done_in(store) == by_key(tmp_path / "alone.h5")
    assert status.summary(store)["cells"] == 19
    assert hpcsweep("run", tiny, "-o", store).returncode == 0  # the study without the endless cell: nothing to do


def test_slurm_gives_tasks_the_places_and_devices_that_were_recorded(slurm: Slurm) -> None:
    """The recording is what tests of binding start from; this holds it to the truth."""
    recorded = json.loads(RECORDED.read_text())
    assert {flags: slurm.environments(*flags.split()) for flags in recorded} == recorded


@pytest.mark.parametrize(
    ("flags", "visible"),
    [
        ("-N2 -n4 --ntasks-per-node=2 --gpus-per-task=1", [("n1", "0"), ("n1", "1"), ("n2", "0"), ("n2", "1")]),
        ("-N2 -n2 --ntasks-per-node=1 --gpus-per-node=2", [("n1", "0,1"), ("n2", "0,1")]),
        ("-N2 -n4 --ntasks-per-node=2 --gpus-per-node=2", [("n1", "0,1"), ("n1", "0,1"), ("n2", "0,1"), ("n2", "0,1")]),
        ("-N1 -n2 --gpus-per-node=1", [("n1", "0"), ("n1", "0")]),
        ("-N1 -n1", [("n1", None)]),
    ],
)
def test_each_task_sees_the_gpus_that_its_flags_say(slurm: Slurm, flags: str, visible: list[tuple[str, str]]) -> None:
    tasks = slurm.environments("--nodelist=n1" if "-N1" in flags else "--nodelist=n[1-2]", *flags.split())
    assert [(one["SLURMD_NODENAME"], one.get("CUDA_VISIBLE_DEVICES")) for one in tasks] == visible


def test_a_site_with_amd_devices_sets_their_own_variable_alone(slurm: Slurm) -> None:
    tasks = slurm.environments("--partition=amd", "-n8", "--gpus-per-task=1")
    assert [one["ROCR_VISIBLE_DEVICES"] for one in tasks] == list("01234567")
    assert not any("CUDA_VISIBLE_DEVICES" in one for one in tasks)


def test_a_signal_from_slurm_reaches_every_task_of_a_step(slurm: Slurm, tmp_path: Path) -> None:
    """What --signal, preemption and scancel rest on."""
    code = (
        "import os, pathlib, signal, time\n"
        "name = os.environ['SLURM_PROCID']\n"
        "signal.signal(signal.SIGUSR1, lambda *_: (pathlib.Path('got-' + name).touch(), os._exit(3)))\n"
        "pathlib.Path('ready-' + name).touch()\n"
        "time.sleep(60)\n"
    )
    step = slurm.start("srun", "-N2", "-n4", "--job-name=listens", "python", "-c", code)
    limit = time.monotonic() + 30
    while len(list(tmp_path.glob("ready-*"))) < 4 and time.monotonic() < limit:
        time.sleep(0.1)
    assert slurm.call("scancel", f"--signal={signal.SIGUSR1.name}", "--name=listens").returncode == 0
    step.communicate(timeout=30)
    assert step.returncode == 3
    assert sorted(path.name for path in tmp_path.glob("got-*")) == [f"got-{rank}" for rank in range(4)]
