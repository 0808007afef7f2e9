"""Faults between hosts: each is a set of namespaces, with its own name, process numbers and, if asked for, clock."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import psutil

from hpcsweep.store.lease import lease_path
from scripts.fault_matrix.row import Row
from scripts.fault_matrix.trial import Launch, TooLate, Trial

NAMESPACES = ("--user", "--map-root-user", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")
STALE = 2.0  # seconds after which a lease is taken over here, in place of 90
# `python -m hpcsweep` with leases that are given up soon, and a clock that differs by so many seconds.
PROGRAM = f"""
import runpy, sys, time
from hpcsweep.store import lease
lease.HEARTBEAT, lease.STALE = 0.1, {STALE}
ahead, seconds, nanoseconds = int(sys.argv[1]), time.time, time.time_ns
time.time, time.time_ns = lambda: seconds() + ahead, lambda: nanoseconds() + ahead * 10**9
sys.argv[1:] = sys.argv[2:]
runpy.run_module("hpcsweep", run_name="__main__", alter_sys=True)
"""


def missing() -> str:
    """Say why there can be no namespaces here."""
    if shutil.which("unshare") is None:
        return "no unshare: the package util-linux"
    tried = subprocess.run(["unshare", *NAMESPACES, "true"], capture_output=True)
    return "" if tried.returncode == 0 else "this system gives no namespaces to its users"


def on_host(name: str, arguments: Sequence[object], ahead: int = 0) -> list[str]:
    """Return the line that executes hpcsweep with these arguments on a host, whose clock is so many seconds ahead."""
    within = ["unshare", *NAMESPACES, "sh", "-c", 'hostname "$0" && exec "$@"', name]
    return [*within, sys.executable, "-c", PROGRAM, str(ahead), *map(str, arguments)]


def _second(ahead: int = 0) -> Callable[[Trial], str]:
    """Start the same command on another host while it runs on a first one; the first is stopped later."""

    def strike(trial: Trial) -> str:
        first = trial.launch(on_host("first", trial.command()[3:]), TROUBLE_SLOW="5")
        trial.moment(first)
        second = trial.launch(on_host("second", trial.command()[3:], ahead))
        refused = second.wait()
        if first.process.poll() is not None:
            raise TooLate
        if refused != 2 or "is being written by process" not in second.said():
            raise RuntimeError(f"the second run ends with {refused}: {second.said()}")
        for process in _inside(first):
            process.send_signal(signal.SIGTERM)
        return f"the second exit {refused}, the first, told to stop, exit {first.wait()}"

    return strike


def _inside(launch: Launch) -> list[psutil.Process]:
    """Return the processes on a host."""
    return [process for process in launch.family() if process.pid != launch.process.pid]


def _loses_its_lease(trial: Trial) -> str:
    """Let a host stand still while it measures, until a run on another one, whose clock is ahead, has taken over."""
    if code := trial.start(TROUBLE_SLOW="0").wait():
        raise RuntimeError(f"the run ends with {code}")
    choices = ("--points", "2^19", "--certificate", "off", "--trust-plugins", "--progress", "none")
    first = trial.launch(on_host("first", ["measure", trial.store, *choices]))
    while not lease_path(trial.store).exists() and first.process.poll() is None:
        time.sleep(0.05)
    time.sleep(trial.chance.uniform(0.0, 2.0))
    stopped = _inside(first)
    for process in stopped:
        process.suspend()
    if first.process.poll() is not None:
        raise TooLate
    second = trial.launch(on_host("second", trial.command()[3:], ahead=100))
    taken, before = second.wait(), trial.store.read_bytes()
    for process in stopped:
        process.resume()
    lost = first.wait()
    if trial.store.read_bytes() != before:
        raise RuntimeError("the measurement has written a store that is not its own any more")
    return f"the run exit {taken}, the measurement exit {lost}"


ROWS = [
    Row("namespace", "the same command in another PID namespace (container) at once", _second(), obstacle=missing),
    Row("clock-ahead", "the same command at once on a host whose clock is 100 s ahead", _second(100), obstacle=missing),
    Row("clock-behind", "likewise, 100 s behind", _second(-100), obstacle=missing),
    Row(
        "lost-lease",
        "`measure` stands still until a run on another host, with its clock 100 s ahead, has taken over",
        _loses_its_lease,
        obstacle=missing,
    ),
]
