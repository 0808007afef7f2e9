"""The commands `targets`, `methods` and `activations`: what a study can name."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import click

from hpcsweep.texts import visible

AS_JSON = click.option("--json", "as_json", is_flag=True, help='Print one JSON object; infinity is "inf".')


@click.command()
@click.argument("name", required=False)
@AS_JSON
def targets(name: str | None, as_json: bool) -> int:
    """List the targets: name, dimensions, domain, smoothness and formula; of NAME all that is known.

    Targets of your own are classes, see README.md; `check` says what is known of them.

    \b
      python -m hpcsweep targets
      python -m hpcsweep targets runge
    """
    from hpcsweep.approx import reference

    entries = reference.targets()
    if name is not None:
        facts = reference.entry(entries, name, "targets")
        return _detail(name, facts, as_json, [("domain", _domain(facts)), ("smoothness", _smoothness(facts))])
    rows = [
        (key, _dimensions(facts), _domain(facts), _smoothness(facts), facts["formula"])
        for key, facts in entries.items()
    ]
    return _listing(entries, rows, ("name", "dimension", "domain", "smoothness", "formula"), as_json)


@click.command()
@click.argument("name", required=False)
@AS_JSON
def methods(name: str | None, as_json: bool) -> int:
    """List the training methods, for the axis `optimizer`; of NAME its options with their defaults.

    Methods form chains such as adam+ssbroyden: each starts from the result of the one before.

    \b
      python -m hpcsweep methods
      python -m hpcsweep methods ssbroyden
    """
    from hpcsweep.approx import reference

    entries = reference.methods()
    if name is not None:
        facts = reference.entry(entries, name, "methods")
        return _detail(name, facts, as_json, [("needs", ", ".join(facts["needs"]) or "nothing")])
    return _listing(entries, [(key, facts["formula"]) for key, facts in entries.items()], ("name", "method"), as_json)


@click.command()
@click.argument("name", required=False)
@AS_JSON
def activations(name: str | None, as_json: bool) -> int:
    """List the activations, for `[model] activation`, with their formulas and derivatives; or NAME alone.

    \b
      python -m hpcsweep activations
      python -m hpcsweep activations gelu
    """
    from hpcsweep.approx import reference

    entries = reference.activations()
    if name is not None:
        facts = reference.entry(entries, name, "activations")
        return _detail(name, facts, as_json, [("source", facts["source"])])
    return _listing(entries, [(key, facts["formula"]) for key, facts in entries.items()], ("name", "formula"), as_json)


def _dimensions(facts: dict[str, Any]) -> str:
    return ", ".join(map(str, facts["dimensions"])) if facts["dimensions"] else "any"


def _domain(facts: dict[str, Any]) -> str:
    from hpcsweep.approx import reference

    return reference.domain(facts["domain"], facts["dimensions"])


def _smoothness(facts: dict[str, Any]) -> str:
    from hpcsweep.approx import reference

    return reference.smoothness(facts["smoothness"])


def _listing(entries: dict[str, Any], rows: Sequence[tuple[str, ...]], heads: tuple[str, ...], as_json: bool) -> int:
    """Print a line for each entry in columns, or all of them as JSON."""
    if as_json:
        click.echo(json.dumps(_plain(entries)))
        return 0
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads) - 1)]
    for row in [heads, *rows]:
        cells = [f"{text:{width}}" for text, width in zip(row, [*widths, 0], strict=True)]
        click.echo(visible("  ".join(cells)))
    return 0


def _detail(name: str, facts: dict[str, Any], as_json: bool, rows: list[tuple[str, str]]) -> int:
    """Print all that is known of one entry."""
    if as_json:
        click.echo(json.dumps(_plain({"name": name, **facts})))
        return 0
    if "dimensions" in facts:
        rows = [("dimension", _dimensions(facts)), *rows]
        if facts["lipschitz"] is not None:
            where = f" in dimension {len(facts['domain'])}" if facts["dimensions"] is None else ""
            rows.append(("Lipschitz", f"at most {facts['lipschitz']:.6g}{where}"))
    for key, default in {**facts.get("parameters", {}), **facts.get("options", {})}.items():
        low, high = facts.get("limits", {}).get(key, (-math.inf, math.inf))
        limits = "" if (low, high) == (-math.inf, math.inf) else f", from {low:g} to {high:g}"
        missing = "by default that of the method" if "options" in facts else "required"
        rows.append((key, (missing if default is None else f"by default {default}") + limits))
    wide = max(len(key) for key, _ in rows)
    click.echo(visible(name))
    click.echo("\n".join(f"  {visible(line)}" if line else "" for line in facts["text"].splitlines()))
    click.echo()
    click.echo("\n".join(visible(f"  {key:{wide}}  {value}") for key, value in rows))
    return 0


def _plain(value: Any) -> Any:
    """Return values for JSON, in which infinite numbers are texts."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
