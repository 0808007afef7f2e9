"""How the page of a report looks and what it does when it is touched: a style sheet and one small script.

Without the script the page is whole: tables keep their order, and figures their size.
"""

from __future__ import annotations

STYLE = """
:root { --ink: #1f1f1f; --soft: #595959; --line: #d9d9d9; --wash: #f6f6f4; --mark: #0072b2; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-padding-top: 1rem; }
body { font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  color: var(--ink); background: #fff; max-width: 66rem; margin: 0 auto; padding: 1.5rem 1rem 4rem;
  overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; padding-top: .7rem; border-top: 1px solid var(--line); }
p, li { max-width: 46rem; }
p { margin: .5rem 0; }
sup { font-size: .72em; line-height: 0; }
a { color: var(--mark); }
ul.told { margin: .9rem 0; padding-left: 1.2rem; }
ul.told li { margin: .35rem 0; }
dl.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: .7rem; margin: 1rem 0; }
dl.tiles div { background: var(--wash); border-radius: .4rem; padding: .6rem .8rem; }
dl.tiles dt { color: var(--soft); font-size: .82rem; }
dl.tiles dd { margin: 0; font-size: 1.35rem; font-weight: 600; font-variant-numeric: tabular-nums; }
dl.tiles dd small { display: block; font-size: .78rem; font-weight: 400; color: var(--soft); }
nav { margin: 1.2rem 0 0; font-size: .92rem; display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; }
figure { margin: 1.6rem 0; }
img { display: block; max-width: 100%; height: auto; }
figcaption, .note { color: var(--soft); font-size: .88rem; max-width: 46rem; }
figcaption { margin-top: .4rem; }
button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; text-align: inherit; }
button:focus-visible { outline: 2px solid var(--mark); outline-offset: 2px; }
button.enlarge { display: block; cursor: zoom-in; }
dialog { width: 100vw; height: 100vh; max-width: none; max-height: none; margin: 0; border: 0; padding: 1rem;
  background: #fff; overflow: auto; }
dialog img { max-width: none; width: max(100%, 60rem); max-height: none; cursor: zoom-out; }
dialog button { position: sticky; left: 0; top: 0; background: var(--wash); padding: .3rem .9rem;
  border-radius: .3rem; }
details { margin: .6rem 0; }
summary { cursor: pointer; color: var(--mark); font-size: .88rem; }
details li { font-size: .92rem; }
.scroll { overflow: auto; max-height: 32rem; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .65rem; border-bottom: 1px solid #e4e4e4; text-align: left; vertical-align: top; }
td.long { max-width: 30rem; min-width: 14rem; }
td.middle { max-width: 20rem; min-width: 8rem; }
th { box-shadow: inset 0 -2px #8c8c8c; white-space: nowrap; position: sticky; top: 0; background: #fff; }
th button { font-weight: inherit; }
th button::after { content: "\\2195"; color: #b5b5b5; padding-left: .3em; }
th[aria-sort="ascending"] button::after { content: "\\2191"; color: var(--mark); }
th[aria-sort="descending"] button::after { content: "\\2193"; color: var(--mark); }
tbody tr:hover { background: var(--wash); }
.number { text-align: right; white-space: nowrap; }
.short { white-space: nowrap; }
pre { background: var(--wash); padding: .8rem; overflow-x: auto; font-size: .8rem; line-height: 1.4; }
@media (max-width: 40rem) {
  h1 { font-size: 1.35rem; }
  dl.tiles { grid-template-columns: 1fr 1fr; }
  dl.tiles dd { font-size: 1.15rem; }
}
@media print {
  body { font-size: 10pt; max-width: none; padding: 0; }
  nav, dialog { display: none; }
  figure, tr, dl.tiles div { break-inside: avoid; }
  h2 { break-after: avoid; }
  .scroll, pre { overflow: visible; max-height: none; }
  pre { white-space: pre-wrap; }
  th { position: static; }
  th button::after { content: none; }
  table { font-size: 7.5pt; }
  td.long, td.middle { max-width: none; min-width: 0; }
  details::details-content { content-visibility: visible; block-size: auto; }
  .short { white-space: normal; }
}
"""

SCRIPT = """
"use strict";
const value = (cell) => {
  const text = cell.textContent.trim().replace(/,/g, "").replace(/\\u2212/g, "-").replace(/^[<>\\u2264\\u2265 ]+/, "");
  if (text === "" || text === "\\u2013") return null;
  const number = /^-?inf/.test(text) ? (text[0] === "-" ? -Infinity : Infinity) : parseFloat(text);
  return Number.isNaN(number) ? text.toLowerCase() : number;
};
const compare = (a, b) => typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1;
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "sort";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => [value(row.cells[column]), row]);
      const known = rows.filter(([key]) => key !== null), blank = rows.filter(([key]) => key === null);
      known.sort(([a], [b]) => down ? compare(b, a) : compare(a, b));
      body.append(...[...known, ...blank].map(([, row]) => row));
    });
  });
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
const dialog = document.createElement("dialog"), close = document.createElement("button"), large = new Image();
close.type = "button";
close.textContent = "Close";
dialog.setAttribute("aria-label", "Figure, enlarged");
dialog.append(close, large);
document.body.append(dialog);
for (const part of [close, large]) part.addEventListener("click", () => dialog.close());
for (const image of document.querySelectorAll("figure img")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "enlarge";
  button.setAttribute("aria-label", "Enlarge: " + image.alt);
  image.replaceWith(button);
  button.append(image);
  button.addEventListener("click", () => {
    large.src = image.src;
    large.alt = image.alt;
    dialog.showModal();
  });
}
"""
