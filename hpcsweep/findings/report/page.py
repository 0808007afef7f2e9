"""The page of a report, rendered from the templates beside this file; it needs nothing but itself.

Texts come from users (titles, labels, messages), so the templates escape all of them; the style sheet and the script
are files of this package, which page.html.jinja includes.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from hpcsweep.findings.tables import Rows
from hpcsweep.texts import visible

NUMBER = re.compile(r"-?[\d,.]+(e[+-]\d+)?|inf")
SHORT, MIDDLE = 24, 60  # characters: texts up to SHORT are not wrapped, up to MIDDLE only a little
Tile = tuple[str, str, str]  # name, value and remark


@dataclass(frozen=True)
class Image:
    """A PNG that the page carries within itself, and its caption."""

    caption: str
    png: bytes

    @property
    def base64(self) -> str:
        return base64.b64encode(self.png).decode()

    @property
    def size(self) -> tuple[int, ...]:
        """Width and height in CSS pixels, two thirds of those that the first chunk of the PNG gives."""
        return tuple(pixels * 2 // 3 for pixels in struct.unpack(">II", self.png[16:24]))


@dataclass(frozen=True)
class Section:
    """A section of the page: a heading, and under it whatever there is, in the order of the fields.

    Only the first image stands before the tables; `sentences` say the first table in words.
    """

    title: str
    lead: str = ""  # name of a paragraph in leads.html.jinja
    images: Sequence[Image] = ()
    tables: Sequence[Rows] = ()
    sentences: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()


def render(**values: object) -> str:
    """Return the HTML of a page; `values` are the variables of page.html.jinja."""
    return templates.get_template("page.html.jinja").render(values)


def caption(name: str) -> str:
    """Return the caption of a figure, in captions.html.jinja by the name of its file."""
    return " ".join(getattr(templates.get_template("captions.html.jinja").module, name).split())


def _anchor(title: str) -> str:
    return re.sub("[^a-z]+", "-", title.lower()).strip("-")


def _numeric_columns(rows: Rows) -> list[bool]:
    return [all(_is_number(row[column]) for row in rows.rows) for column in range(len(rows.header))]


def _is_number(text: str) -> bool:
    return text == "–" or NUMBER.fullmatch(text) is not None


def _cell_class(text: str, numeric: bool) -> str:
    """Return the class of a cell, which decides how it is aligned and wrapped."""
    return "number" if numeric else "short" if len(text) <= SHORT else "middle" if len(text) <= MIDDLE else "long"


def _shown(value: object) -> object:
    """Return a text without hidden characters, but for the ends of lines; what a macro has rendered stays."""
    return visible(value, kept="\n\t") if type(value) is str else value


templates = Environment(
    loader=PackageLoader("hpcsweep.findings.report"),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_shown,
    trim_blocks=True,
    lstrip_blocks=True,
)
templates.filters |= {"anchor": _anchor, "numeric_columns": _numeric_columns, "cell_class": _cell_class}
