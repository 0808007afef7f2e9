"""An error, a short write or a kill at one system call of everything that writes a store."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from hpcsweep.errors import UserError

NAMES = ("pwrite", "fsync", "replace", "ftruncate", "link", "unlink", "rename", "open")
KINDS = ("EIO", "ENOSPC", "SHORT", "KILL")  # KILL: half of a write, then the end
KILLED, TRACEBACK, STUCK = 99, 98, 97
LIMIT = 60.0  # seconds


def attempt(action: Callable[[], object], kind: str = "", number: int = 0) -> tuple[int, int]:
    """Do something in a process of its own, in which a system call goes wrong: the one of this `number`, from 1.

    Returns its exit code (0, 2 for a sentence to the user, `KILLED`, `TRACEBACK`, `STUCK`), and how many calls there
    were.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = TRACEBACK
        try:
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            code = _watched(action, kind, number, writing)
        finally:
            os._exit(code)
    os.close(writing)
    code = _ended(child)
    with os.fdopen(reading, "rb") as pipe:
        counts = pipe.read().split()
    return code, int(counts[-1]) if counts else 0


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


def _watched(action: Callable[[], object], kind: str, number: int, writing: int) -> int:
    count, real = [0], {name: getattr(os, name) for name in NAMES}

    def failing(name: str) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            if name == "open" and not given[1] & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
                return real[name](*given, **named)
            count[0] += 1
            if count[0] != number:
                return real[name](*given, **named)
            half = name == "pwrite" and kind in ("SHORT", "KILL")
            result = real[name](given[0], bytes(given[1])[: max(1, len(given[1]) // 2)], *given[2:]) if half else None
            if kind == "KILL":
                os._exit(KILLED)
            if kind == "SHORT":
                return result if half else real[name](*given, **named)
            raise OSError(getattr(errno, kind), os.strerror(getattr(errno, kind)))

        return call

    for name in NAMES:
        setattr(os, name, failing(name))
    try:
        action()
        return 0
    except UserError:
        return 2
    except OSError:  # which the commands turn into a sentence
        return 2
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return TRACEBACK
    finally:
        os.write(writing, f"{count[0]} ".encode())
