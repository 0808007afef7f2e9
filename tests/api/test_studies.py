"""`hpcsweep.Study` and `hpcsweep.run`: the same cells, prices, results and mistakes as the commands'."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import hpcsweep as package
from hpcsweep.cluster import devices, stopping
from hpcsweep.study.writing import text_of
from tests.conftest import TINY, Run

TABLES: dict[str, Any] = tomllib.loads(TINY)
SCALARS = st.one_of(st.text(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False))
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@pytest.fixture
def study() -> package.Study:
    return package.Study.from_dict(TABLES)


def keys(study: package.Study) -> list[str]:
    return [cell.key for cell in study.cells()]


@given(st.dictionaries(st.text(), VALUES))
def test_tables_written_as_toml_are_read_back_as_they_were(tables: dict[str, Any]) -> None:
    assert tomllib.loads(text_of(tables)) == tables


def test_values_of_numpy_are_plain_ones() -> None:
    written = text_of({"a": np.arange(3), "b": np.float64(0.1), "c": (1, range(2)), "d": {"e": np.bool_(True)}})
    assert tomllib.loads(written) == {"a": [0, 1, 2], "b": 0.1, "c": [1, [0, 1]], "d": {"e": True}}


def test_a_dictionary_and_a_file_that_say_the_same_have_the_same_cells(study: package.Study, tiny: Path) -> None:
    loaded = package.Study.load(tiny)
    assert keys(loaded) == keys(study) and len(study.cells()) == 18 and loaded.text == TINY
    assert loaded.title == study.title == "tiny" and repr(study) == "Study('tiny', 18 cells)"
    cell = study.cells()[0]
    assert (cell.target["name"], cell.dimension, cell.samples, cell.replicate) == ("logsin", 1, 10, 0)
    assert cell.model["hidden"] == [4] and cell.optimizer["steps"] == 40 and cell.parameters == 13


def test_changes_make_another_study(study: package.Study) -> None:
    changed = study.with_changes({"training.steps": 100, "grid.0.width": [8], "model.activation": "relu"})
    assert len(changed.cells()) == 10 and len(study.cells()) == 18
    assert {cell.optimizer["steps"] for cell in changed.cells()} == {100}
    assert {tuple(cell.model["hidden"]) for cell in changed.cells()} == {(8,), (4, 4)}
    assert {cell.model["activation"] for cell in changed.cells()} == {"relu"}
    assert keys(changed.with_changes({"training.steps": 40, "grid.0.width": [4, 8], "model": None})) == keys(study)


def test_a_changed_table_of_the_caller_changes_no_study() -> None:
    tables = {**TABLES, "training": {"steps": 40, "learning_rate": 0.01}}
    study = package.Study.from_dict(tables)
    tables["training"]["steps"] = 3
    assert {cell.optimizer["steps"] for cell in study.cells()} == {40}


MISTAKES = [
    ({"grid.0.wdith": [8]}, r"grid\[0\]: unknown name 'wdith'. Did you mean 'width'\?"),
    ({"training.stpes": 8}, r"training: unknown name 'stpes'. Did you mean 'steps'\?"),
    ({"trainig.steps": 8}, r"study: unknown name 'trainig'. Did you mean 'training'\?"),
    ({"grid.0.target": ["sin"]}, "target: unknown name 'sin'. Did you mean 'sine'"),
    ({"training.steps": -1}, "training.steps: must be greater than 0, not -1"),
    ({"grid.2.width": [8]}, r"grid\.2\.width: '2' is not an entry of a list of 2; allowed: 0 to 1"),
    ({"grid.width": [8]}, "grid.width: 'width' is not an entry of a list"),
    ({"title.size": 8}, "title.size: title is 'tiny', which has no entries"),
    ({"training.steps": object}, "training.steps: a study contains strings, numbers, booleans, lists and tables"),
    ({"grid": None}, "grid: is missing"),
    ({"training": {3: 4}}, "training: a name must be a string, not 3"),
]


@pytest.mark.parametrize(("changes", "said"), MISTAKES, ids=[next(iter(changes)) for changes, _ in MISTAKES])
def test_a_mistake_is_one_sentence(study: package.Study, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(package.UserError, match=said) as caught:
        study.with_changes(changes)
    assert "\n" not in str(caught.value)


def test_none_is_no_value_of_a_study() -> None:
    with pytest.raises(package.UserError, match=r"seed: a study contains .*, not None"):
        package.Study.from_dict({**TABLES, "seed": None})


def test_a_plan_says_what_the_command_says(hpcsweep: Run, tiny: Path, study: package.Study) -> None:
    threads = torch.get_num_threads()
    plan = study.plan(ranks=3)
    printed = json.loads(hpcsweep("plan", tiny, "--ranks", "3", "--json").stdout)
    assert plan.keys() == printed.keys() and plan["ranks"] == 3 and plan["seconds"] > 0
    exact = [name for name in plan if "seconds" not in name and name not in ("packs", "memory_bytes")]
    assert [plan[name] for name in exact] == [printed[name] for name in exact]
    assert torch.get_num_threads() == threads
    with pytest.raises(package.UserError, match="ranks must be an integer of at least 1, not 0"):
        study.plan(ranks=0)


def test_a_run_here_gives_the_bits_of_the_command(
    hpcsweep: Run, tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    small = package.Study.load(tiny).with_changes({"grid.0.replicate": 1, "grid.1.replicate": 1})
    tiny.write_text(small.text)
    assert hpcsweep("run", tiny, "-o", "there.h5").returncode == 0
    capfd.readouterr()
    hooks, bound = (sys.excepthook, threading.excepthook), list(devices._bound)
    summary = package.run(small, tmp_path / "deep" / "here.h5", threads=2)
    assert (sys.excepthook, threading.excepthook) == hooks and devices._bound == bound
    assert capfd.readouterr() == ("", "")
    counts = (summary.cells, summary.done, summary.failed, summary.pending, summary.diverged, summary.out_of_budget)
    assert counts == (9, 9, 0, 0, 0, 0) and summary.complete and summary.store == tmp_path / "deep" / "here.h5"
    here, there = package.read(summary.store), package.read(tmp_path / "there.h5")
    for name in ("key", "sup_lower", "sup_upper", "train_rmse", "steps", "l2_error"):
        assert np.array_equal(here[name].values, there[name].values), name
    assert here.attrs["study"] == small.text


def test_a_run_leaves_the_process_as_it_was_and_can_be_extended(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    before = [signal.getsignal(number) for number in stopping.SIGNALS], dict(os.environ)
    grid = {"target": ["sine"], "dimension": [1], "width": [4], "depth": [1], "samples": [20]}
    study = package.Study.from_dict({**TABLES, "title": "extended", "grid": [grid]})
    assert package.run(study, tmp_path / "s.h5").done == 1
    finished = package.read(tmp_path / "s.h5")["finished"].values
    assert package.run(study.with_changes({"grid.0.replicate": 2}), tmp_path / "s.h5", threads=2).done == 2
    assert package.read(tmp_path / "s.h5")["finished"].values[0] == finished[0]
    assert ([signal.getsignal(number) for number in stopping.SIGNALS], dict(os.environ)) == before
    assert torch.get_num_threads() == 1
    assert "mpi4py" not in sys.modules or "mpi4py.MPI" not in sys.modules


def test_a_run_that_is_stopped_says_so_and_the_same_call_goes_on(tmp_path: Path) -> None:
    changes = {"training.steps": 5_000_000, "grid.0.replicate": 1, "grid.1.replicate": 1, "grid.0.width": [8]}
    long = package.Study.from_dict(TABLES).with_changes(changes)
    began = time.monotonic()
    stopped = package.run(long, tmp_path / "s.h5", stop_after=0.01)
    assert stopped.pending and not stopped.complete and time.monotonic() - began < 60
    threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGINT)).start()  # as Ctrl-C does
    assert not package.run(long, tmp_path / "s.h5").complete
    assert not stopping.asked() and stopping.here()._moment == math.inf
    short = package.Study.from_dict({**TABLES, "grid": TABLES["grid"][:1]})
    assert package.run(short, tmp_path / "t.h5").complete


FAILS = """
import torch
from hpcsweep import Target
class Odd(Target):
    smoothness = 0
    def __call__(self, points):
        return points[:, 0] / (0 if len(points) == 31 else 1)
