"""One rank fails, all ranks end: at once, with the traceback of the culprit. Imports neither torch nor MPI."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import os
import sys
import termios
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import NoReturn

from hpcsweep.cluster.launchers import launched

_kept: list[object] = []
_blocks: list[object] = []  # in which C's `exit` is watched for
_guarded: list[int] = []  # processes that nobody is to end with the exit code 0
HEARD = 5.0  # seconds, at most, that a launcher is given to read what a failed rank said


def listen() -> None:
    """From now on let an uncaught exception, in any thread of this rank, end all ranks.

    Before MPI is initialised the others wait for this rank in their own initialisation, for ever: it joins them there
    first. Where no launcher started this process, exceptions do what they always do.
    """
    if launched():
        sys.excepthook = abort
        threading.excepthook = _abort_thread


def _abort_thread(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_value is not None and failed.exc_type is not SystemExit:
        abort(failed.exc_type, failed.exc_value, failed.exc_traceback)


def abort(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback of the culprit and end all ranks at once."""
    traceback.print_exception(kind, error, trace)  # first: MPI may be what fails
    sys.stderr.flush()
    from mpi4py import MPI

    print(f"rank {MPI.COMM_WORLD.rank} of {MPI.COMM_WORLD.size} failed; all ranks stop.", file=sys.stderr, flush=True)
    leave(1)


def leave(code: int) -> NoReturn:
    """End all ranks at once with this exit code, whatever they are doing; threads that hang are not waited for."""
    sys.stdout.flush()
    sys.stderr.flush()
    if launched():
        from mpi4py import MPI

        drain(2)
        _blocks.clear()  # from here on C's `exit` is ours
        MPI.COMM_WORLD.Abort(code)
    os._exit(code)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Let nobody end this process with the exit code 0 inside of the block, such as a plugin that calls `os._exit(0)`.

    Only a command that has come to its end may say that all is well: jobs that wait for it would go on. The `exit` of C
    is noticed too, and programs that would take the place of this one. The `_exit` of C cannot be had by ctypes inside
    of the block: that raises `RuntimeError`. Compiled code that calls it is not noticed: no process is told of its own
    end. Processes that are forked inside of the block end as they like.
    """
    own, ordinary = os.getpid(), {name: getattr(os, name) for name in ("_exit", "execv", "execve")}

    exit_now = os._exit

    def restore() -> None:
        for name, function in ordinary.items():
            setattr(os, name, function)

    def ended() -> NoReturn:
        restore()
        print(
            "hpcsweep: something, such as a plugin, ended this process with exit code 0 before the run was over; it "
            "ends with 1. The same command continues.",
            file=sys.stderr,
        )
        leave(1)

    def ending(status: int) -> NoReturn:
        if status == 0 and os.getpid() == own:
            ended()
        exit_now(status)

    def replacing(name: str) -> Callable[..., NoReturn]:
        return lambda *program: ended() if os.getpid() == own else ordinary[name](*program)

    _audited()
    os._exit = ending
    os.execv, os.execve = replacing("execv"), replacing("execve")
    try:
        _guarded.append(own)
        with _exit_of_c(lambda: ended() if os.getpid() == own else None):
            yield
    finally:
        _guarded.pop()
        restore()


@functools.cache
def _audited() -> None:
    """From now on refuse to look up C's `_exit` in a process that is guarded."""

    def refuse(event: str, arguments: tuple[object, ...]) -> None:
        if event == "ctypes.dlsym" and arguments[1] in ("_exit", "_Exit") and os.getpid() in _guarded:
            raise RuntimeError("C's _exit is not to be had: it would end this process unseen, before the run is over")

    sys.addaudithook(refuse)


@contextlib.contextmanager
def _exit_of_c(ended: Callable[[], object]) -> Iterator[None]:
    """Call `ended` where C's `exit` or `quick_exit` ends this process inside of the block; with the GNU library only.

    It is registered as a library registers what is to be done when it is closed. The block closes that library: what is
    registered must be gone before Python ends.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "gnu_get_libc_version"):
        yield
        return
    library = ctypes.create_string_buffer(1)
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: ended() if library in _blocks else None)
    handle = ctypes.byref(library)
    libc.__cxa_atexit(function, None, handle)
    libc.__cxa_at_quick_exit(function, handle)
    _kept.append((function, library))  # what a quick exit calls stays registered
    _blocks.append(library)
    try:
        yield
    finally:
        _blocks.remove(library)
        libc.__cxa_finalize(handle)


def insist(code: int) -> None:
    """Let this process end with `code`, not with 0, whatever a plugin has left to be called at its end."""
    exit_now = os._exit
    os._exit = lambda status: exit_now(status or code)


def agree(mistake: str = "") -> None:
    """End all ranks, with exit code 2, if one of them has found a mistake before MPI began; it is told once.

    The ranks that have found none come here too, when they begin with MPI: else they would wait there for ever.
    """
    from mpi4py import MPI

    mistakes = MPI.COMM_WORLD.allgather(mistake)
    if not any(mistakes):
        return
    if MPI.COMM_WORLD.rank == next(rank for rank, text in enumerate(mistakes) if text):
        print(mistake, file=sys.stderr, flush=True)
    sys.exit(2)


def drain(descriptor: int, patience: float = HEARD) -> None:
    """Wait until the reader of a pipe has taken what was written, and a moment more, but no longer than `patience`.

    A launcher that is told to abort ends at once, and what still lies in the pipe from its rank is lost: the traceback.
    """
    end, waiting = time.monotonic() + patience, bytearray(4)
    try:
        while time.monotonic() < end:
            fcntl.ioctl(descriptor, termios.FIONREAD, waiting)
            if not any(waiting):
                break
            time.sleep(0.01)
    except OSError:  # no pipe: a file, a terminal of another kind, nothing
        return
    time.sleep(0.3)  # what it has read it passes on
