"""Configurations: frozen dataclasses that are mappings to plain values, and their canonical texts.

The canonical text is what keys and random streams are computed from, and what a store keeps. Fields that a
configuration does not use, and later fields that have their default, are no part of it, so that cells which compute the
same are the same, and older keys stay what they were.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Self

# Fields that are left out of a configuration where they have these values.
IMPLIED: Mapping[str, Any] = {
    "code": "",
    "stages": 1,
    "equation": "none",
    "sampling": "uniform",
    "layerwise": 0,
    "resample": 0,
    "noise": 0.0,
}


def canonical(value: object) -> str:
    """Return the canonical JSON text of plain values: sorted keys, no blanks, shortest float form."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=dict)


def stream(*parts: object) -> int:
    """Return the 64-bit key of the random stream named by `parts`."""
    return int.from_bytes(hashlib.blake2b(canonical(parts).encode(), digest_size=8).digest(), "little")


class Options(Mapping[str, Any]):
    """A mapping that cannot be changed; a copy of it can, and is a dictionary."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = MappingProxyType(dict(given))

    def __getitem__(self, name: str) -> Any:
        return self._given[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)

    def __repr__(self) -> str:
        return repr(dict(self._given))

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return copy.deepcopy(dict(self._given), memo)

    def __reduce__(self) -> tuple[Any, ...]:
        return Options, (dict(self._given),)


@dataclass(frozen=True, eq=False)
class Config(Mapping[str, Any]):
    """A name with its fields; equal to configurations of the same canonical text, and to mappings of the same fields.

    A store keeps all fields, in canonical form; keys depend on those that are `keyed`, nearly always all of them.

    Attributes
    ----------
    name : of ours, or of a class of a user as "module:Class" or "path/file.py:Class"
    options : fields that belong to what has this name, such as the parameters of a target; not to be changed
    unused : fields of the dataclass that are no part of this configuration
    label : how figures call it; no part of the configuration
    """

    FIELDS: ClassVar[tuple[str, ...]] = ()  # of the dataclass, that canonical texts have

    name: str
    options: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    unused: frozenset[str] = field(default=frozenset(), kw_only=True)
    label: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", Options(self.options))

    @classmethod
    def of(cls, given: Mapping[str, Any], label: str = "") -> Self:
        """Return the configuration that consists of these fields, `name` among them."""
        own = {name: given[name] for name in cls.FIELDS if name in given}
        options = {name: value for name, value in given.items() if name not in (*cls.FIELDS, "name")}
        unused = frozenset(cls.FIELDS).difference(given, IMPLIED)
        return cls(given["name"], **own, options=options, unused=unused, label=label)

    @cached_property
    def plain(self) -> dict[str, Any]:
        """The fields with their values, as they stand in canonical texts."""
        return self._fields()

    def _fields(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in self.FIELDS if name not in self.unused}
        kept = {name: value for name, value in own.items() if name not in IMPLIED or value != IMPLIED[name]}
        listed = {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}
        return {"name": self.name, **listed, **self.options}

    @property
    def keyed(self) -> Mapping[str, Any]:
        """The fields on which keys and random streams depend."""
        return self.plain

    @cached_property
    def _text(self) -> str:
        return canonical(self.keyed)

    def canonical(self) -> str:
        """Return the canonical JSON text of what is keyed."""
        return self._text

    def __getitem__(self, name: str) -> Any:
        value = self.plain[name]
        return copy.deepcopy(value) if isinstance(value, list | dict) else value  # what a caller changes is its own

    def __iter__(self) -> Iterator[str]:
        return iter(self.plain)

    def __len__(self) -> int:
        return len(self.plain)

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, Config) else super().__eq__(other)

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).of, (self.plain, self.label)
