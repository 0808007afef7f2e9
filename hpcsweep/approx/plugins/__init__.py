"""A name in a study to a target: ours, data, ``module:Class`` or ``path/file.py:Class``; users' classes of any kind.

This package needs `targets` and lies under everything else of `approx`; the `Catalogue` of all names, which
looks at models and optimizers too, is `hpcsweep.approx.catalogue`, on top of them. Whose plugins may be executed, the
callers decide (`hpcsweep.cluster.trust`): nothing here executes one but to load what it defines.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch

from hpcsweep.approx.isolation import isolated, said
from hpcsweep.approx.plugins import sources
from hpcsweep.approx.plugins.importing import execute, import_module
from hpcsweep.approx.plugins.locating import module_file
from hpcsweep.approx.plugins.sources import Snapshot
from hpcsweep.approx.targets import REGISTRY, Target, data
from hpcsweep.approx.targets.examination import Verdict, examine
from hpcsweep.approx.targets.own import Own
from hpcsweep.config import DATA, Config, TargetConfig
from hpcsweep.errors import PluginChanged, PluginError, UserError, nearest, unknown

T = TypeVar("T")


def target(given: Mapping[str, Any], dimension: int, folder: str | Path = ".", precision: str = "float64") -> Target:
    """Make the target that is `given` in `dimension` variables.

    It is its configuration, or the name and some of the parameters, as ``{"name": "logsin", "K": 10}``. The name is one
    of ours, ``module:Class``, or ``path/file.py:Class`` with the path relative to `folder`. A target that is not ours
    is first checked by the rules that ours keep (`hpcsweep.approx.targets.check`), for points of float64 and of the
    `precision` of its study.

    Raises PluginError if it cannot be had, or breaks a rule.
    """
    verdict = examined(given, dimension, folder, precision)
    if verdict is not None and verdict.broken:
        rules = "; ".join(verdict.broken)
        raise PluginError(f"target {given['name']!r} in dimension {dimension} breaks the rules: {rules}.")
    return unchecked(given, dimension, folder)


def examined(
    given: Mapping[str, Any], dimension: int, folder: str | Path = ".", precision: str = "float64"
) -> Verdict | None:
    """Return what is found out about a target that is not ours, once in this process; None of one of ours."""
    config = complete(given, folder)
    if config.name in REGISTRY or config.name == DATA:
        return None
    return _examined(config, dimension, str(Path(folder).resolve()), precision)


@functools.cache
def _examined(config: TargetConfig, dimension: int, folder: str, precision: str) -> Verdict:
    dtypes = (torch.float64, getattr(torch, precision))
    return examine(functools.partial(_make, config, dimension, folder, strict=False), dtypes)


def unchecked(given: Mapping[str, Any], dimension: int, folder: str | Path = ".") -> Target:
    """Make a target as `target` does, whatever rules it may break."""
    config = complete(given, folder)
    if config.name == DATA:
        return _data(dimension, config, str(folder))
    kind = find(config.name, folder)
    if config.name in REGISTRY:
        return kind(dimension, **config.options)
    return _make(config, dimension, folder)


_data = functools.lru_cache(maxsize=16)(data.Data)


def _make(config: TargetConfig, dimension: int, folder: str | Path, strict: bool = True) -> Own:
    kind = find(config.name, folder)
    problem = f"target {config.name!r} cannot be made"
    made = guarded(problem, lambda: kind(dimension, **config.options), kind.__module__)
    return Own(made, config.name, strict)


def complete(given: Mapping[str, Any], folder: str | Path = ".") -> TargetConfig:
    """Return the configuration of a target, with every parameter: equal targets have equal ones.

    A target that is not ours also gets a digest of its files as `code` (see `identified`). Raises PluginError for an
    unknown name or parameter.
    """
    name = given.get("name")
    if not isinstance(name, str):
        raise PluginError(
            f"a target must be given by its name, as {{name = 'logsin', K = 10}}, not by {dict(given)!r}."
        )
    if name == DATA:
        return data.complete(given, folder)
    kind, code = identified(name, folder, Target, given.get("code")) if ":" in name else (find(name, folder), "")
    if taken := sorted({"name", "label", "code"} & set(kind.parameters)):
        raise PluginError(f"target {name!r} has a parameter {taken[0]!r}, which means something else; rename it.")
    parameters = {key: value for key, value in given.items() if key not in ("name", "code")}
    return TargetConfig(name, code=code, options=kind.resolve(parameters))


_known: dict[tuple[str, Path, str], Snapshot] = {}  # what was read, by plugin, folder and code


def identified(name: str, folder: str | Path, base: type[T], code: str | None = None) -> tuple[type[T], str]:
    """Return a class of a user, as `load` does, and the digest of its files: edited, it is another target or model.

    None of its old results are then taken for new ones. Raises PluginChanged, and executes nothing, if a `code` is
    given and the files have another one.
    """
    snapshot = _snapshot(name, folder, code)
    kind = _class(name, _module(name, folder, snapshot), base)
    declared = _declared(kind, name)
    if snapshot is not None:
        _known[name, Path(folder).resolve(), snapshot.code] = snapshot
        known = {key.partition(":")[2] for key in snapshot.data}
        if not declared <= known:
            names = ", ".join(sorted(declared - known))
            raise PluginError(f"{name}: files must be written out as a tuple of texts, but {names} is computed.")
        return kind, snapshot.code
    if declared:
        raise PluginError(f"{name} is an installed module, which cannot declare `files`; name its file by its path.")
    file = Path(inspect.getsourcefile(kind) or "")
    found = hashlib.blake2b(file.read_bytes() if file.is_file() else b"", digest_size=8).hexdigest()
    if code not in (None, found):
        raise changed(name, str(code), folder)
    return kind, found


def _declared(kind: type, name: str) -> set[str]:
    """Return the data files that a class declares, itself or by inheritance."""
    files = getattr(kind, "files", ())
    if callable(files):
        return set()
    if not isinstance(files, tuple | list | set | frozenset):
        raise PluginError(f'{name}: files must be a tuple, such as ("table.csv",), not {files!r}.')
    return {sources.normal(file, name) for file in files}


def _snapshot(name: str, folder: str | Path, code: str | None) -> Snapshot | None:
    try:
        snapshot = sources.snapshot(name, folder)
    except PluginError as error:
        if code is None:
            raise
        raise changed(name, code, folder) from error
    if snapshot is not None and code not in (None, snapshot.code):
        raise changed(name, str(code), folder)
    return snapshot


def changed(name: str, code: str, folder: str | Path) -> PluginChanged:
    """Return the mistake that the files of a plugin have the digest `code` no more; it names those that differ."""
    before, subject = _known.get((name, Path(folder).resolve(), code)), ""
    try:
        now = sources.snapshot(name, folder)
    except PluginError as error:
        subject = f"{where(name, folder)}, the plugin {name!r} ({str(error).rstrip('.')}),"
    else:
        if before is not None and now is not None and before.digests != now.digests:
            paths = sorted({path for path, _ in before.digests.items() ^ now.digests.items()})
            subject = f"{', '.join(map(str, paths))}, of the plugin {name!r},"
    plugin = ("", "") if subject else (name, code)
    subject = subject or f"the source of the plugin {name!r} ({where(name, folder)}, its helpers and its data)"
    return PluginChanged(
        f"{subject} has changed since the study was read; put it back as it was to continue, or run the study with "
        "the new file into another store (-o).",
        plugin,
    )


def verify(configs: Iterable[Config], folder: str | Path = ".") -> dict[Path, tuple[int, int]]:
    """Raise PluginChanged if the files of a plugin are not those that its configuration says; executes nothing.

    Returns of each file that is read while the plugin runs, which its Python text is not, its number and when it was
    written: an edit that was taken back changes these.
    """
    written: dict[Path, tuple[int, int]] = {}
    for name, code in {(config.name, config.get("code")) for config in configs if ":" in config.name}:
        snapshot = _snapshot(name, folder, code)
        if snapshot is None:
            identified(name, folder, object, code)
        else:
            written |= {path: _written(path) for path in snapshot.opened}
    return written


def _written(path: Path) -> tuple[int, int]:
    with contextlib.suppress(OSError):
        status = path.stat()
        return status.st_ino, status.st_mtime_ns
    return 0, 0


@contextlib.contextmanager
def unchanged(configs: Sequence[Config], folder: str | Path = ".") -> Iterator[None]:
    """Verify before and after the block, also if it raises: whatever was computed there is of one state of the files.

    Raises PluginChanged, also for a file that was written in between and has the same content again.
    """
    before = verify(configs, folder)
    try:
        yield
    finally:
        after = verify(configs, folder)
        files = ", ".join(str(path) for path in sorted(before) if after.get(path) != before[path])
        if files:
            raise PluginChanged(f"{files} has been written again while it was in use; run the same command again.")


def code_of(name: str, folder: str | Path = ".") -> str:
    """Return the digest of the files of whatever `member` takes; empty for an installed module. Executes nothing."""
    snapshot = sources.snapshot(name, folder)
    if snapshot is None:
        return ""
    _known[name, Path(folder).resolve(), snapshot.code] = snapshot
    return snapshot.code


def where(name: str, folder: str | Path = ".") -> Path | str:
    """Return the file that would be executed for a plugin, or the name of an installed module; executes nothing."""
    source = name.rpartition(":")[0]
    if source.endswith(".py"):
        return Path(os.path.realpath(Path(folder) / source.replace("\0", "")))
    found = module_file(source)
    return found[1] if found is not None else f"the module {source}"


def find(name: str, folder: str | Path = ".") -> type[Target]:
    """Return the class of a target by its name. Raises PluginError if there is none or its file fails."""
    if name in REGISTRY:
        return REGISTRY[name]
    if name == DATA:
        return data.Data
    if ":" not in name:
        hint = " For a target of your own write 'path/file.py:Class' or 'module:Class'."
        raise PluginError(unknown("target", name, (*REGISTRY, DATA)) + hint)
    return identified(name, folder, Target)[0]


def _class(name: str, module: ModuleType, base: type[T]) -> type[T]:
    """Return the class of a module that a plugin's name says, which must be derived from `base`."""
    source, _, wanted = name.rpartition(":")
    kind = getattr(module, wanted, None)
    if inspect.isclass(kind) and issubclass(kind, base) and kind is not base:
        return kind
    problem = f"no class {wanted!r}" if kind is None else f"{wanted!r} is not a subclass of {base.__name__}"
    allowed = sorted(name for name, member in vars(module).items() if _own_class(member, module, base))
    remedy = f"{nearest(wanted, allowed)} Allowed: {', '.join(allowed)}."
    nothing = f" It must define a class derived from hpcsweep.{base.__name__}."
    raise PluginError(f"{source}: {problem}.{remedy if allowed else nothing}")


