"""Activations, targets and stored columns."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import hpcsweep
from hpcsweep.approx.models import FAMILIES
from hpcsweep.approx.models.activations import ACTIVATIONS
from hpcsweep.approx.targets import REGISTRY
from hpcsweep.store import layout
from reference.markdown import escaped, first_line, prose, table


def activations() -> str:
    """Return the activations and their formulas."""
    rows = ([f"`{name}`", f"`{first_line(type(each))}`"] for name, each in ACTIVATIONS.items())
    return table(["activation", "formula"], rows)


def families() -> str:
    """Return the families of approximants."""
    return table(["model", "definition"], ([f"`{name}`", escaped(first_line(each))] for name, each in FAMILIES.items()))


def targets() -> str:
    """Return the built-in targets, family by family."""
    modules: dict[Any, list[str]] = {}
    for name, target in REGISTRY.items():
        modules.setdefault(inspect.getmodule(target), []).append(name)
    return "\n".join(f"{prose(module)}\n\n{_module(names)}" for module, names in modules.items())


def _module(names: Iterable[str]) -> str:
    heading = ["name", "formula", "dimension", "domain", "parameters", "smoothness"]
    return table(heading, (_target(name, REGISTRY[name]) for name in names))


def _target(name: str, target: type[hpcsweep.Target]) -> list[str]:
    allowed = target.dimensions
    example = target(allowed[0] if allowed else 2)
    box = dict.fromkeys(example.domain)
    domain = " × ".join(f"[{low:g},\N{NO-BREAK SPACE}{high:g}]" for low, high in box)
    if len(box) == 1:
        domain += f"^{example.dimension}" if allowed and allowed[0] > 1 else "" if allowed else "^d"
    parameters = ", ".join(f"`{name} = {value}`" for name, value in target.parameters.items())
    return [
        f"`{name}`",
        escaped(first_line(target)),
        ", ".join(map(str, allowed)) if allowed else "any",
        domain,
        parameters,
        {float("inf"): "∞"}.get(example.smoothness, f"{example.smoothness:g}"),
    ]


def columns() -> str:
    """Return the columns of a store and of its weights."""
    groups = {
        "Cells: coordinates": layout.COORDINATES,
        "Cells: the target": layout.FACTS,
        "Cells: results": layout.RESULTS,
        "Configurations": layout.CHOICES,
        "Launches": layout.RUNS,
        "The file": layout.FILE,
        "The file of weights": layout.WEIGHTS,
    }
    return "\n".join(f"## {heading}\n\n{_columns(group)}" for heading, group in groups.items())


def _columns(group: Mapping[str, layout.Column]) -> str:
    rows = (
        [
            f"`{name}`",
            ", ".join(column.dimensions),
            str(column.attributes.get("units", "")),
            escaped(column.about),
        ]
        for name, column in group.items()
    )
    return table(["column", "dimensions", "unit", "meaning"], rows)
