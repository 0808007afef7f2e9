"""Docstrings as Sphinx understands them: their sections become lists, their formulas are not markup."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

_RULE = re.compile(r"-{3,}$")
_ENTRY = re.compile(r"(?P<names>\w+(?:, \w+)*) ?: (?P<text>.+)$")


def reformat(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Rewrite the docstring `lines` in place: headings of sections, and `name: text` in them as entries of a list."""
    written: list[str] = []
    in_section = in_example = False
    for line, following in zip(lines, [*lines[1:], ""], strict=False):
        if _RULE.match(line):
            continue
        if _RULE.match(following):
            written += [f".. rubric:: {line}", ""]
            in_section, in_example = True, line == "Examples"
        elif in_example:
            written.append(line)
        elif in_section and (entry := _ENTRY.match(line)):
            names = ", ".join(f"``{each}``" for each in entry["names"].split(", "))
            written.append(f"- {names}: {_escaped(entry['text'])}")
        else:
            goes_on = in_section and written[-1].startswith(("- ", "  "))
            written.append(_escaped(f"  {line.strip()}".rstrip() if goes_on else line))
    lines[:] = written


def _escaped(line: str) -> str:
    """Return a line in which bars and stars outside of code stand for themselves."""
    parts = re.split(r"(`+[^`]*`+)", line)
    return "".join(part if part.startswith("`") else re.sub(r"([|*])", r"\\\1", part) for part in parts)


def setup(app: Sphinx) -> dict[str, bool]:
    """Enter the extension."""
    app.connect("autodoc-process-docstring", reformat)
    return {"parallel_read_safe": True}