def _own_class(member: object, module: ModuleType, base: type) -> bool:
    if not inspect.isclass(member) or member.__module__ != module.__name__:
        return False
    return issubclass(member, base) and not inspect.isabstract(member)


def member(name: str, folder: str | Path = ".") -> object:
    """Return whatever "path/file.py:name" (relative to `folder`) or "module:name" names. Raises PluginError."""
    source, _, wanted = name.rpartition(":")
    module = _module(name, folder, sources.snapshot(name, folder))
    if not hasattr(module, wanted):
        allowed = [one for one, value in vars(module).items() if callable(value) and not one.startswith("_")]
        raise PluginError(unknown(source, wanted, allowed))
    return getattr(module, wanted)


def _module(name: str, folder: str | Path, snapshot: Snapshot | None) -> ModuleType:
    source = name.rpartition(":")[0]
    if snapshot is None:
        return guarded(f"the module {source!r} cannot be imported", lambda: import_module(source))
    what = f"file {str(Path(folder) / source)!r}" if source.endswith(".py") else f"module {source!r}"
    return guarded(f"the {what} cannot be imported", lambda: execute(snapshot))


def guarded(problem: str, action: Callable[[], T], module: str = "") -> T:
    """Return `action()`, of a user's code; what it raises becomes a PluginError that keeps the original message.

    Nothing else is affected, see `isolated`, which explains `module`.
    """
    try:
        with isolated(problem, module):
            return action()
    except UserError:
        raise
    except Exception as error:
        raise PluginError(f"{problem}: {said(error)}") from error
