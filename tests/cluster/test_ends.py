"""How commands end: with 0 only if all that they were to do is done, and on the disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpcsweep import run
from hpcsweep.cluster import scheduling
from hpcsweep.cluster.arrays import jobs
from hpcsweep.cluster.checkpoints import CheckpointDir
from hpcsweep.cluster.sweep import Sweep
from hpcsweep.errors import StoreError
from hpcsweep.findings.dataset import files
from hpcsweep.findings.report import summary
from hpcsweep.store import layout, lease, status, store
from hpcsweep.store.reading import opened
from hpcsweep.store.shards import Shard
from tests.conftest import TINY, Run, fill, finished
from tests.forks import Forks


def after_the_packs(patch: pytest.MonkeyPatch, event: Callable[[Path], None]) -> None:
    """Let something happen when the packs of a run are over, and finished rows are not marked yet."""
    whole = Sweep.run

    def running(sweep: Sweep, packs: list[object]) -> None:
        whole(sweep, packs)  # type: ignore[arg-type]
        event(sweep.store.path)

    patch.setattr(store, "SETTLED", 1000.0)
    patch.setattr(Sweep, "run", running)


def test_a_run_whose_lease_is_taken_before_its_rows_are_marked_is_no_success(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(path: Path) -> None:
        lease.lease_path(path).write_text('{"host": "elsewhere", "process": 1}')

    after_the_packs(monkeypatch, taken)
    with pytest.raises(StoreError, match="taken over"):
        run(tiny, tmp_path / "s.h5")
    with opened(tmp_path / "s.h5") as file:
        assert (file["status"][:] == layout.RUNNING).any(), "every row was marked before the lease was taken"


def test_a_mistake_of_ours_is_not_told_as_one_of_the_disk(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path) -> None:
        raise RuntimeError("the culprit")

    after_the_packs(monkeypatch, fails)
    with pytest.raises(RuntimeError, match="the culprit"):
        run(tiny, tmp_path / "s.h5")


def test_a_store_that_knows_no_launch_is_read(tmp_path: Path) -> None:
    path = fill(tmp_path / "s.h5", TINY, slice(0, 4))
    with h5py.File(path, "r+") as file:
        file["run_started"][:] = np.nan
    assert scheduling.saved_since_launch(path, CheckpointDir.beside(path)) == set()
    assert "last launch unknown" in "\n".join(status.lines(status.summary(path)))


def test_a_study_is_not_done_while_cells_of_it_are_in_no_file(hpcsweep: Run, tiny: Path, tmp_path: Path) -> None:
    main = tmp_path / "s.h5"
    first, second = (Shard(2, number).path(main) for number in (1, 2))
    assert hpcsweep("run", tiny, "-o", main, "--shard", "1/2").returncode == 0
    alone = hpcsweep("status", main, "--check")
    assert alone.returncode == 75 and " of 18 cells of the study are missing" in alone.stdout, alone.stdout
    assert hpcsweep("status", first, "--check").returncode == 0, "a shard is done when its own cells are"
    assert "1 of 2 shards are there; " in (said := report_of(main)) and " of 18 cells" in said
    merged = hpcsweep("merge", main, "--delete-shards")
    assert merged.returncode == 75 and "1 shards deleted" in merged.stdout and not first.exists()
    assert hpcsweep("status", main, "--check").returncode == 75
    assert json.loads(hpcsweep("status", main, "--json").stdout)["missing"] and " of 18 cells" in report_of(main)
    both = hpcsweep("status", main, "--check", "--verify")
    assert both.returncode == 75 and "no damage found" in both.stdout and "missing" in both.stdout, both.stdout
    assert hpcsweep("run", tiny, "-o", main, "--shard", "2/2").returncode == 0
    assert hpcsweep("status", main, "--check").returncode == 0 and not report_of(main)
    merged = hpcsweep("merge", main)
    assert merged.returncode == 0 and "missing" not in merged.stdout, "all cells are there, whatever was deleted"
    assert jobs.merge(main, (first, second))[1] == 0, "the last job of an array finds the same"
    shutil.move(second, tmp_path / "t.h5")
    assert hpcsweep("status", main, "--check", "--verify").returncode == 0
    tiny.write_text(TINY.replace("replicate = 2", "replicate = 1"))  # a smaller study: nothing of it is missing
    assert hpcsweep("run", tiny, "-o", main).returncode == 0
    assert hpcsweep("status", main, "--check").returncode == 0


def report_of(main: Path) -> str:
    """What a report says of missing shards."""
    return "".join(sentence for _, sentence in summary.parts(files(main)))


def test_a_shard_is_not_done_while_cells_of_it_are_pending(hpcsweep: Run, tmp_path: Path) -> None:
    shard = fill(tmp_path / "s.2-of-3.h5", TINY, slice(0, 17))
    assert hpcsweep("status", shard, "--check").returncode == 75
    fill(shard, TINY)
    assert hpcsweep("status", shard, "--check").returncode == 0


def test_damage_in_a_shard_is_found(hpcsweep: Run, tmp_path: Path) -> None:
    main = fill(tmp_path / "s.h5", TINY)
    shard = fill(Shard(2, 1).path(main), TINY)
    with h5py.File(shard, "r+") as file:
        file["sup_lower"][3] += 1.0
    for options in ((), ("--check",)):
        done = hpcsweep("status", main, "--verify", *options)
        assert done.returncode == 1 and f"{shard}: 1 finished cell(s) are damaged" in done.stdout, done.stdout
    found = json.loads(hpcsweep("status", main, "--verify", "--json").stdout)
    assert not found["rows"] and len(found["shards"][0]["rows"]) == 1


ENDING = """
import atexit, os
from hpcsweep import Target
{top}
class Mine(Target):
    smoothness = 1

    def __call__(self, points):
        return points[:, 0]
