"""What Sphinx reads of a page: generated tables in their places, texts of the repository, links between them."""

from __future__ import annotations

import re
from pathlib import Path

import reference
from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}


def read(app: Sphinx, page: str, text: list[str]) -> None:
    """Fill in a page: `<!-- generated: NAME ... -->` by a function of `reference`, `<!-- text: FILE -->` by a file."""
    filled = re.sub(r"(?m)^<!-- text: (\S+) -->$", lambda found: _moved((ROOT / found[1]).read_text()), text[0])
    filled = re.sub(r"(?m)^<!-- generated: (.+) -->$", lambda found: _generated(*found[1].split()), filled)
    for name, place in PAGES.items():
        filled = re.sub(rf"\]\((?:\.\./)+{name}", f"]({'../' * page.count('/')}{place}", filled)
    text[0] = re.sub(r"\[[\w/]+\.md\]\(", "[](", filled)  # links that show the name of a file show its title instead


def _generated(name: str, *arguments: str) -> str:
    return getattr(reference, name)(*arguments)


def _moved(text: str) -> str:
    """Return a text of the root of the repository with the links that it has in `docs`."""
    text = re.sub(r"\]\((?!docs/|https?:|#)([^)]+)\)", r"](../\1)", text)
    return text.replace("](docs/", "](")


def setup(app: Sphinx) -> dict[str, bool]:
    """Enter the extension."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True}
