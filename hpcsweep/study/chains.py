"""Training methods: the name of an optimizer, or of a chain of them, and layers of fields -> one resolved choice.

Later layers win: `[training]`, `[training.NAME]`, the axes of the grid, the table in the list of the axis `optimizer`,
and in that table the table of one part. A choice holds the fields that its optimizer uses and no others, so that cells
which compute the same are the same. That of a chain ("adam+ssbroyden") holds its parts, complete, and beside them what
they have in common.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hpcsweep.errors import StudyError, unknown
from hpcsweep.study.cells import IMPLIED, Choice, canonical
from hpcsweep.study.parsing import Catalogue, Study, explicit, fields_of, section
from hpcsweep.study.schema import DIRECT, LESSON, TrainingSection


def split(choice: Choice, catalogue: Catalogue, where: str) -> tuple[list[Choice], list[Choice]]:
    """Take the explicit fields of a value of the axis `optimizer` apart; `choice` is its table, with its `name`.

    Returns
    -------
    parts : what the catalogue says of each part of the chain
    changes : the explicit fields for each of them
    """
    parts = catalogue.optimizer(choice["name"])
    names = [part["name"] for part in parts]
    own = {key: value for key, value in choice.items() if key in names and isinstance(value, dict) and len(parts) > 1}
    common = explicit(TrainingSection, {key: choice[key] for key in choice.keys() - own.keys() - {"name"}}, where)
    used = {field for part in parts for field in fields_of(part)} | set(objective_of(parts[0]))
    for field in common:
        if field not in used:
            raise StudyError(unknown(f"{where}: {choice['name']}", field, used - {"name"}))
    tables = [explicit(TrainingSection, own.get(name, {}), f"{where}.{name}") for name in names]
    for name, table in zip(names, tables, strict=True):
        for field in table.keys() & set(LESSON):
            raise StudyError(f"{where}.{name}: {field!r} belongs to the whole chain; set it beside its name.")
    # A default number of steps belongs to a warm-up: the steps of the chain are those of the others.
    shared = [{key: common[key] for key in common if key != "steps" or "steps" not in part} for part in parts]
    return parts, [{**one, **table} for one, table in zip(shared, tables, strict=True)]


def resolve(
    study: Study, name: str, parts: list[Choice], axes: Mapping[str, Any], changes: list[Choice], where: str
) -> Choice:
    """Return the choice of a method; `parts` and `changes` come from `split`, `axes` are the values in a grid."""
    made = []
    for part, explicitly in zip(parts, changes, strict=True):
        own, axis = study.per_optimizer.get(part["name"], {}), dict(axes)
        if "steps" in part:
            axis["steps"] = own.get("steps", part["steps"])
        fields = section(TrainingSection, {**study.training, **own, **axis, **explicitly}, where).model_dump()
        used = {field: part.get(field) if value is None else value for field, value in fields.items()}
        made.append({"name": part["name"], **{key: used[key] for key in used if key in fields_of(part)}})
    return {**(made[0] if len(made) == 1 else {"name": name, "parts": made}), **_objective(fields, parts[0])}


def objective_of(part: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the fields of `LESSON` that a method uses whose first part is this one."""
    return ("sampling",) if part["name"] == DIRECT else LESSON


def _objective(fields: Mapping[str, Any], part: Mapping[str, Any]) -> Choice:
    """Return what is learned where it is not the default; what belongs to an equation only with one."""
    used = set(objective_of(part)) - (set() if fields["equation"] != "none" else {"boundary", "boundary_weight"})
    return {name: fields[name] for name in LESSON if name in used and fields[name] != IMPLIED.get(name)}


def settle(method: Choice, samples: int) -> str:
    """Return the canonical choice for so many samples: batch as a count, None for the full batch."""
    if "parts" not in method:
        return canonical(_with_batch(method, samples))
    parts = [_with_batch(part, samples) for part in method["parts"]]
    first, *others = parts
    agreed = {key: first[key] for key in first if all(part.get(key, first) == first[key] for part in others)}
    steps = sum(part["steps"] for part in parts)
    return canonical({**agreed, "steps": steps, **method, "parts": parts})


def _with_batch(fields: Choice, samples: int) -> Choice:
    if "batch" not in fields:
        return fields
    batch = fields["batch"]
    if isinstance(batch, dict):
        batch = math.ceil(batch["per_sample"] * samples)
    full = batch == "full" or batch >= samples
    return {**fields, "batch": None if full else batch}
