#!/usr/bin/env python
"""Print published figures beside those of stores, case by case, and whether ours are accepted. For login nodes."""

from __future__ import annotations

import argparse
from pathlib import Path

from hpcsweep.findings import dataset, published

CASES = Path(__file__).with_name("published.toml")
HEADER = ("case", "figure", "published", "ours", "accepted range", "accepted")


def cells_of(compared: published.Compared) -> tuple[str, ...]:
    """Return one line of the table."""
    row = compared.row
    span = "" if row.accept is None else f"{row.accept[0]:.3g} … {row.accept[1]:.3g}"
    return (row.case, row.figure, row.published, f"{compared.ours:.3g}", span, compared.verdict)


def main() -> int:
    """Read the stores that there are, compare, print; exit code 1 if a figure is not accepted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("results"), help="of CASE.h5; default: results")
    parser.add_argument("--cases", type=Path, default=CASES, help="default: published.toml beside this script")
    parser.add_argument("--case", action="append", help="only this one; may be repeated")
    parser.add_argument("--markdown", action="store_true", help="a table for a document")
    arguments = parser.parse_args()
    rows = [row for row in published.rows(arguments.cases) if not arguments.case or row.case in arguments.case]
    lines, code = [], 0
    stores = {row.case: dataset.files(arguments.folder / f"{row.case}.h5") for row in rows}
    read = {case: dataset.read(files) for case, files in stores.items() if files[0].exists()}
    for row in rows:
        if row.case not in read:
            lines.append((row.case, row.figure, row.published, "", "", "not run"))
            continue
        compared = published.compare(read[row.case], row)
        code |= compared.verdict.startswith("no")
        lines.append(cells_of(compared))
    widths = [max(map(len, column)) for column in zip(HEADER, *lines, strict=True)]
    table = [HEADER, tuple("-" * width for width in widths), *lines]
    for line in table:
        padded = [text.ljust(width) for text, width in zip(line, widths, strict=True)]
        print(f"| {' | '.join(padded)} |" if arguments.markdown else "  ".join(padded).rstrip())
    return code


if __name__ == "__main__":
    raise SystemExit(main())
