"""The keys of a study, from the schema that validates it."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import annotated_types
from pydantic.fields import FieldInfo

from hpcsweep.approx.models import FAMILIES, INITIALISATIONS
from hpcsweep.approx.models.activations import ACTIVATIONS
from hpcsweep.approx.training.optimizers import registry
from hpcsweep.config.limits import LARGEST
from hpcsweep.study import schema
from reference.markdown import code, table
from reference.optimizers import defaults, meanings_of, users

WORDS = {int: "integer", float: "number", str: "text", bool: "true or false", dict: "table"}
NAMES = {"name": FAMILIES, "activation": ACTIVATIONS, "initialisation": INITIALISATIONS}  # the names that [model] takes


def grid() -> str:
    """Return the axes of a grid that are keys of no other table."""
    return table(["axis", "values"], ([f"`{name}`", meaning] for name, meaning in schema.GRID.items()))


def keys(of: str) -> str:
    """Return the keys of a table of a study, the class `of` in the schema, with types, defaults and meanings."""
    section, rows = getattr(schema, of), []
    for name, field in section.model_fields.items():
        if field.description == "table":
            continue
        default = "required" if field.is_required() else "" if field.default is None else code(field.default)
        allowed = kind(field.annotation, field.metadata)
        if of == "ModelSection" and name in NAMES:
            allowed = ", ".join(map(code, NAMES[name]))
        rows.append([f"`{name}`", allowed, default, field.description or ""])
    return table(["key", "values", "default", "meaning"], rows)


def kind(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """Return in words what values a field allows."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return kind(arguments[0], (*arguments[1:], *metadata))
    if origin in (typing.Union, types.UnionType):
        return ", ".join(kind(each, metadata) for each in arguments if each is not type(None))
    if origin is Literal:
        return ", ".join(map(code, arguments))
    if origin is list:
        return f"list: {kind(arguments[0])}"
    return " ".join(filter(None, [WORDS.get(origin or annotation, ""), " and ".join(_limits(metadata))]))


def _limits(metadata: Iterable[Any]) -> list[str]:
    limits: list[str] = []
    for limit in metadata:
        if isinstance(limit, FieldInfo):
            limits += _limits(limit.metadata)
        for name, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤")):
            bound = getattr(limit, name, None)
            if isinstance(limit, annotated_types.BaseMetadata) and bound not in (None, LARGEST):
                limits.append(f"{sign} {_power(bound)}")
    return limits


def _power(number: float) -> str:
    exponent = int(number).bit_length() - 1
    return f"2^{exponent}" if number >= 2**16 and number == 2**exponent else f"{number:g}"


def by_dimension() -> str:
    """Return the defaults of `[sup_norm]` in one to eight dimensions."""
    names = {"count": "count", "starts": "starts", "kinks": "kinks", "gap": "certificate", "boxes": "boxes"}
    rows = []
    for dimension in range(1, 9):
        settings = schema.SupNormSection().resolved(dimension)
        rows.append([str(dimension), *(_setting(settings[name]) for name in names)])
    return table(["dimension", *(f"`{name}`" for name in names.values())], rows)


def _setting(value: float | None) -> str:
    return code("off") if value is None else f"{value:,}" if isinstance(value, int) else f"{value:g}"


def options() -> str:
    """Return the options that belong to some optimizers."""
    rows = []
    for option, by_name in users().items():
        allowed, names = kind(registry.options()[option]), ", ".join(sorted(by_name))
        rows.append([f"`{option}`", allowed, names, defaults(by_name), meanings_of(option, by_name)])
    return table(["key", "values", "of", "default", "meaning"], rows)
