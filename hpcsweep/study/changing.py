"""Values of a study replaced by the path of their key: `--set training.steps=100` and `Study.with_changes`."""

from __future__ import annotations

import contextlib
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hpcsweep.errors import StudyError, nearest, unknown
from hpcsweep.study.parsing import read_text, tables_of
from hpcsweep.study.schema import StudyFile, TrainingSection
from hpcsweep.study.writing import text_of

Change = tuple[tuple[str, ...], Any]  # the names on the path to a value, and what replaces it; None removes the key

MANY = 300_000  # cells, which take some seconds
SECONDS_EACH = 17e-6  # of a cell
_WORD = re.compile(r"[A-Za-z][\w.+:/-]*")


@dataclass(frozen=True)
class Changed:
    """A study file in which some values are replaced; without changes it is the file as it is."""

    path: Path
    changes: tuple[Change, ...] = ()

    @property
    def folder(self) -> Path:
        """What the paths of plugins are relative to."""
        return self.path.parent

    def text(self) -> str:
        """Return the study as TOML. Raises `StudyError` for a path that leads nowhere, and for a file that is none."""
        text = read_text(self.path)
        return changed(text, self.changes) if self.changes else text

    def warning(self) -> str:
        """Return that it takes long to multiply out the grids, if it does, and how many cells they have; else ""."""
        with contextlib.suppress(
            StudyError, TypeError, ValueError, LookupError
        ):  # mistakes are told when the study is read
            count = sum(map(_size, tables_of(self.text())["grid"]))
            if count >= MANY:
                return f"{count:,} cells: listing them takes about {count * SECONDS_EACH:,.0f} s"
        return ""


def changed(text: str, changes: Sequence[Change]) -> str:
    """Return the text of a study with some values replaced; comments are not kept.

    Raises `StudyError` for a path that leads nowhere, or to a value that every grid replaces.
    """
    tables = tables_of(text)
    for names, value in changes:
        _change(tables, names, value)
    for names, _ in changes:
        _require_effect(tables, names)
    return text_of(tables)


def parsed(text: str) -> Change:
    """Return the change that "training.steps=100" asks for. Raises `StudyError` for a text that is none.

    The key is dotted, and grid[0].width is grid.0.width; the value is TOML, where a word needs no quotes.
    """
    key, separator, value = (part.strip() for part in text.partition("="))
    path = re.sub(r"\[(\d+)\]", r".\1", key)
    if not separator or not key:
        raise StudyError(f"--set {text}: write KEY=VALUE, such as training.steps=100.")
    try:
        names, table = [], tomllib.loads(f"{path} = 0")
        while isinstance(table, dict):
            [(name, table)] = table.items()
            names.append(name)
    except (tomllib.TOMLDecodeError, ValueError) as error:
        raise StudyError(f"--set {text}: {key!r} is not a dotted key such as training.steps.") from error
    return tuple(names), _value(value, text)


def _size(grid: Mapping[str, Any]) -> int:
    """Return how many cells a grid has, or its subset."""
    if "subset" in grid:
        return max(count for kind, count in grid["subset"].items() if kind != "seed")
    counts = {axis: len(value) for axis, value in grid.items() if isinstance(value, list)}
    if isinstance(grid.get("replicate"), int):
        counts["replicate"] = grid["replicate"]
    if not isinstance(grid.get("hidden", [[]])[0], list):
        counts["hidden"] = 1  # it is one value
    return math.prod(counts.values())


def _value(value: str, text: str) -> Any:
    try:
        tables = tomllib.loads(f"value = {value}")
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        if _WORD.fullmatch(value):
            return value
        raise StudyError(
            f'--set {text}: {value!r} is not a TOML value; write 100, 1e-3, true, "text", [4, 8] or {{ name = ... }}.'
        ) from error
    if len(tables) > 1:
        raise StudyError(f"--set {text}: gives several values; repeat --set for each of them.")
    return tables["value"]


def _change(tables: Any, names: Sequence[str], value: Any) -> None:
    """Put a value into nested tables, at the end of a path of names."""
    path, (*above, last) = ".".join(names), names
    if names[0] not in StudyFile.model_fields:
        raise StudyError(_unknown(path))
    for depth, name in enumerate(above):
        if isinstance(tables, dict) and name not in tables:
            tables[name] = {}
        tables = tables[_index(tables, name, path)]
        if not isinstance(tables, dict | list):
            parent = ".".join(names[: depth + 1])
            raise StudyError(f"{path}: {parent} is {tables!r}, which has no entries.")
    index = _index(tables, last, path)
    if value is not None:
        tables[index] = value
    elif isinstance(tables, list) or index in tables:
        del tables[index]


def _index(tables: Any, name: str, path: str) -> Any:
    """Return a name as the key of a table, or as the number of a list entry. Raises StudyError if there is no such."""
    if isinstance(tables, dict):
        return name
    if not name.isdecimal() or int(name) >= len(tables):
        counted = f"0 to {len(tables) - 1}" if tables else "none"
        raise StudyError(f"{path}: {name!r} is not an entry of a list of {len(tables)}; allowed: {counted}.")
    return int(name)


def _unknown(path: str) -> str:
    """Return the sentence about a path whose first name is not one of a study."""
    fields = StudyFile.model_fields
    sections = {name: field.annotation for name, field in fields.items()} | {"training": TrainingSection}
    dotted = {
        inner: f"{name}.{inner}"
        for name, kind in reversed(sections.items())
        if isinstance(kind, type) and issubclass(kind, BaseModel)
        for inner in kind.model_fields
    }
    first = path.partition(".")[0]
    close = nearest(first, {**dotted, **fields})
    meant = close.split("'")[1] if close else ""
    if meant not in dotted or meant in fields:
        return unknown("study", first, fields)
    return f"study: unknown name {first!r}. Did you mean {dotted[meant]!r}? Allowed: {', '.join(sorted(fields))}."


def _require_effect(tables: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise `StudyError` if a field of `[model]` or `[training]` is an axis of every grid, whose values replace it."""
    grids = tables.get("grid")
    if len(names) != 2 or names[0] not in ("model", "training") or not isinstance(grids, list) or not grids:
        return
    if all(isinstance(grid, dict) and names[1] in grid for grid in grids):
        keys = ", ".join(f"grid.{number}.{names[1]}" for number in range(len(grids)))
        raise StudyError(f"{'.'.join(names)}: has no effect, since {names[1]!r} is an axis; set {keys}.")
