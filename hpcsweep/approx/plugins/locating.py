"""Where modules lie that a plugin imports: found in folders without executing anything, unlike by `importlib`."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from pathlib import Path

OURS = frozenset({"hpcsweep", "torch", "numpy", "scipy", "__main__"})  # never a helper, whatever a folder holds
_INSTALLED = ("site-packages", "dist-packages")  # folders of the import path in which nobody's study lies
_FILES = (
    "{}/__init__.py",
    *(f"{{}}{suffix}" for suffix in (*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES, *BYTECODE_SUFFIXES)),
)


def module_file(name: str) -> tuple[Path, Path] | None:
    """Return the folder of the import path in which a module lies, and its file, if it is an ordinary one."""
    if name.partition(".")[0] in OURS | sys.stdlib_module_names:
        return None
    for entry in sys.path:
        path = located(name, (Path(entry or "."),))
        if path is not None and os.path.isfile(path):
            return Path(entry or ".").resolve(), path.resolve()
    return None


def is_installed(folder: Path) -> bool:
    """Return whether a folder of the import path holds installed packages."""
    return not set(_INSTALLED).isdisjoint(folder.parts)


def located(name: str, folders: Sequence[Path]) -> Path | None:
    """Return the file of a module in some folders, or the folder of a package without `__init__`, if there is one."""
    parts, places, path = name.split("."), list(folders), None
    for part in parts if all(parts) and "/" not in name else []:
        files = (place / file.format(part) for place in places for file in _FILES)
        path = next((file for file in files if os.path.isfile(file)), None)
        places = [place / part for place in places if os.path.isdir(place / part)] if path is None else [path.parent]
        if path is not None and path.stem != "__init__":
            places = []
        path = path or next(iter(places), None)
    return path


def is_helper(name: str, folders: Sequence[Path]) -> bool:
    """Return whether the module of this top-level name is the plugin's: a folder without `__init__` yields to others.

    Executes nothing.
    """
    if name in OURS or name in sys.stdlib_module_names:
        return False
    path = located(name, folders)
    return path is not None and (os.path.isfile(path) or not _is_importable(name))


def _is_importable(name: str) -> bool:
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # of a module that somebody has made by hand
        return True
    return spec is not None and spec.origin is not None
