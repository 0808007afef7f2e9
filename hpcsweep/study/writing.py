"""Plain tables -> the text of a study: TOML that reads back as the same values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from hpcsweep.errors import StudyError


def text_of(tables: Mapping[str, Any]) -> str:
    """Return a study as TOML; tuples, ranges and arrays of NumPy are lists, its scalars are Python's.

    Raises `StudyError` for a value that no study can hold, such as None.
    """
    plain, below = [], []
    for name, value in tables.items():
        path = str(name)
        if isinstance(value, Mapping):
            below += ["", f"[{_key(name, path)}]", *_lines(value, path)]
        elif isinstance(value, list | tuple) and value and all(isinstance(row, Mapping) for row in value):
            for number, row in enumerate(value):
                below += ["", f"[[{_key(name, path)}]]", *_lines(row, f"{path}[{number}]")]
        else:
            plain.append(f"{_key(name, path)} = {_value(value, path)}")
    return "\n".join([*plain, *below]) + "\n"


def _lines(table: Mapping[str, Any], path: str) -> list[str]:
    return [f"{_key(name, path)} = {_value(value, f'{path}.{name}')}" for name, value in table.items()]


def _key(name: object, path: str) -> str:
    if not isinstance(name, str):
        raise StudyError(f"{path}: a name must be a string, not {name!r}.")
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _text(name)


def _text(value: str) -> str:
    """Return a basic string: JSON escapes all that TOML forbids in it, but for the last control character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any, path: str) -> str:
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value)  # inf and nan too are written as in TOML
    if isinstance(value, list | tuple | range):
        return f"[{', '.join(_value(entry, f'{path}[{number}]') for number, entry in enumerate(value))}]"
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_key(name, path)} = {_value(entry, f'{path}.{name}')}" for name, entry in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    raise StudyError(f"{path}: a study contains strings, numbers, booleans, lists and tables, not {value!r}.")
