"""hpcsweep commands in forks of a process that has imported torch already: each start costs two seconds otherwise.

`python tests/forks.py SOCKET ...`, which starts in no time, stands for `python ...`: it hands its arguments, folder,
environment and open files to the process behind the socket, passes signals on to the fork, and ends as the fork ends;
if it is killed, so is the fork. That works under mpiexec too.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psutil

INHERITED = ("PMI_FD", "HYDI_CONTROL_FD")  # variables with numbers of files that mpiexec opens for a rank
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)


class Forks:
    """The process that forks."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._address = Path(self._folder.name) / "socket"
        line = [sys.executable, "-m", "tests.forks", "--serve", self._address]
        self._server = subprocess.Popen(
            line, cwd=Path(__file__).parents[1], env=dict(environment), stdin=subprocess.PIPE
        )
        while not self._address.exists():
            assert self._server.poll() is None, "the process that forks has ended"
            time.sleep(0.01)

    @property
    def python(self) -> list[str]:
        """What stands for `python` in a command line; it is followed by `-m module` or a script, and arguments."""
        return [sys.executable, "-S", "-E", __file__, str(self._address)]

    def running(self) -> list[psutil.Process]:
        """Return the forks that go on, each at the head of a process group."""
        import psutil

        return psutil.Process(self._server.pid).children()

    def close(self) -> None:
        """End the process."""
        self._server.communicate(timeout=30)
        self._folder.cleanup()


def without_avx512(file: str, says: str = "digest()") -> str:
    """Return what an expression in the names of a test file says in a process that compiles for AVX2 alone."""
    older = os.environ | {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}
    call = f"import runpy; print(eval({says!r}, runpy.run_path({file!r})))"
    told = subprocess.run([sys.executable, "-c", call], env=older, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    return told.stdout.strip()


def _stand_for(address: str, arguments: list[str]) -> None:
    """Be the command for whoever started this process."""
    server = socket.socket(socket.AF_UNIX)
    server.connect(address)
    inherited = [name for name in INHERITED if name in os.environ]
    request = {"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ), "inherited": inherited}
    socket.send_fds(server, [json.dumps(request).encode() + b"\n"], [0, 1, 2, *(int(os.environ[n]) for n in inherited)])
    answers = server.makefile()
    fork = int(answers.readline())
    for number in SIGNALS:
        signal.signal(number, lambda number, _: os.kill(fork, number))
    code = int(answers.readline())
    if code < 0:
        with contextlib.suppress(OSError):  # of SIGKILL
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _serve(address: str) -> None:
    """Fork for every request; answer with the process, and with its exit code as `subprocess` tells it."""
    import importlib

    for name in ("launch", "measure", "remeasure", "replay", "arrays.submit", "doctor.command"):
        importlib.import_module(f"hpcsweep.cluster.{name}")
    importlib.import_module("hpcsweep.approx.training.costs.device").probe()  # which loads compiled code
    listener, forks = socket.socket(socket.AF_UNIX), dict[int, socket.socket]()
    listener.bind(address)
    listener.listen(64)
    while True:
        readable, _, _ = select.select([0, listener, *forks.values()], [], [], 0.01 if forks else None)
        if 0 in readable:  # closed, or whoever started this process has ended
            return
        if listener in readable:
            asking, _ = listener.accept()
            request, descriptors = _received(asking)
            fork = os.fork()
            if fork == 0:
                _become(request, descriptors, [listener, asking, *forks.values()])
                return
            for descriptor in descriptors:
                os.close(descriptor)
            forks[fork] = asking
            with contextlib.suppress(OSError):
                asking.sendall(f"{fork}\n".encode())
        for fork, asking in list(forks.items()):
            if asking in readable:  # whoever stands for it was killed
                os.kill(fork, signal.SIGKILL)
            done, status = os.waitpid(fork, os.WNOHANG)
            if done:
                with contextlib.suppress(OSError):
                    asking.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
                forks.pop(fork).close()


def _received(asking: socket.socket) -> tuple[dict[str, Any], list[int]]:
    text, descriptors, _, _ = socket.recv_fds(asking, 2**20, 8)
    while not text.endswith(b"\n"):
        text += asking.recv(2**20)
    return json.loads(text), list(descriptors)


def _become(request: Mapping[str, Any], descriptors: list[int], others: list[socket.socket]) -> None:
    """Be `python ...` in this process, whose end is that of the command."""
    import runpy

    os.setsid()
    for other in others:
        other.close()
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    os.environ.update(zip(request["inherited"], map(str, descriptors[3:]), strict=True))
    sys.path[0] = request["folder"]
    first, *rest = request["arguments"]
    if first == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        _serve(sys.argv[2])
    else:
        _stand_for(sys.argv[1], sys.argv[2:])
