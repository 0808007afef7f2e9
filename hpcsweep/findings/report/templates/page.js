// Tables that sort and figures that open large. Without this script the page is still complete.
"use strict";
const value = (cell) => {
  const text = cell.textContent.trim().replace(/,/g, "").replace(/\u2212/g, "-").replace(/^[<>\u2264\u2265 ]+/, "");
  if (text === "" || text === "\u2013") return null;
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
