"""`submit`: a study as an array of elements, on this machine, in this process, and under a real Slurm."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from hpcsweep.cluster.arrays.submit import PYTHON
from hpcsweep.cluster.slurm import folder_of
from hpcsweep.store import shards, status
from tests.cluster.launches import LONG, assert_same, end, start
from tests.conftest import Run, command
from tests.forks import Forks


def test_without_slurm_elements_give_what_one_process_gives_to_the_bit(
    hpcsweep: Run, tiny: Path, tmp_path: Path
) -> None:
    assert hpcsweep("run", tiny, "-o", "alone.h5").returncode == 0
    for count, *how in ((3, "debug"), (2, "local"), (2, "local", "--ntasks-per-node", 2)):
        store = tmp_path / f"{len(how)}-{count}.h5"
        done = hpcsweep("submit", tiny, "-o", store, "--array", count, "--device", "cpu", "--cluster", *how)
        assert done.returncode == 0 and "18 new cells" in done.stdout, done.stderr
        assert f"{count} of {count} elements" in done.stdout and "flops" in done.stdout
        assert_same(store, tmp_path / "alone.h5")
        ranks = how[-1] if len(how) > 1 else 1
        for shard in shards.beside(store):
            assert status.summary(shard)["launch"]["devices"] == f"{ranks} x cpu, 1 thread(s)"


def test_usr2_does_not_end_an_element_before_it_can_requeue_itself() -> None:
    """The line by which a batch script starts Python, from the first instruction of Python on."""
    code = "import signal; print(signal.getsignal(signal.SIGUSR2).name, signal.getsignal(signal.SIGTERM).name)"
    for line, ignored in ((PYTHON, "SIG_IGN SIG_DFL"), (sys.executable, "SIG_DFL SIG_DFL")):
        shown = subprocess.run([*shlex.split(line), "-c", code], capture_output=True, text=True)
        assert shown.stdout.strip() == ignored, shown.stderr


def test_submitted_again_only_what_is_left_is_done(hpcsweep: Run, tiny: Path) -> None:
    submit = ("submit", tiny, "-o", "r.h5", "--cluster", "debug")
    assert hpcsweep(*submit, "--array", 3).returncode == 0
    again = hpcsweep(*submit, "--array", 3)
    assert again.returncode == 0 and "0 of 3 elements" in again.stdout and "0 new cells" in again.stdout
    other = hpcsweep(*submit, "--array", 2)
    assert other.returncode == 2 and "--delete-shards" in other.stderr
    assert hpcsweep("merge", "r.h5", "--delete-shards").returncode == 0
    other = hpcsweep(*submit, "--array", 2)
    assert other.returncode == 0 and "0 of 2 elements" in other.stdout, other.stderr


def test_one_element_is_a_run_of_the_main_file(hpcsweep: Run, tiny: Path, tmp_path: Path) -> None:
    done = hpcsweep("submit", tiny, "-o", "r.h5", "--cluster", "debug")
    assert done.returncode == 0, done.stderr
    assert status.everything(tmp_path / "r.h5")["done"] == 18 and not shards.beside(tmp_path / "r.h5")


def test_told_to_stop_elements_save_themselves_and_go_on_when_submitted_again(
    hpcsweep: Run, forks: Forks, tmp_path: Path
) -> None:
    """Told by a signal to all processes, as from the keyboard, and the second time to the first of them alone."""
    study, store = tmp_path / "long.toml", tmp_path / "r.h5"
    study.write_text(LONG.replace("1500000", "300000").replace("[4, 8]", "[4]").replace("[10, 20]", "[10]"))
    submit = ("submit", study, "-o", store, "--array", 2, "--cluster", "local")
    for tell, number in ((os.killpg, signal.SIGINT), (os.kill, signal.SIGTERM)):
        run = start(command(*submit, python=forks.python), tmp_path)
        wait_until_running(store, 1)
        [process] = forks.running()
        tell(process.pid, number)
        assert end(run)[0] == 75
        found = status.everything(store)
        assert not status.is_live(found) and found["together"]["pending"] > 0
    again = hpcsweep(*submit)
    assert again.returncode == 0, again.stderr
    assert hpcsweep("run", study, "-o", "alone.h5").returncode == 0
    assert_same(store, tmp_path / "alone.h5")


def logs(store: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(folder_of(store).glob("*_log.*")))


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
    done = hpcsweep("submit", tiny, "-o", "r.h5", PATH=str(tmp_path))
    assert done.returncode == 2 and "--cluster local" in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.glob("r.*"))
