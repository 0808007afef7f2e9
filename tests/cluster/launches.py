"""Runs that are watched while they go on, stopped or killed; and what their stores hold in the end."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from hpcsweep.store import status
from scripts.fault_matrix.stored import by_key, weights_by_key
from tests.conftest import environment

BOUND = 120.0  # seconds after which a test gives a run up

SLOW = """
title = "slow enough to be killed"
[[grid]]
target = ["exp_cos"]
dimension = [1, 2]
width = [4, 8]
samples = [10, 20, 30]
replicate = 3
[training]
steps = 1500
[sup_norm]
count = 2000
"""
# Elements with two packs each, that train for seconds.
LONG = """
title = "long"
[[grid]]
target = ["exp_cos"]
dimension = [1, 2]
width = [4, 8]
samples = [10, 20]
replicate = 2
[training]
steps = 1500000
[sup_norm]
count = 500
uniform = 0
starts = 8
kinks = 0
certificate = "off"
"""


def start(line: Sequence[str], folder: Path, **variables: str) -> subprocess.Popen[str]:
    """Start a command in a folder, in a session of its own; what it says can be read from its `stdout`."""
    plain, pipe = {**environment(), **variables}, subprocess.PIPE
    return subprocess.Popen(
        line, cwd=folder, env=plain, stdout=pipe, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def wait_until(happened: Callable[[], object], run: subprocess.Popen[str], every: float = 0.02) -> None:
    """Wait until something has happened to a run that goes on, or until it has ended."""
    limit = time.monotonic() + BOUND
    while not happened() and run.poll() is None:
        assert time.monotonic() < limit, "nothing happens"
        time.sleep(every)


def count(store: Path, state: str) -> int:
    """Return how many cells of a store are in a state ("running", "done", ...); none if there is no store yet."""
    return int(status.summary(store)[state]) if store.exists() else 0


def family(run: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the processes of a run."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
    return []


def kill(run: subprocess.Popen[str]) -> None:
    """Kill all processes of a run at once."""
    for process in family(run):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    run.communicate()


def end(run: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end of a run; return its exit code and what it said. Fails if it does not end."""
    try:
        text, _ = run.communicate(timeout=BOUND)
    finally:
        kill(run)
    return run.returncode, text


def stop(run: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[int, str]:
    """Send a signal to a run and wait for its end."""
    run.send_signal(number)
    return end(run)


def assert_same(store: Path, other: Path) -> None:
    """Compare two stores to the bit: results, parameters and slices of all cells, but not times."""
    assert by_key(store) == by_key(other)
    assert weights_by_key(store) == weights_by_key(other)
