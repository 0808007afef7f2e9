"""hpcsweep commands in forks of a process that has imported torch already: each start costs seconds otherwise.

A fork runs `python -m hpcsweep` as any process does, with arguments, folder, environment, outputs and exit code of its
own; only what is imported is there beforehand. Started as `python -m tests.forks`, it takes a request a line.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

PATIENCE = 240.0  # seconds of a command


class Forks:
    """The process that forks, started at the first command."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.forks"],
            cwd=Path(__file__).parents[1],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, arguments: list[str], folder: Path, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. Raises `TimeoutError`."""
        assert self._server.stdin is not None and self._server.stdout is not None
        with tempfile.TemporaryDirectory() as said:
            request = {"arguments": arguments, "folder": str(folder), "environment": dict(environment), "said": said}
            self._server.stdin.write(json.dumps(request) + "\n")
            self._server.stdin.flush()
            code = json.loads(self._server.stdout.readline())
            if code is None:
                raise TimeoutError(f"{arguments} takes more than {PATIENCE} s")
            output, errors = ((Path(said) / name).read_text() for name in ("output", "errors"))
        return subprocess.CompletedProcess(arguments, code, output, errors)

    def close(self) -> None:
        """End the process."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(30)


def without_avx512(file: str, says: str = "digest()") -> str:
    """Return what an expression in the names of a test file says in a process that compiles for AVX2 alone."""
    older = os.environ | {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}
    call = f"import runpy; print(eval({says!r}, runpy.run_path({file!r})))"
    told = subprocess.run([sys.executable, "-c", call], env=older, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    return told.stdout.strip()


def _serve() -> None:
    """Fork for every request; tell the exit code as `subprocess` does, null for one that had to be killed."""

    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    for line in iter(requests.readline, ""):
        child = os.fork()
        if child == 0:
            _become(json.loads(line))
            return
        print(json.dumps(_ended(child)), file=answers, flush=True)


def _become(request: Mapping[str, object]) -> None:
    """Be `python -m hpcsweep` in this process, whose end is that of the command."""
    os.setsid()
    for name, mode, descriptor in (
        ("/dev/null", os.O_RDONLY, 0),
        ("output", os.O_WRONLY, 1),
        ("errors", os.O_WRONLY, 2),
    ):
        opened = os.open(Path(str(request["said"])) / name, mode | os.O_CREAT, 0o600)
        os.dup2(opened, descriptor)
    os.chdir(str(request["folder"]))
    os.environ.clear()
    os.environ.update(request["environment"])  # type: ignore[call-overload]
    sys.path[0] = str(request["folder"])
    sys.argv = ["hpcsweep", *request["arguments"]]  # type: ignore[misc]
    runpy.run_module("hpcsweep", run_name="__main__", alter_sys=True)


def _ended(child: int) -> int | None:
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, 9)
    os.waitpid(child, 0)
    return None


if __name__ == "__main__":
    _serve()
