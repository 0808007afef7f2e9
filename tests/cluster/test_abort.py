"""One rank fails, all end at once; and nothing touches MPI before it must."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from hpcsweep.cluster import abort
from hpcsweep.store import layout
from hpcsweep.store.reading import opened
from tests.cluster.test_checkpoints import DEADLY, KILLER
from tests.conftest import Run, finished, mpiexec
from tests.forks import Forks

FAILING = {
    "before MPI, while another waits for it": (
        "import os\n"
        "from hpcsweep.cluster import abort\n"
        "abort.listen()\n"
        "if os.environ['PMI_RANK'] == '1':\n"
        "    raise RuntimeError('the culprit')\n"
        "from hpcsweep.cluster.workforce import assemble\n"
        "with assemble(): pass\n"
    ),
    "on rank 0, while the other serves": (
        "from hpcsweep.cluster.workforce import assemble\n"
        "with assemble() as workforce:\n"
        "    if workforce: raise RuntimeError('the culprit')\n"
    ),
    "in a thread": (
        "import threading, time\n"
        "from hpcsweep.cluster.workforce import assemble\n"
        "def fail(): raise RuntimeError('the culprit')\n"
        "with assemble() as workforce:\n"
        "    if workforce:\n"
        "        threading.Thread(target=fail).start()\n"
        "        time.sleep(100)\n"
    ),
}


@pytest.mark.mpi
@pytest.mark.parametrize("where", FAILING)
def test_an_exception_ends_all_ranks_at_once_with_the_traceback_of_the_culprit(
    where: str, forks: Forks, tmp_path: Path
) -> None:
    (tmp_path / "script.py").write_text(FAILING[where])
    start = time.monotonic()
    done = finished([*mpiexec(2), *forks.python, "script.py"], tmp_path)
    assert done.returncode not in (0, 75) and time.monotonic() - start < 60
    culprit = 1 if "before" in where else 0
    assert "RuntimeError: the culprit" in done.stderr
    assert f"rank {culprit} of 2 failed; all ranks stop" in done.stderr
    assert done.stderr.count("Traceback") == 1


def test_a_failed_rank_waits_until_its_last_words_were_read() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"the culprit")
    heard: list[bytes] = []
    reader = threading.Timer(0.5, lambda: heard.append(os.read(reading, 100)))
    reader.start()
    abort.drain(writing, 60)
    assert heard == [b"the culprit"]
    os.write(writing, b"to nobody")
    abort.drain(writing, 0.1)  # and for ever waits for nobody
    with open(os.devnull, "wb") as nothing:
        abort.drain(nothing.fileno(), 60)


@pytest.mark.parametrize("ranks", [0, pytest.param(2, marks=pytest.mark.mpi)])
def test_a_plugin_that_calls_exit_fails_its_cells_and_does_not_end_the_run_unseen(
    hpcsweep: Run, tmp_path: Path, ranks: int
) -> None:
    (tmp_path / "killer.py").write_text(KILLER.replace("os.kill(os.getpid(), signal.SIGKILL)", "os.sys.exit(0)"))
    (tmp_path / "deadly.toml").write_text(DEADLY)
    done = hpcsweep("run", "deadly.toml", "-o", "s.h5", ranks=ranks)
    assert done.returncode == 1 and "2 failed" in done.stdout, done.stdout + done.stderr
    with opened(tmp_path / "s.h5") as file:
        assert (file["samples"][:][file["status"][:] == layout.FAILED] == 77).all()
        assert (file["status"][:] == layout.DONE).sum() == 4


@pytest.mark.parametrize("ranks", [0, pytest.param(2, marks=pytest.mark.mpi)])
def test_a_plugin_that_ends_its_process_with_0_does_not_end_the_run_with_0(
    hpcsweep: Run, tmp_path: Path, ranks: int
) -> None:
    (tmp_path / "killer.py").write_text(KILLER.replace("os.kill(os.getpid(), signal.SIGKILL)", "os._exit(0)"))
    (tmp_path / "deadly.toml").write_text(DEADLY)
    done = hpcsweep("run", "deadly.toml", "-o", "s.h5", ranks=ranks)
    assert done.returncode not in (0, 75) and "with exit code 0 before the run was over" in done.stderr, done.stderr
    with opened(tmp_path / "s.h5") as file:
        assert not (file["samples"][:][np.isin(file["status"][:], layout.FINISHED)] == 77).any()
    fork = (tmp_path / "killer.py").read_text().replace("os._exit(0)", "os.fork() or os._exit(0)")
    (tmp_path / "killer.py").write_text(fork)
    assert hpcsweep("run", "deadly.toml", "-o", "t.h5").returncode == 0, "a process that is forked ends as it likes"


@pytest.mark.parametrize(
    "end", ["ctypes.CDLL(None).exit(0)", "ctypes.CDLL(None).quick_exit(0)", "os.execv('/bin/true', ['true'])"]
)
def test_neither_does_one_that_ends_it_by_other_means(hpcsweep: Run, tmp_path: Path, end: str) -> None:
    text = KILLER.replace("os.kill(os.getpid(), signal.SIGKILL)", end)
    (tmp_path / "killer.py").write_text(f"import ctypes\n{text}")
    (tmp_path / "deadly.toml").write_text(DEADLY)
    done = hpcsweep("run", "deadly.toml", "-o", "s.h5")
    assert done.returncode == 1 and "with exit code 0 before the run was over" in done.stderr, done.stderr


ENDING = """
import ctypes, os
from hpcsweep.approx.targets import Target

