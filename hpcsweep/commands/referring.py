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

    known = reference.targets()
    if name is not None:
        one = reference.entry(known, name, "targets")
        return _detail(name, one, as_json, [("domain", _domain(one)), ("smoothness", _smoothness(one))])
    rows = [(key, _dimensions(one), _domain(one), _smoothness(one), one["formula"]) for key, one in known.items()]
    return _listing(known, rows, ("name", "dimension", "domain", "smoothness", "formula"), as_json)


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

    known = reference.methods()
    if name is not None:
        one = reference.entry(known, name, "methods")
        return _detail(name, one, as_json, [("needs", ", ".join(one["needs"]) or "nothing")])
    return _listing(known, [(key, one["formula"]) for key, one in known.items()], ("name", "method"), as_json)


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

    known = reference.activations()
    if name is not None:
        one = reference.entry(known, name, "activations")
        return _detail(name, one, as_json, [("source", one["source"])])
    return _listing(known, [(key, one["formula"]) for key, one in known.items()], ("name", "formula"), as_json)


def _dimensions(one: dict[str, Any]) -> str:
    return ", ".join(map(str, one["dimensions"])) if one["dimensions"] else "any"


def _domain(one: dict[str, Any]) -> str:
    from hpcsweep.approx import reference

    return reference.domain(one["domain"], one["dimensions"])


def _smoothness(one: dict[str, Any]) -> str:
    from hpcsweep.approx import reference

    return reference.smoothness(one["smoothness"])


def _listing(known: dict[str, Any], rows: Sequence[tuple[str, ...]], heads: tuple[str, ...], as_json: bool) -> int:
    """Print a line for each entry in columns, or all of them as JSON."""
    if as_json:
        click.echo(json.dumps(_plain(known)))
        return 0
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads) - 1)]
    for row in [heads, *rows]:
        cells = [f"{text:{width}}" for text, width in zip(row, [*widths, 0], strict=True)]
        click.echo(visible("  ".join(cells)))
    return 0


def _detail(name: str, one: dict[str, Any], as_json: bool, rows: list[tuple[str, str]]) -> int:
    """Print all that is known of one entry."""
    if as_json:
        click.echo(json.dumps(_plain({"name": name, **one})))
        return 0
    if "dimensions" in one:
        rows = [("dimension", _dimensions(one)), *rows]
        if one["lipschitz"] is not None:
            where = f" in dimension {len(one['domain'])}" if one["dimensions"] is None else ""
            rows.append(("Lipschitz", f"at most {one['lipschitz']:.6g}{where}"))
    for key, default in {**one.get("parameters", {}), **one.get("options", {})}.items():
        low, high = one.get("limits", {}).get(key, (-math.inf, math.inf))
        limits = "" if (low, high) == (-math.inf, math.inf) else f", from {low:g} to {high:g}"
        rows.append((key, f"by default {'that of the method' if default is None else default}{limits}"))
    wide = max(len(key) for key, _ in rows)
    click.echo(visible(name))
    click.echo("\n".join(f"  {visible(line)}" if line else "" for line in one["text"].splitlines()))
    click.echo("\n".join(visible(f"  {key:{wide}}  {value}") for key, value in rows))
    return 0


def _plain(value: Any) -> Any:
    """Return values for JSON, in which infinite numbers are texts."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
