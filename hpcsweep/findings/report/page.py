"""HTML: the few elements of a report, and a page that needs nothing but itself. All texts are escaped here."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Iterable
from html import escape

from hpcsweep.findings.report.look import SCRIPT, STYLE
from hpcsweep.findings.tables import Rows

NUMBER = re.compile(r"-?[\d,.]+(e[+-]\d+)?|inf")
SHORT, MIDDLE = 24, 60  # letters that are not broken into lines; that are broken into few
FORMULA, RAISED = re.compile(r"\$(.*?)\$"), re.compile(r"\^\{(.*?)\}")
INLINE = r'<span class="short">\1</span>'
Tile = tuple[str, str, str]  # what, how much, and a remark


def page(title: str, *body: str) -> str:
    """Return a whole page; `body` is HTML made by the functions below."""
    head = '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    content = "\n".join(body)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n{head}<title>{escape(title)}</title>\n<style>{STYLE}</style>\n'
        f"</head>\n<body>\n<main>\n<h1>{escape(title)}</h1>\n{content}\n</main>\n"
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def section(title: str, *body: str) -> str:
    """Return a section under a heading of its own, to which `contents` can lead."""
    return "\n".join([f'<section id="{_anchor(title)}">\n<h2>{escape(title)}</h2>', *body, "</section>"])


def contents(titles: Iterable[str]) -> str:
    """Return links to the sections of these titles."""
    links = "\n".join(f'<a href="#{_anchor(title)}">{escape(title)}</a>' for title in titles)
    return f'<nav aria-label="Contents">\n{links}\n</nav>'


def _anchor(title: str) -> str:
    return re.sub("[^a-z]+", "-", title.lower()).strip("-")


def tiles(found: Iterable[Tile]) -> str:
    """Return the few numbers that a reader should see first."""
    cells = "\n".join(
        f"<div><dt>{escape(what)}</dt><dd>{escape(much)}<small>{escape(remark)}</small></dd></div>"
        for what, much, remark in found
    )
    return f'<dl class="tiles">\n{cells}\n</dl>'


def sentences(words: Iterable[tuple[str, str]]) -> str:
    """Return a list of what each sentence is about, and the sentence."""
    items = "\n".join(f"<li><strong>{escape(about)}</strong> {escape(sentence)}</li>" for about, sentence in words)
    return f'<ul class="told">\n{items}\n</ul>'


def lead(words: str) -> str:
    """Return a paragraph with formulas: `$c (1/ε)^{d}$` stays on one line, and its d is raised."""
    raised = RAISED.sub(r"<sup>\1</sup>", escape(words))
    return f"<p>{FORMULA.sub(INLINE, raised)}</p>"


def details(heading: str, body: str) -> str:
    """Return HTML that opens under a heading, and in print."""
    return f"<details>\n<summary>{escape(heading)}</summary>\n{body}\n</details>"


def paragraph(words: str, kind: str = "") -> str:
    """Return a paragraph; `kind` is empty or "note"."""
    attribute = f' class="{escape(kind)}"' if kind else ""
    return f"<p{attribute}>{escape(words)}</p>"


def preformatted(text: str) -> str:
    """Return a text as it stands."""
    return f"<pre>{escape(text)}</pre>"


def figure(png: bytes, caption: str) -> str:
    """Return an image that the page carries within itself, two thirds as wide as it has dots."""
    data = base64.b64encode(png).decode()
    words = escape(caption)
    width, height = (size * 2 // 3 for size in struct.unpack(">II", png[16:24]))  # of the PNG's first chunk
    image = f'<img src="data:image/png;base64,{data}" alt="{words}" width="{width}" height="{height}">'
    return f"<figure>\n{image}\n<figcaption>{words}</figcaption>\n</figure>"


def table(rows: Rows) -> str:
    """Return a table that scrolls sideways on a narrow screen, with its note."""
    numeric = [all(_is_number(row[i]) for row in rows.rows) for i in range(len(rows.header))]
    head = "".join(_cell('th scope="col"', name, right) for name, right in zip(rows.header, numeric, strict=True))
    body = "\n".join(
        f"<tr>{''.join(_cell('td', value, right) for value, right in zip(row, numeric, strict=True))}</tr>"
        for row in rows.rows
    )
    html = f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'
    return f"{html}\n{paragraph(rows.note, 'note')}" if rows.note else html


def _cell(tag: str, value: str, right: bool) -> str:
    length = len(value)
    kind = "number" if right else "short" if length <= SHORT else "middle" if length <= MIDDLE else "long"
    attribute = f' class="{kind}"'
    return f"<{tag}{attribute}>{escape(value)}</{tag.split()[0]}>"


def _is_number(value: str) -> bool:
    return value == "–" or NUMBER.fullmatch(value) is not None