class Mine(Target):
    smoothness = 1

    def __call__(self, points):
        if "ENDING" in os.environ and len(points) > 1:
            {end}
        return points[:, 0]
"""


@pytest.mark.parametrize("ranks", [0, pytest.param(2, marks=pytest.mark.mpi)])
@pytest.mark.parametrize("end", ["os._exit(0)", "ctypes.CDLL(None)._exit(0)", "ctypes.CDLL(None)._Exit(0)"])
def test_neither_a_run_nor_a_measurement_is_ended_with_0(hpcsweep: Run, tmp_path: Path, end: str, ranks: int) -> None:
    (tmp_path / "mine.py").write_text(ENDING.format(end=end))
    (tmp_path / "s.toml").write_text(DEADLY.replace("killer.py:Deadly", "mine.py:Mine").replace(", 30, 77", ""))
    assert hpcsweep("run", "s.toml", "-o", "s.h5").returncode == 0
    for line in (("run", "s.toml", "-o", "t.h5"), ("measure", "s.h5", "--trust-plugins", "--points", 300)):
        done = hpcsweep(*line, ranks=ranks, ENDING="1")
        assert done.returncode not in (0, 75), done.stdout + done.stderr


@pytest.mark.mpi
@pytest.mark.parametrize("line", ["raise RuntimeError('the culprit')", "raise SystemExit('the culprit')"])
def test_a_plugin_that_fails_at_import_is_told_once_and_ends_all_ranks(
    hpcsweep: Run, tmp_path: Path, line: str
) -> None:
    (tmp_path / "mine.py").write_text(line)
    done = hpcsweep("measure", "--network", "mine.py:net", "--target", "exp_cos", "--domain", "-1,1", ranks=2)
    assert done.returncode == 2 and done.stderr.count("the culprit") == 1, done.stderr


def test_importing_any_module_leaves_mpi_alone(tmp_path: Path) -> None:
    """A login node may have no MPI, or kill who initialises it."""
    code = (
        "import importlib, pkgutil, sys\n"
        "import hpcsweep\n"
        "names = [module.name for module in pkgutil.walk_packages(hpcsweep.__path__, 'hpcsweep.')]\n"
        "for name in names:\n"
        "    importlib.import_module(name)\n"
        "assert len(names) > 60, names\n"
        "assert 'mpi4py.MPI' not in sys.modules\n"
        "import mpi4py\n"
        "mpi4py.rc.initialize = False\n"
        "from mpi4py import MPI\n"
        "assert not MPI.Is_initialized()\n"
    )
    launched = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2"}  # what launches touches MPI, if anything does
    done = finished([sys.executable, "-c", code], tmp_path, **launched)
    assert done.returncode == 0, done.stderr
