"""The command `verify`: what a real run proved is confirmed, what was changed afterwards is refuted."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpcsweep.cluster.progress import Display
from hpcsweep.cluster.trust import Trust
from hpcsweep.cluster.verify import Effort, verify
from hpcsweep.errors import LaunchError, StoreError
from hpcsweep.store import integrity
from tests.cluster.test_replay import ODD
from tests.conftest import Run, runner
from tests.forks import Forks
from tests.golden import old_store

STUDY = """
title = "To be verified"
[[grid]]
target = ["runge"]
dimension = [1]
width = [6]
depth = [2]
activation = ["tanh", "relu", "sin", "gelu", "silu"]
samples = [30]
optimizer = ["adam", "adam+ssbroyden"]
[[grid]]
target = ["exp_cos"]
dimension = [2]
width = [5]
depth = [1]
activation = ["tanh", "relu", "gelu"]
samples = [40]
optimizer = ["adam"]
[[grid]]
target = ["sine"]
dimension = [1]
model = ["residual"]
width = [5]
depth = [2]
activation = ["gelu"]
samples = [30]
optimizer = ["adam"]
[[grid]]
target = ["sine"]
dimension = [1]
width = [5]
stages = [2]
samples = [30]
optimizer = ["levenberg_marquardt"]
[[grid]]
target = ["sine"]
dimension = [1]
samples = [30]
optimizer = ["direct"]
model = [{ name = "legendre", order = 6 }, { name = "spline", degree = 3 }, "simplex"]
[[grid]]
target = ["mine.py:Odd"]
dimension = [1]
width = [4]
samples = [30, 31]
optimizer = ["adam"]
[training]
steps = 60
learning_rate = 0.01
[sup_norm]
count = 2048
uniform = 256
starts = 16
kinks = 32
"""


@pytest.fixture(scope="module")
def store(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished store of cells of many kinds; its last one has failed."""
    folder = tmp_path_factory.mktemp("verify")
    (folder / "study.toml").write_text(STUDY)
    (folder / "mine.py").write_text(ODD)
    done = runner(folder, forks)("run", "study.toml", "-o", "s.h5")
    assert done.returncode == 1, done.stdout + done.stderr
    return folder / "s.h5"


def changed(store: Path, folder: Path, **columns: tuple[str, float]) -> Path:
    """Return a copy of a store, columns of which are others times a factor, with checksums that fit; and its study."""
    for name in ("s.h5", "s.weights.h5", "study.toml", "mine.py"):
        shutil.copy(store.with_name(name), folder)
    with h5py.File(folder / store.name, "r+") as file:
        for name, (source, factor) in columns.items():
            file[name][:] = file[source][:] * factor
        finished = file["checksum"][:] != 0
        file["checksum"][:] = np.where(finished, integrity.sums(file, {}), 0)
    return folder / store.name


AMPLE = Effort(20_000, 60.0)


def checked(path: Path, *keys: str, sample: int = 100, effort: Effort = AMPLE) -> list[Any]:
    return verify(path, keys, sample, effort, None, Trust(path.with_name("study.toml")), Display())[0]


def test_what_was_proved_is_confirmed(forks: Forks, store: Path) -> None:
    before = store.read_bytes()
    done = runner(store.parent, forks)("verify", "s.h5", "--sample", "100", "--study", "study.toml", "--json")
    cells = json.loads(done.stdout)["cells"]
    assert len(cells) == 19 and all(cell["lower"] == cell["upper"] == "confirmed" for cell in cells)
    assert sum(cell["boxes"] > 0 for cell in cells) >= 16 and done.returncode == 0
    assert store.read_bytes() == before


def test_a_bracket_that_was_moved_by_a_millionth_is_refuted(store: Path, tmp_path: Path) -> None:
    raised = checked(changed(store, tmp_path, sup_lower=("sup_lower", 1 + 1e-6)), effort=Effort(1, 1.0))
    proved = [cell for cell in raised if cell.model not in ("spline(degree=3)", "simplex")]
    assert len(proved) == 17 and all(cell.lower == "refuted" and cell.code == 1 for cell in proved)
    assert all("smaller, by 1.0e-06 of it" in cell.remarks[0] for cell in proved)
    lowered = checked(changed(store, tmp_path, sup_upper=("sup_lower", 1 - 1e-6)))
    assert all(cell.upper == "refuted" and cell.where and "above" in cell.remarks[-1] for cell in lowered)


