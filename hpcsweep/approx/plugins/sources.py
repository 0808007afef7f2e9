"""The files that a plugin consists of: its own, the helper modules that it imports, the data files that it declares.

They are found without executing anything. Helpers are modules in the folder of the plugin's file, or else in the folder
of the study, to whatever depth they import each other; for ``module:Class`` in the folder of the import path where the
module lies. Installed modules and those of Python itself are no helpers.
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hpcsweep.approx.plugins import texts
from hpcsweep.approx.plugins.locating import is_helper, is_installed, located, module_file
from hpcsweep.config import canonical
from hpcsweep.errors import PluginError

_BLOCK = 2**20  # bytes that are read at a time; digests of longer files are kept
_SETTLED = 3.0  # seconds after which a file that was changed again has another time, on any file system


@dataclass(frozen=True)
class Module:
    """A module of a plugin: its file, the digest of its bytes, and the bytes, unless it is no Python text."""

    path: Path
    digest: str
    text: bytes | None

    @property
    def is_package(self) -> bool:
        """Whether it is the `__init__` of a package."""
        return self.path.stem == "__init__"


@dataclass(frozen=True)
class Snapshot:
    """The files of a plugin at one moment.

    Attributes
    ----------
    main : the dotted name of the module that defines the plugin, as those of its helpers relative to `folders`
    folders : where helpers are looked for, in this order
    modules : all that may be executed, by their dotted names
    used : the names of those that the plugin's code depends on: `main` and what it imports
    data : path and digest of each declared file, by the module that declares it and the name that is written there
    """

    main: str
    folders: tuple[Path, ...]
    modules: dict[str, Module]
    used: frozenset[str]
    data: dict[str, tuple[Path, str]]

    @property
    def path(self) -> Path:
        """The file that defines the plugin."""
        return self.modules[self.main].path

    @functools.cached_property
    def code(self) -> str:
        """The digest that stands in configurations: of the text alone if there are neither helpers nor data files."""
        parts = [[name, self.modules[name].digest] for name in sorted(self.used - {self.main})]
        parts += [[name, digest] for name, (_, digest) in sorted(self.data.items())]
        if not parts:
            return _hashed(self.modules[self.main].text or b"", 8)
        return _hashed(canonical([self.modules[self.main].digest, *parts]).encode(), 8)

    @functools.cached_property
    def digests(self) -> dict[Path, str]:
        """The digests of all files that `code` depends on."""
        return {module.path: module.digest for name, module in self.modules.items() if name in self.used} | dict(
            self.data.values()
        )

    @property
    def opened(self) -> list[Path]:
        """The files that are opened when the plugin runs: all but Python text, which is executed as it was hashed."""
        return [path for path, _ in self.data.values()] + [m.path for m in self.modules.values() if m.text is None]


def snapshot(name: str, folder: str | Path) -> Snapshot | None:
    """Return the files of the plugin `name`; None for an installed module, of which only its own file is known.

    Raises PluginError if a file is missing, cannot be read, or is declared in a way that cannot be.
    """
    source = name.rpartition(":")[0]
    if source.endswith(".py"):
        path = Path(folder) / source
        if not os.path.isfile(path):
            raise PluginError(f"there is no file {str(path)!r}; paths of plugins are relative to the study file.")
        path = path.resolve()
        folders = dict.fromkeys((path.parent, Path(folder).resolve()))
        return _collected(path.stem.replace(".", "_"), tuple(folders), path)
    found = module_file(source)
    if found is None or is_installed(found[0]) or found[1].suffix != ".py":
        return None
    return _collected(source, (found[0],), found[1])


def _collected(main: str, folders: tuple[Path, ...], path: Path) -> Snapshot:
    modules: dict[str, Module] = {}
    used = frozenset(_reached([main], folders, modules, {main: path}))
    parents = [main.rpartition(".")[0]] if "." in main else []  # executed before it, whatever they say
    _reached(parents, folders, modules, {main: path})
    data = {}
    for name in sorted(used):
        for file in _declared(modules[name]):
            path = modules[name].path.parent / file
            data[f"{name}:{file}"] = path, _digest_of(path, modules[name].path, file)
    return Snapshot(main, folders, modules, used, data)


def _reached(
    names: Sequence[str], folders: tuple[Path, ...], modules: dict[str, Module], known: dict[str, Path]
) -> set[str]:
    """Return the names of these modules and of all that they import, with their packages; read those that are new."""
    reached, waiting = set[str](), list(names)
    while waiting:
        name = waiting.pop()
        path = known.get(name) or located(name, folders)
        if name in reached or path is None or not os.path.isfile(path):
            continue
        reached.add(name)
        if name not in modules:
            modules[name] = _module(path)
        waiting += _imported(name, modules[name], folders)
    return reached


def _module(path: Path) -> Module:
    try:
        if path.suffix != ".py":
            return Module(path, digest_of(path), None)
        text = path.read_bytes()
    except OSError as error:
        raise PluginError(f"the file {str(path)!r} cannot be read: {error.strerror}.") from error
    return Module(path, _hashed(text), text)


def _imported(name: str, module: Module, folders: tuple[Path, ...]) -> Iterator[str]:
    """Yield the names of what may be modules that a module imports, packages first."""
    package = name if module.is_package else name.rpartition(".")[0]
    for found in texts.read(module.text or b"").imports:
        base = found.base
        if found.level:
            above = package.split(".") if package else []
            if found.level - 1 > len(above):  # beyond the folder: Python refuses it
                continue
            base = ".".join(filter(None, [*above[: len(above) - (found.level - 1)], base]))
        elif not is_helper(base.partition(".")[0], folders):
            continue
        parts = base.split(".")
        yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))
        for member in found.names if "*" not in found.names else _exported(base, folders):
            yield f"{base}.{member}" if base else member


def _exported(package: str, folders: tuple[Path, ...]) -> tuple[str, ...]:
    path = located(package, folders)
    if path is None or path.name != "__init__.py":
        return ()
    return texts.read(_module(path).text or b"").exported


def _declared(module: Module) -> list[str]:
    """Return the data files that a module declares, as normal paths relative to its file, each once.

    Raises PluginError for what is no tuple of relative paths in the same folder, or in one below.
    """
    files = set[str]()
    for value in texts.read(module.text or b"").files:
        if isinstance(value, str):
            raise PluginError(f'{module.path}: files must be a tuple, such as ("table.csv",), not {value!r}.')
        files |= {normal(name, module.path) for name in value} if isinstance(value, tuple | list | set) else set()
    return sorted(files)


def normal(name: object, plugin: Path | str) -> str:
    """Return a declared name in its normal form. Raises PluginError for one that is no path below the plugin's folder.

    Keys would depend on where a study lies. A link in the folder may lead anywhere: what it leads to is hashed.
    """
    if not isinstance(name, str) or not name:
        raise PluginError(f'{plugin}: files must be a tuple of names, such as ("table.csv",), not of {name!r}.')
    normed = os.path.normpath(name)
    if PurePosixPath(normed).is_absolute() or normed.split("/")[0] in ("..", ".") or "\0" in name:
        raise PluginError(
            f"{plugin}: files names {name!r}, which does not lie in the folder of the plugin; put the file, or a "
            "symbolic link to it, into that folder."
        )
    return normed


def _digest_of(path: Path, plugin: Path, name: str) -> str:
    try:
        return digest_of(path)
    except OSError as error:
        raise PluginError(
            f"the file {str(path)!r}, which {plugin.name} declares in `files`, cannot be read: {error.strerror}."
        ) from error


_kept: dict[Path, tuple[tuple[int, ...], str]] = {}  # digests of long files, and the state in which they had them


def digest_of(path: Path) -> str:
    """Return the digest of an ordinary file, read block by block; that of a long one again only if it was touched.

    Raises OSError.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for a writer
        raise OSError(None, "it is not an ordinary file")
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        state = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        if _kept.get(path, ((), ""))[0] == state:
            return _kept[path][1]
        made = hashlib.blake2b(digest_size=16)
        while block := file.read(_BLOCK):
            made.update(block)
    if status.st_size > _BLOCK and abs(time.time() - status.st_ctime) > _SETTLED:
        _kept[path] = state, made.hexdigest()
    return made.hexdigest()


def _hashed(data: bytes, size: int = 16) -> str:
    return hashlib.blake2b(data, digest_size=size).hexdigest()
