"""Tables, values and docstrings as Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any


def table(heading: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    heading = list(heading)
    lines = [heading, ["---"] * len(heading), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def code(value: object) -> str:
    """Return a value as code, as TOML writes it."""
    text = str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else f"{value!r}"
    return f"`{text}`"


def escaped(text: str) -> str:
    """Return a text in which stars, underscores and brackets outside of code are no markup."""
    return "".join(
        part if part.startswith("`") else re.sub(r"([*_<])", r"\\\1", part) for part in re.split(r"(`[^`]*`)", text)
    )


def prose(thing: Any) -> str:
    """Return a docstring up to its first section, as Markdown."""
    text = re.split(r"\n\w+\n---+\n", inspect.getdoc(thing) or "")[0]
    return escaped(text)


def first_line(thing: Any) -> str:
    """Return the first line of a docstring, without its full stop."""
    return (inspect.getdoc(thing) or "").partition("\n")[0].rstrip(".")
