"""A file of a plugin that changes or goes during a run: the run ends, names it, and fails no cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcsweep.store import status
from scripts.fault_matrix.stored import by_key
from tests.cluster.launches import count, end, start, wait_until
from tests.conftest import Run, command

STUDY = """
title = "edited"
[[grid]]
target = ["mine.py:Mine", "sine"]
dimension = [1]
width = [4]
samples = [20]
replicate = 3
[training]
steps = STEPS
[sup_norm]
count = 500
certificate = "off"
"""
PLUGIN = """
from pathlib import Path
from hpcsweep import Target

class Mine(Target):
    smoothness = 0
    files = ("table.csv",)

    def __call__(self, points):
        import tool
        return tool.f(points[:, 0]) * float(Path(__file__).with_name("table.csv").read_text())
"""


def lay_out(folder: Path, steps: int) -> None:
    (folder / "study.toml").write_text(STUDY.replace("STEPS", str(steps)))
    (folder / "mine.py").write_text(PLUGIN)
    (folder / "tool.py").write_text("def f(x): return x\n")
    (folder / "table.csv").write_text("1.0\n")


def change(path: Path, gone: bool) -> str:
    """Edit a file, or remove it; return what it said."""
    text = path.read_text()
    path.unlink() if gone else path.write_text(text.replace("1.0", "2.0") if path.suffix == ".csv" else text + "# now")
    return text


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("ranks", "name", "gone"),
    [
        (0, "mine.py", False),
        (0, "table.csv", True),
        (3, "tool.py", False),
        (3, "table.csv", False),
        (3, "mine.py", True),
    ],
)
def test_an_edit_ends_a_run_and_leaves_its_cells(
    hpcsweep: Run, tmp_path: Path, ranks: int, name: str, gone: bool
) -> None:
    lay_out(tmp_path, 300_000)
    store = tmp_path / "s.h5"
    run = start(command("run", "study.toml", "-o", "s.h5", ranks=ranks), tmp_path)
    wait_until(lambda: count(store, "running"), run)
    text = change(tmp_path / name, gone)
    code, told = end(run)
    assert code == 2 and str(tmp_path / name) in told and "has changed" in told, told
    summary = status.summary(store)
    assert summary["failed"] == summary["running"] == 0 and summary["pending"] >= 3
    (tmp_path / name).write_text(text)  # as it was: the same cells
    (tmp_path / "study.toml").write_text((tmp_path / "study.toml").read_text())
    again = start(command("run", "study.toml", "-o", "s.h5", ranks=ranks), tmp_path)
    code, told = end(again)
    assert code == 0 and status.summary(store)["done"] == status.summary(store)["cells"] == 6, told


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [0, 2])
def test_an_edit_ends_measure_and_changes_no_bracket(hpcsweep: Run, tmp_path: Path, ranks: int) -> None:
    lay_out(tmp_path, 20)
    assert hpcsweep("run", "study.toml", "-o", "s.h5").returncode == 0
    before = by_key(tmp_path / "s.h5")
    measure = ("measure", "s.h5", "--study", "study.toml", "--points", "2^27", "--progress", "lines")
    run = start(command(*measure, ranks=ranks), tmp_path)
    told = ""
    while "executing" not in told:
        assert run.stdout is not None
        told += (line := run.stdout.readline())
        assert line, told
    change(tmp_path / "tool.py", False)
    code, rest = end(run)
    assert code == 2 and str(tmp_path / "tool.py") in rest and "has changed" in rest, rest
    assert by_key(tmp_path / "s.h5") == before


@pytest.mark.mpi
def test_an_edit_ends_the_elements_of_an_array(tmp_path: Path) -> None:
    lay_out(tmp_path, 300_000)
    line = command("submit", "study.toml", "-o", "s.h5", "--array", 2, "--cluster", "local")
    run = start(line, tmp_path)
    wait_until(lambda: any(count(shard, "running") for shard in tmp_path.glob("s.?-of-?.h5")), run)
    change(tmp_path / "tool.py", False)
    code, told = end(run)
    assert code == 2, told
    shards = [status.summary(shard) for shard in tmp_path.glob("s.?-of-?.h5")]
    assert shards and not any(shard["failed"] for shard in shards)
