"""Texts that users have written, shown as they are: none moves a cursor, adds a line, or reverses what follows it."""

from __future__ import annotations

import os
import re
import shlex

# Control characters, separators of lines, overrides of the direction of writing, and halves of characters, which stand
# for bytes of a file name that are not UTF-8.
_HIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str, kept: str = "") -> str:
    """Return a text in which hidden characters, but for those `kept`, are written as in Python: \\n, \\x1b, \\u202e."""
    return _HIDDEN.sub(lambda found: found[0] if found[0] in kept else ascii(found[0])[1:-1], text)


def pasteable(path: str | os.PathLike[str]) -> str:
    """Return a path as a word that can be pasted into a shell; one with hidden characters as $'...', byte by byte."""
    if not hidden(os.fspath(path)):
        return shlex.quote(os.fspath(path))
    plain = set(range(0x20, 0x7F)) - set(b"\\'")
    return "$'" + "".join(chr(byte) if byte in plain else f"\\x{byte:02x}" for byte in os.fsencode(path)) + "'"


def hidden(text: str) -> str:
    """Return the first hidden character of a text as U+001B; empty if it has none."""
    found = _HIDDEN.search(text)
    return f"U+{ord(found[0]):04X}" if found else ""
