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
from hpcsweep.cluster.checkpoints import CheckpointDir
from hpcsweep.cluster.sweep import Sweep
from hpcsweep.errors import StoreError
from hpcsweep.store import layout, lease, status, store
from hpcsweep.store.reading import opened
from hpcsweep.store.shards import Shard
from tests.conftest import TINY, Run, fill


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
    assert hpcsweep("merge", main).returncode == 75
    first.unlink()
    assert hpcsweep("status", main, "--check").returncode == 75
    assert json.loads(hpcsweep("status", main, "--json").stdout)["missing"]
    both = hpcsweep("status", main, "--check", "--verify")
    assert both.returncode == 75 and "is what was written" in both.stdout and "missing" in both.stdout, both.stdout
    assert hpcsweep("run", tiny, "-o", main, "--shard", "2/2").returncode == 0
    assert hpcsweep("status", main, "--check").returncode == 0
    hpcsweep("merge", main)
    shutil.move(second, tmp_path / "t.h5")
    assert hpcsweep("status", main, "--check", "--verify").returncode == 0
    tiny.write_text(TINY.replace("replicate = 2", "replicate = 1"))  # a smaller study: nothing of it is missing
    assert hpcsweep("run", tiny, "-o", main).returncode == 0
    assert hpcsweep("status", main, "--check").returncode == 0


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