"""
STUDY = """
title = "ends"
[[grid]]
target = ["mine.py:Mine"]
dimension = [1]
width = [4]
samples = [{samples}]
[training]
steps = 20
[sup_norm]
count = 300
uniform = 0
starts = 2
kinks = 0
"""
LINES = {
    "run": ("run", "s.toml", "-o", "s.h5"),
    "plan": ("plan", "s.toml"),
    "check": ("check", "mine.py:Mine"),
    "measure": ("measure", "--network", "mine.py:Mine", "--target", "sine", "--domain", "0,1"),
    "submit": ("submit", "s.toml", "-o", "s.h5", "--cluster", "debug"),
}


@pytest.mark.parametrize("command", LINES)
def test_no_command_is_ended_with_0_by_a_plugin(hpcsweep: Run, tmp_path: Path, command: str) -> None:
    (tmp_path / "mine.py").write_text(ENDING.format(top="os._exit(0)"))
    (tmp_path / "s.toml").write_text(STUDY.format(samples=20))
    done = hpcsweep(*LINES[command])
    assert done.returncode == 1 and "exit code 0" in done.stdout + done.stderr, done.stdout + done.stderr


def test_neither_is_a_run_in_python_or_an_element(tmp_path: Path, forks: Forks) -> None:
    late = ENDING.format(top="").replace("        return", "        if len(points) == 77: os._exit(0)\n        return")
    (tmp_path / "mine.py").write_text(late)
    (tmp_path / "s.toml").write_text(STUDY.format(samples=77))
    (tmp_path / "run.py").write_text("import hpcsweep\nhpcsweep.run('s.toml', 's.h5')\n")
    done = finished([*forks.python, "run.py"], tmp_path)
    assert done.returncode == 1 and "before the run was over" in done.stderr, done.stderr
    (tmp_path / "element.py").write_text(
        "from pathlib import Path\n"
        "from hpcsweep.cluster.arrays.jobs import Element\n"
        "from hpcsweep.cluster.options import RunOptions\n"
        "from hpcsweep.store.shards import WHOLE\n"
        "from hpcsweep.study.changing import Changed\n"
        "study = Path('s.toml').resolve()\n"
        "Element(Changed(study), study.read_text(), Path('t.h5').resolve(), WHOLE, RunOptions())()\n"
    )
    done = finished([*forks.python, "element.py"], tmp_path)
    assert done.returncode == 1 and "before the run was over" in done.stderr, done.stderr


def test_what_a_plugin_leaves_for_the_end_of_the_process_changes_no_exit_code(hpcsweep: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(ENDING.format(top="atexit.register(lambda: os._exit(0))"))
    (tmp_path / "s.toml").write_text(STUDY.format(samples=20))
    assert hpcsweep("run", "s.toml", "-o", "s.h5", "--stop-after", "0s").returncode == 75


def test_cells_that_cannot_be_measured_are_told(hpcsweep: Run, tiny: Path, tmp_path: Path) -> None:
    assert hpcsweep("run", tiny, "-o", "s.h5").returncode == 0
    with h5py.File(tmp_path / "s.weights.h5", "r+") as file:
        file["kept"][5] = 0
        key = file["key"][5].decode()
    done = hpcsweep("measure", "s.h5", "--points", 300)
    assert done.returncode == 1 and f"1 cell(s) have no weights and are not measured: {key}" in done.stderr, done.stderr
    assert hpcsweep("run", tiny, "-o", "s.h5", "--repair").returncode == 0
    assert hpcsweep("measure", "s.h5", "--points", 300).returncode == 0
