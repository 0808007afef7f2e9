"""Plugins and their helpers executed as modules of their own, apart from all others of this process.

Each state of the files of a plugin has a package of its own, whose modules are compiled from the bytes of a `Snapshot`:
what is hashed is what is executed, an edited file gives other modules, and helpers of one name in two studies are two
modules. An import statement in such a module, wherever it stands, finds its helpers in that package.
"""

from __future__ import annotations

import builtins
import functools
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from hpcsweep.approx.isolation import importing
from hpcsweep.approx.plugins.locating import is_helper, located
from hpcsweep.approx.plugins.sources import Module, Snapshot
from hpcsweep.errors import PluginError

_PREFIX = "hpcsweep_plugin_"
_packages: dict[str, Snapshot] = {}  # by the names of their packages


def execute(snapshot: Snapshot) -> ModuleType:
    """Return the module of a plugin, executed once for each state of its files, so that classes stay the same objects.

    Raises whatever the code raises; then nothing of it is kept.
    """
    package = _name_of(snapshot)
    _packages.setdefault(package, snapshot)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    name = f"{package}.{snapshot.main}"
    try:
        return import_module(name)
    except BaseException:
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            del sys.modules[name]
        raise


def import_module(name: str) -> ModuleType:
    """Return a module of a user, imported so that nothing else is affected by it, unless it is imported already."""
    if name in sys.modules:
        return sys.modules[name]
    with importing(name):
        return importlib.import_module(name)


def _name_of(snapshot: Snapshot) -> str:
    files = {name: (str(module.path), module.digest) for name, module in snapshot.modules.items()}
    state = snapshot.main, snapshot.folders, sorted(files.items()), sorted(snapshot.data.items())
    return _PREFIX + hashlib.blake2b(repr(state).encode(), digest_size=8).hexdigest()


class _Finder(MetaPathFinder):
    """Finds the modules of plugins; all others are left to Python."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        snapshot = _packages.get(package)
        if snapshot is None:
            return None
        place = located(name, snapshot.folders)
        if name in snapshot.modules:
            module = snapshot.modules[name]
        elif not name or (place is not None and place.is_dir()):  # a package without `__init__`
            return ModuleSpec(fullname, None, is_package=True)
        elif place is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=fullname)
        else:
            module = _declared(place, snapshot)
        loader = None if module.text is None else _Loader(fullname, module, snapshot)
        return importlib.util.spec_from_file_location(fullname, module.path, loader=loader)


_finder = _Finder()


def _declared(place: Path, snapshot: Snapshot) -> Module:
    """Return a module that no import statement names; it must be declared as a data file, or nobody would hash it."""
    for path, digest in snapshot.data.values():
        if path.resolve() == place.resolve():
            return Module(place, digest, place.read_bytes())
    raise PluginError(
        f"{snapshot.path} imports {place} in a way that its text does not show; import it by an import statement, or "
        "declare it in `files`."
    )


class _Loader(SourceFileLoader):
    """Executes the bytes of a snapshot. Python's own cache of compiled files misses a change within one second."""

    def __init__(self, fullname: str, module: Module, snapshot: Snapshot) -> None:
        super().__init__(fullname, str(module.path))
        self._text, self._snapshot = module.text or b"", snapshot

    def get_code(self, fullname: str) -> CodeType:
        own = fullname.partition(".")[2] == self._snapshot.main
        # as ever, annotations of the plugin itself are not evaluated
        flags = annotations.compiler_flag if own else 0
        code: CodeType = compile(self._text, self.path, "exec", flags, dont_inherit=True)
        return code

    def exec_module(self, module: ModuleType) -> None:
        own = _import_of(module.__name__.partition(".")[0])
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": own}
        super().exec_module(module)


@functools.cache
def _import_of(package: str) -> Any:
    """Return what import statements call in the modules of a plugin, in place of `builtins.__import__`."""
    folders = _packages[package].folders
    helps = functools.cache(lambda name: is_helper(name, folders))

    def import_module(name: str, within: str | None = None) -> ModuleType:
        name = importlib.util.resolve_name(name, within)
        return importlib.import_module(f"{package}.{name}" if helps(name.partition(".")[0]) else name)

    def own(
        name: str,
        module_globals: Mapping[str, object] | None = None,
        module_locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        top = name.partition(".")[0]
        if not level and helps(top):
            module = builtins.__import__(f"{package}.{name}", module_globals, module_locals, fromlist or ())
            return module if fromlist else sys.modules[f"{package}.{top}"]
        module = builtins.__import__(name, module_globals, module_locals, fromlist or (), level)
        if module is importlib:
            module = ModuleType(importlib.__name__)
            vars(module).update(vars(importlib), import_module=import_module)
        return module

    return own
