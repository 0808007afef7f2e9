"""Questions that a copy of this process answers: the copy ends with whoever asks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

ASKING = """
import os, time
from hpcsweep.approx.forked import ask

def question(tell):
    print(os.getpid(), flush=True)
    time.sleep(1000)

ask(question, 1000.0)
"""


def test_a_copy_does_not_outlive_whoever_asks() -> None:
    asking = subprocess.Popen([sys.executable, "-c", ASKING], stdout=subprocess.PIPE, text=True)
    assert asking.stdout is not None
    copy = int(asking.stdout.readline())
    asking.send_signal(signal.SIGKILL)
    asking.wait()
    limit = time.monotonic() + 60
    while _runs(copy) and time.monotonic() < limit:
        time.sleep(0.01)
    assert not _runs(copy)
    assert asking.stdout.read() == ""  # nobody holds the pipe any more


def _runs(process: int) -> bool:
    """Return whether a process is there and has not ended."""
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return os.path.exists(f"/proc/{process}")
