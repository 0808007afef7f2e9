"""An error, a short write or a kill at one system call of everything that writes a store.

The calls are those of the whole process, whether Python, NumPy or HDF5 makes them: `faulty.c` is loaded before them.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from hpcsweep.errors import UserError
from hpcsweep.store import lease, store
from scripts.store_attacks import model

# Numbered from 1 in faulty.c. READ: EIO where nothing is changed; KILL: half of a write, then SIGKILL.
KINDS = ("EIO", "ENOSPC", "SHORT", "KILL", "READ")
TRACEBACK, STUCK = 98, 97
LIMIT = 60.0  # seconds
SOURCE = Path(__file__).with_name("faulty.c")


class Attempt(NamedTuple):
    """How an attempt ended."""

    code: int  # 0, 2 for a sentence to the user, `TRACEBACK`, `STUCK`, or minus a signal
    calls: int  # how many system calls there were that such a fault can befall
    result: Any  # of what was done, as JSON says it; None if it did not come to its end


def is_loaded() -> bool:
    """Return whether system calls of this process can be made to fail."""
    return hasattr(ctypes.CDLL(None), "faulty_arm")


def start_again() -> int:
    """Start this program again, with the library by which system calls fail; return its exit code. Needs gcc."""
    if shutil.which("gcc") is None:
        raise SystemExit("This needs gcc, to build the library by which system calls fail.")
    with tempfile.TemporaryDirectory() as folder:
        library = f"{folder}/faulty.so"
        subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
        line = [sys.executable, *sys.argv]
        return subprocess.run(line, env={**os.environ, "LD_PRELOAD": library}, check=False).returncode


def attempt(action: Callable[[], object], folder: Path, kind: str = "", number: int = 0) -> Attempt:
    """Do something in a fork, in which a system call on the files of a folder goes wrong: the one of this `number`.

    The first has the number 1; with 0 none goes wrong, and those that a fault of this `kind` can befall are counted.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = TRACEBACK
        try:
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            if "ATTACKS_LOUD" not in os.environ:
                os.dup2(silence, 2)
            code = _watched(action, folder, kind, number, writing)
        finally:
            os._exit(code)
    os.close(writing)
    code = _ended(child)
    with os.fdopen(reading, "rb") as pipe:
        calls, result = json.loads(pipe.read() or b"[0, null]")
    return Attempt(code, calls, result)


def _ended(child: int) -> int:
    limit = time.monotonic() + LIMIT
    while time.monotonic() < limit:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return STUCK


def _watched(action: Callable[[], object], folder: Path, kind: str, number: int, writing: int) -> int:
    library, result, ticks = ctypes.CDLL(None), None, itertools.count()
    lease.SURE, lease.STALE = 0.01, -1.0  # seconds: no network file system here, and no second process
    store.time = SimpleNamespace(time=lambda: model.NOW, monotonic=lambda: 0.3 * next(ticks))  # the same each time
    if kind:
        library.faulty_arm(os.fsencode(folder), KINDS.index(kind) + 1, ctypes.c_long(number))
    try:
        result = action()
        return 0
    except UserError:
        return 2
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return TRACEBACK
    finally:
        count = library.faulty_count() if kind else 0
        os.write(writing, json.dumps([count, result], default=str).encode())
