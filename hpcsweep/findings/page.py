"""HTML: the few elements of a report, and a page that needs nothing but itself. All texts are escaped here."""

from __future__ import annotations

import base64
import re
from html import escape

from hpcsweep.findings.tables import Rows

NUMBER = re.compile(r"-?[\d,.]+(e[+-]\d+)?|inf")
STYLE = """
body { font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  color: #1f1f1f; background: #fff; max-width: 64rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .8rem; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; padding-top: .6rem; border-top: 1px solid #d9d9d9; }
p { max-width: 46rem; margin: .5rem 0; }
figure { margin: 1.2rem 0; }
img { max-width: 100%; height: auto; }
figcaption, .note { color: #595959; font-size: .88rem; max-width: 46rem; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .65rem; border-bottom: 1px solid #e4e4e4; text-align: left; vertical-align: top; }
th { border-bottom: 2px solid #8c8c8c; white-space: nowrap; }
.number { text-align: right; white-space: nowrap; }
pre { background: #f6f6f6; padding: .8rem; overflow-x: auto; font-size: .8rem; line-height: 1.4; }
@media print {
  body { font-size: 10pt; max-width: none; padding: 0; }
  figure, tr { break-inside: avoid; }
  h2 { break-after: avoid; }
  .scroll, pre { overflow: visible; }
  pre { white-space: pre-wrap; }
  table { font-size: 7.5pt; }
}
"""


def page(title: str, *body: str) -> str:
    """Return a whole page; `body` is HTML made by the functions below."""
    head = '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    content = "\n".join(body)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n{head}<title>{escape(title)}</title>\n<style>{STYLE}</style>\n'
        f"</head>\n<body>\n<main>\n<h1>{escape(title)}</h1>\n{content}\n</main>\n</body>\n</html>\n"
    )


def section(title: str, *body: str) -> str:
    """Return a section under a heading of its own."""
    return "\n".join([f"<section>\n<h2>{escape(title)}</h2>", *body, "</section>"])


def paragraph(words: str, kind: str = "") -> str:
    """Return a paragraph; `kind` is empty or "note"."""
    attribute = f' class="{escape(kind)}"' if kind else ""
    return f"<p{attribute}>{escape(words)}</p>"


def preformatted(text: str) -> str:
    """Return a text as it stands."""
    return f"<pre>{escape(text)}</pre>"


def figure(png: bytes, caption: str) -> str:
    """Return an image that the page carries within itself."""
    data = base64.b64encode(png).decode()
    words = escape(caption)
    return (
        f'<figure>\n<img src="data:image/png;base64,{data}" alt="{words}">\n<figcaption>{words}</figcaption>\n</figure>'
    )


def table(rows: Rows) -> str:
    """Return a table that scrolls sideways on a narrow screen, with its note."""
    numeric = [all(_is_number(row[i]) for row in rows.rows) for i in range(len(rows.header))]
    head = "".join(_cell("th", name, right) for name, right in zip(rows.header, numeric, strict=True))
    body = "\n".join(
        f"<tr>{''.join(_cell('td', value, right) for value, right in zip(row, numeric, strict=True))}</tr>"
        for row in rows.rows
    )
    html = f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'
    return f"{html}\n{paragraph(rows.note, 'note')}" if rows.note else html


def _cell(tag: str, value: str, right: bool) -> str:
    attribute = ' class="number"' if right else ""
    return f"<{tag}{attribute}>{escape(value)}</{tag}>"


def _is_number(value: str) -> bool:
    return value == "–" or NUMBER.fullmatch(value) is not None
