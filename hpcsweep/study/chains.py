"""Training methods: the name of an optimizer, or of a chain of them, and layers of fields -> one configuration.

Later layers win: `[training]`, `[training.NAME]`, the axes of the grid, the table in the list of the axis `optimizer`,
and in that table the table of one part. A configuration holds the fields that its optimizer uses and no others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpcsweep.config import DIRECT, OBJECTIVE, OptimizerConfig
from hpcsweep.errors import StudyError, unknown
from hpcsweep.study.parsing import Catalogue, Study, explicit, fields_of, section
from hpcsweep.study.schema import training_section


def split(
    value: Mapping[str, Any], catalogue: Catalogue, where: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Take the explicit fields of a value of the axis `optimizer` apart: its table, with its `name`.

    Returns
    -------
    parts : what the catalogue says of each part of the chain
    changes : the explicit fields for each of them
    """
    kind, parts = training_section(catalogue.options), catalogue.optimizer(value["name"])
    names = [part["name"] for part in parts]
    own = {key: table for key, table in value.items() if key in names and isinstance(table, dict) and len(parts) > 1}
    common = explicit(kind, {key: value[key] for key in value.keys() - own.keys() - {"name"}}, where)
    used = {field for part in parts for field in fields_of(part)} | set(_objective_fields(parts[0]))
    for field in common:
        if field not in used:
            raise StudyError(unknown(f"{where}: {value['name']}", field, used - {"name"}))
    tables = [explicit(kind, own.get(name, {}), f"{where}.{name}") for name in names]
    for name, table in zip(names, tables, strict=True):
        for field in table.keys() & set(OBJECTIVE):
            raise StudyError(f"{where}.{name}: {field!r} belongs to the whole chain; set it beside its name.")
    # A default number of steps belongs to a warm-up: the steps of the chain are those of the others.
    shared = [{key: common[key] for key in common if key != "steps" or "steps" not in part} for part in parts]
    return parts, [{**fields, **table} for fields, table in zip(shared, tables, strict=True)]


def resolve(
    study: Study,
    catalogue: Catalogue,
    name: str,
    parts: list[dict[str, Any]],
    axes: Mapping[str, Any],
    changes: list[dict[str, Any]],
    where: str,
    label: str,
) -> OptimizerConfig:
    """Return a method; `parts` and `changes` come from `split`, `axes` are the values in a grid.

    It is to be `settled`: its batches may be shares of the samples.
    """
    kind, complete = training_section(catalogue.options), []
    for part, explicitly in zip(parts, changes, strict=True):
        own, axis = study.per_optimizer.get(part["name"], {}), dict(axes)
        if "steps" in part:
            axis["steps"] = own.get("steps", part["steps"])
        fields = section(kind, {**study.training, **own, **axis, **explicitly}, where).model_dump()
        used = {field: part.get(field) if value is None else value for field, value in fields.items()}
        complete.append({"name": part["name"], **{key: used[key] for key in used if key in fields_of(part)}})
    method = complete[0] if len(complete) == 1 else {"name": name, "parts": complete}
    return OptimizerConfig.of({**method, **{name: fields[name] for name in _objective_fields(parts[0])}}, label)


def _objective_fields(part: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the fields of `Objective` that a method uses whose first part is this one."""
    return ("sampling", "noise") if part["name"] == DIRECT else OBJECTIVE
