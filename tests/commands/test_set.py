"""`--set` on the command line: the same for `plan`, `run` and the elements of `submit`; the store keeps the study."""

from __future__ import annotations

import json
from pathlib import Path

import h5py

from tests.conftest import Run

SET = ("--set", "training.steps=10", "--set", "grid.0.replicate=1", "--set", "grid.1.subset={ random = 1 }")


def test_run_and_plan_and_elements_see_the_same_study(hpcsweep: Run, tiny: Path, tmp_path: Path) -> None:
    assert json.loads(hpcsweep("plan", tiny, *SET, "--json").stdout)["cells"] == 9
    assert hpcsweep("run", tiny, *SET, "-o", "run.h5").returncode == 0
    done = hpcsweep("submit", tiny, *SET, "-o", "submit.h5", "--array", "2", "--cluster", "local")
    assert done.returncode == 0, done.stdout + done.stderr
    with h5py.File(tmp_path / "run.h5") as one, h5py.File(tmp_path / "submit.h5") as other:
        assert one.attrs["study"] == other.attrs["study"] and "steps = 10" in one.attrs["study"]
        assert sorted(one["key"][:]) == sorted(other["key"][:]) and len(one["key"]) == 9
        assert set(one["steps"][:]) == {10}
    another = hpcsweep("run", tiny, "-o", "run.h5")
    assert another.returncode == 2 and "training.steps is 10 in the store and 40 in the study" in another.stderr
    assert hpcsweep("replay", "run.h5", one_key(tmp_path / "run.h5")).returncode == 0


def one_key(path: Path) -> str:
    with h5py.File(path) as file:
        return str(file["key"][0].decode())


def test_a_mistake_is_told_before_anything_is_written(hpcsweep: Run, tiny: Path, tmp_path: Path) -> None:
    done = hpcsweep("run", tiny, "--set", "training.stepz=10", "-o", "s.h5")
    assert done.returncode == 2 and "Did you mean 'steps'?" in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.glob("s.h5*"))
