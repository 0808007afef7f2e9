"""A question that a copy of this process answers within a time limit, whatever a user's code does there."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import torch

from hpcsweep.approx.isolation import end_with_parent

Tell = Callable[[str], None]  # says what begins now


class Unanswered(Exception):
    """There is no answer; says why, and what had begun."""


def ask(question: Callable[[Tell], Any], patience: float) -> Any:
    """Return the answer of `question`, plain values of JSON, which a copy of this process computes.

    The question tells what it begins; nothing of that may take longer than `patience` seconds. The copy is then killed,
    also in the middle of a call of C, with all that it forked. Raises Unanswered, also if the copy ends by itself.
    """
    own, (reading, writing) = os.getpid(), os.pipe()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    child = os.fork()
    if child == 0:
        _answer(question, writing, own)
    os.close(writing)
    begun = "at its beginning"
    try:
        for line in _lines(reading, patience):
            kind, content = json.loads(line)
            if kind == "answer":
                return content
            begun = content
    except TimeoutError:
        raise Unanswered(f"does not end within {patience:g} s {begun}") from None
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)  # it may not have come to leading a group
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    ended = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"
    raise Unanswered(f"ends its process with {ended} {begun}")


def _answer(question: Callable[[Tell], Any], writing: int, parent: int) -> NoReturn:
    """Answer in this process, which is a copy of its parent, and end it, at the latest with its parent."""
    status, own = 1, os.getpid()
    try:
        end_with_parent()
        if os.getppid() != parent:  # it has ended before that
            os._exit(status)
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        torch.set_num_threads(1)  # those of the other process are not here

        def send(kind: str, content: Any) -> None:
            os.write(writing, f"{json.dumps([kind, content])}\n".encode())

        answer = question(lambda begun: send("begun", begun))
        if os.getpid() == own:
            send("answer", answer)
        status = 0
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(status)


def _lines(reading: int, patience: float) -> Iterator[bytes]:
    """Yield the lines of a pipe until its other end is closed. Raises TimeoutError if one takes too long."""
    text, end = b"", time.monotonic() + patience
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            raise TimeoutError
        if not (more := os.read(reading, 1 << 16)):
            return
        *lines, text = (text + more).split(b"\n")
        yield from lines
        end = time.monotonic() + patience if lines else end
