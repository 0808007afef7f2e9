"""What the tests share: small studies, and running the command line as a user does."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

from hpcsweep import libraries  # noqa: F401 - before a test imports torch; what tests start inherits its choice
from tests.forks import Forks

# By default an example that takes 0.2 s fails, which on a busy machine any of them may.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests that wait for others begin first: those with Slurm, then all others of `cluster`."""
    groups = {item.nodeid: _group(item.nodeid) for item in items}
    items.sort(key=lambda item: (groups[item.nodeid] != "slurm", "tests/cluster/" not in groups[item.nodeid]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand to one process of pytest-xdist a file, or all tests with Slurm: these go one by one."""
    from xdist.scheduler import LoadScopeScheduling

    class Grouped(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    return Grouped(config, log)


def _group(nodeid: str) -> str:
    path = nodeid.partition("::")[0]
    return "slurm" if path.startswith("tests/cluster/slurm/") else path


Run = Callable[..., subprocess.CompletedProcess[str]]  # of the fixture `hpcsweep`

TINY = """
title = "tiny"
seed = 7

[[grid]]
target = ["logsin", "exp_cos"]
dimension = [1]
width = [4, 8]
depth = 1
samples = [10, 20]
optimizer = ["adam"]
replicate = 2

[[grid]]
target = ["exp_cos"]
dimension = [2]
width = [4]
depth = 2
samples = [15]
replicate = 2
optimizer = [{ name = "adam", learning_rate = 0.02, batch = 5, label = "minibatch" }]

[training]
steps = 40
learning_rate = 0.01

[sup_norm]
count = 2000
tile = 256
uniform = 1000
starts = 16
kinks = 64
"""


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Let torch have one thread: bits are promised for that."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A study of 18 cells that runs in a second."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def environment() -> dict[str, str]:
    """The environment of a plain launch: one thread, no traces of another launcher."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PMI", "OMPI", "MPI_", "SLURM", "HYD"))}
    return {**kept, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def mpiexec(ranks: int) -> list[str]:
    """What starts a command on so many ranks, nothing for none; skips where no MPI is installed."""
    if not ranks:
        return []
    beside = Path(sys.executable).with_name("mpiexec")
    command = str(beside) if beside.exists() else shutil.which("mpiexec")
    if command is None:
        pytest.skip("no mpiexec: install an MPI, or the embedded one with pip install 'hpcsweep[mpi]'")
    return [command, "-n", str(ranks)]


def command(*arguments: object, ranks: int = 0, python: Sequence[str] = (sys.executable,)) -> list[str]:
    """The command line of hpcsweep, under mpiexec where ranks are given."""
    return [*mpiexec(ranks), *python, "-m", "hpcsweep", *map(str, arguments)]


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """What processes of hpcsweep are forked from, ranks too."""
    with contextlib.closing(Forks(environment())) as forking:
        yield forking


@pytest.fixture
def hpcsweep(tmp_path: Path, forks: Forks) -> Run:
    """Run hpcsweep in the temporary folder, as a user does."""
    return runner(tmp_path, forks)


def runner(folder: Path, forks: Forks) -> Run:
    """Return what runs hpcsweep in a folder, in forks: alone or on ranks, with further environment variables."""

    def call(*arguments: object, ranks: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        return finished(command(*arguments, ranks=ranks, python=forks.python), folder, **variables)

    return call


def finished(line: Sequence[object], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in a folder and a plain environment with some more variables."""
    plain = {**environment(), **variables}
    return subprocess.run(list(map(str, line)), cwd=folder, env=plain, capture_output=True, text=True, timeout=240)


@pytest.fixture
def finished_store(tmp_path: Path) -> Path:
    """A store whose cells are all done, with made-up values, and a copy of it beside."""
    made = fill(tmp_path / "finished.h5", TINY)
    shutil.copy(made, made.with_name("copy.h5"))
    return made


def fill(path: Path, text: str, rows: slice = slice(None)) -> Path:
    """Write a store of a study with made-up values, functions of the keys (`record_of`), in some rows."""
    from hpcsweep.store.store import Store

    with contextlib.closing(open_store(path, text)) as store:
        assert isinstance(store, Store)
        chosen = store.pending()[rows].tolist()
        store.start(chosen)
        store.put(chosen, [record_of(store.cells.cell(row)) for row in chosen])
    return path


def open_store(path: Path, text: str, seconds_ago: float = 0.0, repair: bool = False) -> object:
    """Open a store of a study for writing, as a launch that began some time ago; plugins lie beside it."""
    from hpcsweep.approx.catalogue import Catalogue
    from hpcsweep.store.reading import Run
    from hpcsweep.store.store import Store
    from hpcsweep.study.expansion import expand
    from hpcsweep.study.parsing import parse

    catalogue = Catalogue(path.parent)
    study = parse(text, catalogue)
    run = Run("host", "", 1, "cpu", "versions", time.time() - seconds_ago)
    return Store.open(path, study, expand(study, catalogue), run, repair=repair)


def record_of(cell: object) -> object:
    """A record whose every value is a function of the cell's key, so that a test can tell right from wrong."""
    from hpcsweep.store.layout import SLICE
    from hpcsweep.store.store import Record

    number = int(cell.key[:6], 16) / 2**24  # type: ignore[attr-defined]
    values = {
        "sup_lower": number,
        "sup_upper": np.inf,
        "sup_where": (number,) * cell.dimension,  # type: ignore[attr-defined]
        "l2_error": number / 3,
        "steps": int(number * 1000),
        "history_loss": np.full(3, number),
        "history_step": np.arange(3),
        "message": f"value {number}",
    }
    parameters = np.full(cell.parameters, number)  # type: ignore[attr-defined]
    return Record("done", values, parameters, np.full((3, SLICE), number))