"""


def test_a_cell_that_fails_is_counted_with_its_message(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(FAILS)
    grid = {"target": ["odd.py:Odd"], "dimension": [1], "width": [4], "samples": [30, 31]}
    study = package.Study.from_dict({**TABLES, "grid": [grid]}, folder=tmp_path)
    summary = package.run(study, tmp_path / "s.h5")
    assert (summary.done, summary.failed, summary.complete) == (1, 1, True)
    assert summary.failures.keys() == {keys(study)[1]} and "not finite" in summary.failures[keys(study)[1]]
    assert package.run(study, tmp_path / "s.h5", retry_failed=True).failed == 1


def test_mistakes_of_a_call_are_told(study: package.Study, tmp_path: Path) -> None:
    with pytest.raises(package.UserError, match=r"The study .*missing.toml cannot be read"):
        package.run(tmp_path / "missing.toml", tmp_path / "s.h5")
    with pytest.raises(package.UserError, match="threads must be an integer of at least 1, not 0"):
        package.run(study, tmp_path / "s.h5", threads=0)
    with ThreadPoolExecutor(1) as elsewhere, pytest.raises(package.UserError, match="main thread"):
        elsewhere.submit(package.run, study, tmp_path / "s.h5").result()
    assert not (tmp_path / "s.h5").exists()
