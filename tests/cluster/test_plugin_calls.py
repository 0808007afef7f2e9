"""Plugins that change the process, end it, fork, or have other values now and then: no other cell notices it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpcsweep.store import layout
from hpcsweep.store.reading import opened
from tests.conftest import Run, runner
from tests.forks import Forks

STUDY = """
title = "company"
[[grid]]
target = ["exp_cos"]
dimension = [1]
width = [5]
samples = [20]
replicate = 2
[[grid]]
target = ["mine.py:Mine"]
dimension = [1]
width = [5]
samples = [20]
[training]
steps = 40
[sup_norm]
count = 300
uniform = 0
starts = 4
kinks = 0
"""
PLUGIN = """
import ctypes, gc, locale, math, os, random, signal, sys, threading, time, warnings
import numpy as np
import torch
from torch.overrides import BaseTorchFunctionMode
from hpcsweep import Target
{top}
calls = 0

class Mine(Target):
    smoothness = math.inf

    def __call__(self, points):
        global calls
        calls += 1
        values = torch.cos(3.0 * points[:, 0])
        if len(points) == 20 and not points.requires_grad:  # the samples of the cell
            {late}
        return values
"""
CHANGES = {
    "dtype": "torch.set_default_dtype(torch.float16)",
    "device": "torch.set_default_device('meta')",
    "threads": "torch.set_num_threads(2)",
    "folder": "os.chdir('/')",
    "environment": "os.environ.clear()",
    "no gradients": "torch.set_grad_enabled(False)",
    "inference": "globals().update(mode=torch.inference_mode()); mode.__enter__()",
    "deterministic": "torch.use_deterministic_algorithms(True)",
    "denormal": "torch.set_flush_denormal(True)",
    "seeds": "torch.manual_seed(0); np.random.seed(0); random.seed(0)",
    "errors": "warnings.simplefilter('error'); np.seterr(all='raise')",
    "recursion": "sys.setrecursionlimit(120)",
    "output": "sys.stdout = sys.stderr = None",
    "autocast": "torch.set_autocast_enabled('cpu', True); torch.set_float32_matmul_precision('medium')",
    "modes": "BaseTorchFunctionMode().__enter__(); torch.autograd.set_detect_anomaly(True); torch.set_num_threads(2)",
    "process": "os.umask(0o027); sys.path.append('/elsewhere'); gc.disable(); sys.setswitchinterval(0.01)",
    "timer": "signal.setitimer(signal.ITIMER_REAL, 0.05)",
}


def run(hpcsweep: Run, folder: Path, late: str = "pass", top: str = "", ranks: int = 0) -> tuple[int, list[Any], str]:
    """Run the study; return the exit code, the cells of ours and of the plugin, and what was said."""
    (folder / "mine.py").write_text(PLUGIN.format(late=late, top=top))
    (folder / "s.toml").write_text(STUDY)
    (folder / "s.h5").unlink(missing_ok=True)
    done = hpcsweep("run", "s.toml", "-o", "s.h5", ranks=ranks)
    names = ("target", "status", "message", "sup_lower", "sup_upper", "train_rmse", "l2_error")
    with opened(folder / "s.h5") as file:
        columns = [file[name][:].tolist() for name in names]
    return done.returncode, sorted(zip(*columns, strict=True)), done.stdout + done.stderr


def ours(cells: list[Any]) -> list[Any]:
    return [cell for cell in cells if cell[0] == b"exp_cos"]


def theirs(cells: list[Any]) -> tuple[str, str]:
    [(_, status, message, *_)] = [cell for cell in cells if cell[0] != b"exp_cos"]
    return layout.STATUS[status], message.decode()


IMPURE = "others now"
FAILURES = {
    "raise KeyboardInterrupt": "target 'mine.py:Mine' cannot be evaluated: KeyboardInterrupt",
    "raise GeneratorExit": "target 'mine.py:Mine' cannot be evaluated: GeneratorExit",
    "raise BaseException('x')": "target 'mine.py:Mine' cannot be evaluated: BaseException: x",
    "values = values.to(torch.complex128)": "returned values of torch.complex128",
    "values = (10 * values).long()": "returned values of torch.int64",
    "values = values.float()": "returned values of torch.float32",
    "values = values.numpy()": "returned ndarray",
    "values = values.sum()": "returned shape ()",
    "points.mul_(0.5)": "changes the points",
    "points.data.mul_(0.5)": "changes the points",
    "values = values + 0.1 * calls": IMPURE,
    "values = values + 0.1 * torch.rand(1, dtype=values.dtype)": IMPURE,
    "values = values + 1.0": IMPURE,  # with so many points
}


@pytest.mark.parametrize("late", FAILURES)
def test_what_breaks_a_rule_after_the_check_has_failed_and_says_why(hpcsweep: Run, tmp_path: Path, late: str) -> None:
    code, cells, said = run(hpcsweep, tmp_path, late)
    status, message = theirs(cells)
    assert (code, status) == (1, "failed") and FAILURES[late] in message and "mine.py:Mine" in message, said
    assert [layout.STATUS[cell[1]] for cell in ours(cells)] == ["done"] * 2


@pytest.mark.parametrize("late", ["os.fork()", "os.fork() or time.sleep(1000)"])
def test_a_fork_is_no_second_driver_and_keeps_no_run_from_its_end(hpcsweep: Run, tmp_path: Path, late: str) -> None:
    code, cells, said = run(hpcsweep, tmp_path, late)
    assert code == 0 and theirs(cells) == ("done", "") and said.count("s.h5: 3 cells") == 1, said


@pytest.fixture(scope="module")
def unchanged(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The cells of a run whose plugin changes nothing."""
    folder = tmp_path_factory.mktemp("unchanged")
    code, cells, said = run(runner(folder, forks), folder)
    assert code == 0 and len(ours(cells)) == 2, said
    return cells


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_plugin_changes_is_what_it_was_for_the_others(
    hpcsweep: Run, tmp_path: Path, unchanged: list[Any], change: str
) -> None:
    for late, top in ((CHANGES[change], ""), ("pass", CHANGES[change])):
        code, changed, said = run(hpcsweep, tmp_path, late, top)
        assert code == 0 and ours(changed) == ours(unchanged), said
