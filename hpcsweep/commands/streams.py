"""The standard streams of the command line: whatever the terminal can show, and whoever has stopped to read.

A text that the encoding of the terminal lacks is written with escapes. A write that fails, into the pipe of a `head`
that is done or onto a full disk, stops no computation and is no traceback; it is remembered, and told at the end.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any

NEEDED = ("stdin", "stdout", "stderr")


class _Lasting(io.FileIO):
    """An open file whose first error of writing is kept in `error`; after it nothing is written any more."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        left, size = memoryview(data).cast("B"), memoryview(data).nbytes
        try:
            while left and self.error is None:
                left = left[super().write(left) or 0 :]
        except OSError as error:
            self.error = error
        return size


class _Ascii(io.TextIOWrapper):
    """A stream of ASCII under another name: where click reads that of ASCII, it writes UTF-8."""

    encoding = "latin-1"


_open: dict[str, _Lasting] = {}  # by name of the stream


def prepare() -> None:
    """Put such streams in place of those of Python; open those that were closed, whose numbers a store would get."""
    for number, name in enumerate(NEEDED):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_RDWR), number)
                os.set_inheritable(number, True)
            if number:
                setattr(sys, name, os.fdopen(number, "w", closefd=False))
    for name in NEEDED[1:]:
        stream = getattr(sys, name)
        with contextlib.suppress(OSError, AttributeError, ValueError):  # of somebody who has put something else there
            stream.flush()
            raw = _Lasting(stream.fileno(), "w", closefd=False)
            buffer: Any = raw if stream.write_through else io.BufferedWriter(raw)
            settings = {"line_buffering": stream.line_buffering, "write_through": stream.write_through}
            kind = _Ascii if codecs.lookup(stream.encoding).name == "ascii" else io.TextIOWrapper
            setattr(sys, name, kind(buffer, stream.encoding, "backslashreplace", **settings))
            _open[name] = raw


def broken() -> bool:
    """Return whether nobody reads the output any more, or it cannot be written."""
    return "stdout" in _open and _open["stdout"].error is not None


class Screen:
    """Shows texts one after the other: on a terminal each in the place of the one before, elsewhere below it."""

    def __init__(self) -> None:
        self._rows = 0  # of the terminal that the last text takes

    def show(self, lines: Sequence[str]) -> None:
        """Show the lines of a text; of one that is too long for the terminal, the end stands still."""
        up = ""
        if sys.stdout.isatty():
            size = shutil.get_terminal_size()
            up = f"\x1b[{min(self._rows, size.lines - 1)}F\x1b[J" if self._rows else ""
            self._rows = sum(max(1, -(-len(line) // size.columns)) for line in lines)
        print(up + "\n".join(lines), flush=True)


def finish(code: int, computes: bool) -> int:
    """Return the exit code of a command that ends with `code`, after the last of its output.

    Output that is lost is a failure, told in a sentence, but not of a command that `computes`, whose results are
    elsewhere; a reader that wants no more is none.
    """
    for name in NEEDED[1:]:
        with contextlib.suppress(OSError, AttributeError, ValueError):
            getattr(sys, name).flush()
    error = _open["stdout"].error if "stdout" in _open else None
    if error is None or error.errno == errno.EPIPE:
        return code
    print(f"hpcsweep: the output cannot be written: {os.strerror(error.errno or errno.EIO)}.", file=sys.stderr)
    return code or (0 if computes else 2)
