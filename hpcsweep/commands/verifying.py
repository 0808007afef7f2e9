"""The command `verify`."""

from __future__ import annotations

import json
import math
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpcsweep.commands.parameters import STORE, STYLES, Count, Duration, on_plugins
from hpcsweep.texts import visible

if TYPE_CHECKING:
    from hpcsweep.cluster.verify import Verified

VERIFY_EPILOG = """
\b
Exit codes: 0 all that is claimed was confirmed; 1 something is refuted; 2 the
request is invalid; 3 something is neither confirmed nor refuted.
"""
REFUTATIONS = {
    "lower": "A lower end is refuted at the point that is stored with it; the error may be as large elsewhere.",
    "upper": "An upper end that is refuted is false: the error is larger at the point that is named.",
}


@click.command(epilog=VERIFY_EPILOG)
@click.argument("file", type=STORE)
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@click.option("--sample", type=click.IntRange(min=1), default=10, show_default=True, help="Cells, without KEYs.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed that draws the cells.")
@click.option("--boxes", type=Count(), default="2^17", show_default=True, help="Largest number of boxes for a cell.")
@click.option(
    "--seconds", type=Duration(), default="60", show_default=True, help="Longest time for a cell, such as 5m."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--progress", type=STYLES, default="auto", show_default=True, help="auto: a bar on a terminal, or lines.")
@on_plugins
def verify(
    file: Path,
    keys: tuple[str, ...],
    sample: int,
    seed: int,
    boxes: int,
    seconds: float,
    as_json: bool,
    progress: Any,
    folder: Path | None,
    study: Path | None,
    trust_plugins: bool,
) -> int:
    """Check brackets of the store FILE by another arithmetic than the one that proved them.

    The error at the worst point is enclosed by balls of 200 bits (python-flint): that confirms or refutes sup_lower.
    Branch and bound with balls then confirms sup_upper on the whole domain, within so many boxes and seconds, or finds
    a point that refutes it; where neither succeeds, it says so. KEYs are keys of cells or their beginnings; without
    them, a sample of the cells is checked. FILE is not changed. (For damage to the file itself see status --verify.)

    \b
      python -m hpcsweep verify results.h5
      python -m hpcsweep verify results.h5 --sample 100 --seed 1 --seconds 5m
      python -m hpcsweep verify results.h5 3f9c 81a0 --json
    """
    from hpcsweep.cluster import verify as checking
    from hpcsweep.cluster.progress import display
    from hpcsweep.cluster.trust import Trust

    effort, trust = checking.Effort(boxes, seconds, seed), Trust(study, trust_plugins)
    with closing(display(progress, sys.stderr)) as shown:
        verified, measured = checking.verify(file, keys, sample, effort, folder, trust, shown)
    code = max((cell.code for cell in verified), key=(0, 3, 1).index)
    if as_json:
        drawn = {} if keys else {"seed": seed}
        click.echo(json.dumps({"file": str(file), "brackets": measured, **drawn, "cells": list(map(_plain, verified))}))
        return code
    click.echo("\n".join(map(visible, _table(verified))))
    chosen = "" if keys else f", drawn with --seed {seed}"
    cells = "1 cell" if len(verified) == 1 else f"{len(verified)} cells"
    click.echo(f"{cells} of {measured:,} with a bracket{chosen}; {_summary(verified)}")
    for end, meaning in REFUTATIONS.items():
        if any(getattr(cell, end) == "refuted" for cell in verified):
            click.echo(meaning)
    return code


def _table(verified: list[Verified]) -> list[str]:
    """Return a line for each cell, with what is not confirmed below it."""
    wide = max(6, *(len(cell.target) for cell in verified)), max(5, *(len(cell.model) for cell in verified))
    heads = f"{'key':8}  {'target':{wide[0]}}  d  {'model':{wide[1]}}  {'sup_lower':>13}  {'sup_upper':>13}"
    lines = [f"{heads}  {'lower end':15}  {'upper end':15}  {'boxes':>7}  seconds"]
    for cell in verified:
        about = f"{cell.key[:8]}  {cell.target:{wide[0]}}  {cell.dimension}  {cell.model:{wide[1]}}"
        bracket = f"{cell.sup_lower:13.7g}  {cell.sup_upper:13.7g}"
        lines.append(f"{about}  {bracket}  {cell.lower:15}  {cell.upper:15}  {cell.boxes:7}  {cell.seconds:7.2f}")
        lines += [f"          {remark}" for remark in cell.remarks]
    return lines


def _summary(verified: list[Verified]) -> str:
    """Return how many ends there are of each verdict."""
    parts = []
    for end in ("lower", "upper"):
        verdicts = [getattr(cell, end) for cell in verified]
        counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(sorted(verdicts)))
        parts.append(f"{end} ends: {counts}")
    return "; ".join(parts)


def _plain(cell: Verified) -> dict[str, Any]:
    """Return a cell for JSON, which has no infinite numbers and no NaN."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(cell).items()
    }
