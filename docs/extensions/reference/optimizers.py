"""The optimizers and their options, from their classes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

from hpcsweep.approx.training.optimizers import registry
from reference.markdown import code, prose, table


def users() -> Mapping[str, dict[str, Any]]:
    """Return the options of optimizers: for each the names that have it, with their defaults."""
    users: dict[str, dict[str, Any]] = {}
    for name in registry.REGISTRY:
        for option, default in registry.defaults(name).items():
            users.setdefault(option, {})[name] = default
    return users


def defaults(users: Mapping[str, Any]) -> str:
    """Return the default of an option, or several with the names that have them."""
    names: dict[str, list[str]] = {}
    for name, default in sorted(users.items()):
        names.setdefault(code(default), []).append(name)
    return (
        next(iter(names)) if len(names) == 1 else "; ".join(f"{value} ({', '.join(of)})" for value, of in names.items())
    )


def meanings_of(option: str, users: Iterable[str]) -> str:
    meanings: dict[str, list[str]] = {}
    for name in sorted(users):
        meanings.setdefault(attributes(registry.REGISTRY[name].family)[option], []).append(name)
    if len(meanings) == 1:
        return next(iter(meanings))
    return "; ".join(f"{', '.join(names)}: {meaning}" for meaning, names in meanings.items())


def attributes(family: type) -> dict[str, str]:
    """Return the meanings of the attributes that the docstring of a class lists."""
    _, _, listed = (inspect.getdoc(family) or "").partition("Attributes\n----------\n")
    entries = re.findall(r"^([\w, ]+?) : (.*(?:\n +.*)*)", listed, re.MULTILINE)
    return {name: " ".join(text.split()) for names, text in entries for name in names.split(", ")}


def methods() -> str:
    """Return the optimizers: one paragraph for each class, with the names under which studies know it."""
    classes: dict[type, list[str]] = {}
    for name, entry in registry.REGISTRY.items():
        classes.setdefault(entry.family, []).append(name)
    return "\n".join(_method(family, sorted(names)) for family, names in classes.items())


def _method(family: Any, names: list[str]) -> str:
    needs = family.needs
    asks = [
        "all samples in every step" if needs.all_samples else "",
        "the mean square as loss" if needs.squares else "",
        "the weight matrices of the network" if needs.matrices else "",
        "a linear last layer" if needs.features else "",
    ]
    remarks = [
        f"Requires {', '.join(filter(None, asks))}." if any(asks) else "",
        "It has a learning rate." if needs.rate else "It has no learning rate.",
    ]
    rows = [
        [
            f"`{option}`",
            defaults(by_name),
            "" if len(by_name) == len(names) else ", ".join(by_name),
            meanings_of(option, by_name),
        ]
        for option, by_name in _of(names).items()
    ]
    listed = table(["option", "default", "only of", "meaning"], rows) if rows else ""
    heading = ", ".join(f"`{name}`" for name in names)
    texts = [prose(inspect.getmodule(family)), prose(family), " ".join(filter(None, remarks)), listed]
    return "\n\n".join([f"### {heading}", *filter(None, texts)]) + "\n"


def _of(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    of_method = {option: {name: users[name] for name in names if name in users} for option, users in users().items()}
    return {option: users for option, users in of_method.items() if users}