def test_the_command_names_what_it_refutes(forks: Forks, store: Path, tmp_path: Path) -> None:
    path = changed(store, tmp_path, sup_lower=("sup_lower", 1.5))
    arguments = ("verify", path.name, "--sample", "3", "--seed", "4", "--study", "study.toml")
    shown, again = (runner(tmp_path, forks)(*arguments) for _ in range(2))
    assert shown.returncode == 1 and "smaller, by 3.3e-01 of it" in shown.stdout
    assert "3 cells of 19 with a bracket, drawn with --seed 4; lower ends: 3 refuted" in shown.stdout
    assert "refuted at the point that is stored" in shown.stdout
    keys = [[line.split()[0] for line in done.stdout.splitlines() if "refuted  " in line] for done in (shown, again)]
    assert len(keys[0]) == 3 and keys[0] == keys[1]


def test_cells_without_a_bracket_and_without_effort_are_not_confirmed(store: Path) -> None:
    with h5py.File(store, "r") as file:
        [failed] = file["key"][file["status"][:] == 5].tolist()
        deep = file["key"][0].decode()
    [cell] = checked(store, failed.decode()[:20])
    assert (cell.lower, cell.upper, cell.code) == ("not confirmed", "not confirmed", 3)
    assert cell.remarks == ("it has no bracket (it is failed)",)
    [cell] = checked(store, deep, effort=Effort(3, 60.0))
    assert (cell.lower, cell.upper, cell.code, cell.boxes) == ("confirmed", "not confirmed", 3, 3)
    assert "within 3 boxes" in cell.remarks[0]


def test_a_store_without_weights_is_not_confirmed(store: Path, tmp_path: Path) -> None:
    path = changed(store, tmp_path)
    path.with_suffix(".weights.h5").unlink()
    cells = checked(path, sample=3)
    assert {(cell.lower, cell.upper, cell.remarks) for cell in cells} == {
        ("not confirmed", "not confirmed", ("its parameters are not stored",))
    }


def test_mistakes_are_told_in_a_sentence(hpcsweep: Run, store: Path, tmp_path: Path) -> None:
    assert "has no cell 'zz'" in hpcsweep("verify", store, "zz").stderr
    foreign = hpcsweep("verify", store, "--sample", "100")
    assert foreign.returncode == 2 and "mine.py" in foreign.stderr  # nobody trusts it
    with h5py.File(changed(store, tmp_path), "r+") as file:
        file["sup_upper"][0] *= 0.5
    damaged = hpcsweep("verify", store.name)
    assert damaged.returncode == 2 and "damaged" in damaged.stderr


def test_without_flint_it_says_what_to_install(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flint", None)
    with pytest.raises(LaunchError, match=r"pip install 'hpcsweep\[verify\]'"):
        checked(store)


def test_a_store_of_nothing_is_refused(finished_store: Path) -> None:
    with h5py.File(finished_store, "r+") as file:
        file["sup_lower"][:] = np.nan
        file["checksum"][:] = integrity.sums(file, {})
    with pytest.raises(StoreError, match="no cell with a bracket"):
        verify(finished_store, (), 10, Effort(10, 1.0), None, Trust(), Display())


def test_the_old_store() -> None:
    """All its upper ends hold. Its lower ends were evaluated in float64: most are too large by a few roundings."""
    cells = verify(old_store.STORE, (), 100, Effort(1000, 60.0), None, Trust(), Display())[0]
    assert sorted(cell.upper for cell in cells) == ["confirmed"] * 9 + ["nothing claimed"] * 4
    short = [cell for cell in cells if cell.lower == "refuted"]
    assert len(cells) - len(short) == 5
    assert all(float(c.remarks[0].partition(" by ")[2].split()[0]) < 1e-11 for c in short if c.sup_lower > 1e-9)
