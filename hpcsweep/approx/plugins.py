"""A name in a study to a target: ours, or ``module:Class``, or ``path/file.py:Class``; users' classes of any kind.

This module needs `targets` and lies under everything else of `approx`; the `Catalogue` of all names, which
looks at models and optimizers too, is `hpcsweep.approx.catalogue`, on top of them.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch

from hpcsweep.approx.isolation import importing, isolated, said
from hpcsweep.approx.targets import REGISTRY, Target
from hpcsweep.approx.targets.examination import Verdict, examine
from hpcsweep.approx.targets.own import Own
from hpcsweep.config import TargetConfig
from hpcsweep.errors import PluginError, UserError, nearest, unknown

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
    if config.name in REGISTRY:
        return None
    return _examined(config, dimension, str(Path(folder).resolve()), precision)


@functools.cache
def _examined(config: TargetConfig, dimension: int, folder: str, precision: str) -> Verdict:
    dtypes = (torch.float64, getattr(torch, precision))
    return examine(functools.partial(_make, config, dimension, folder, strict=False), dtypes)


def unchecked(given: Mapping[str, Any], dimension: int, folder: str | Path = ".") -> Target:
    """Make a target as `target` does, whatever rules it may break."""
    config = complete(given, folder)
    kind = find(config.name, folder)
    if config.name in REGISTRY:
        return kind(dimension, **config.options)
    return _make(config, dimension, folder)


def _make(config: TargetConfig, dimension: int, folder: str | Path, strict: bool = True) -> Own:
    kind = find(config.name, folder)
    problem = f"target {config.name!r} cannot be made"
    made = guarded(problem, lambda: kind(dimension, **config.options), kind.__module__)
    return Own(made, config.name, strict)


def complete(given: Mapping[str, Any], folder: str | Path = ".") -> TargetConfig:
    """Return the configuration of a target, with every parameter: equal targets have equal ones.

    A target that is not ours also gets a digest of its source as `code`: edited, it is another target, and none of its
    old results are taken for new ones. Raises PluginError for an unknown name or parameter, and if what is `given` has
    the code of another state of the file.
    """
    name = given.get("name")
    if not isinstance(name, str):
        raise PluginError(
            f"a target must be given by its name, as {{name = 'logsin', K = 10}}, not by {dict(given)!r}."
        )
    kind = find(name, folder)
    code = "" if name in REGISTRY else digest(kind, name, folder)
    if given.get("code", code) != code:
        raise PluginError(f"the source of target {name!r} has changed since the study was read; run the study again.")
    parameters = {key: value for key, value in given.items() if key not in ("name", "code")}
    return TargetConfig(name, code=code, options=kind.resolve(parameters))


def digest(kind: type, name: str, folder: str | Path) -> str:
    """Return the digest of the file that defines a plugin, which is known by that name."""
    source, _, _ = name.rpartition(":")
    path = Path(folder) / source if source.endswith(".py") else Path(inspect.getsourcefile(kind) or "")
    return hashlib.blake2b(path.read_bytes() if path.is_file() else b"", digest_size=8).hexdigest()


def find(name: str, folder: str | Path = ".") -> type[Target]:
    """Return the class of a target by its name. Raises PluginError if there is none or its file fails."""
    if name in REGISTRY:
        return REGISTRY[name]
    if ":" not in name:
        hint = " For a target of your own write 'path/file.py:Class' or 'module:Class'."
        raise PluginError(unknown("target", name, REGISTRY) + hint)
    return load(name, folder, Target)


def load(name: str, folder: str | Path, base: type[T]) -> type[T]:
    """Return the class ``module:Class`` or ``path/file.py:Class`` of a user, which must be derived from `base`."""
    source, _, wanted = name.rpartition(":")
    module = _load_file(Path(folder) / source) if source.endswith(".py") else _load_module(source)
    found = getattr(module, wanted, None)
    if inspect.isclass(found) and issubclass(found, base) and found is not base:
        return found
    problem = f"no class {wanted!r}" if found is None else f"{wanted!r} is not a subclass of {base.__name__}"
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
    module = _load_file(Path(folder) / source) if source.endswith(".py") else _load_module(source)
    if not hasattr(module, wanted):
        allowed = [one for one, value in vars(module).items() if callable(value) and not one.startswith("_")]
        raise PluginError(unknown(source, wanted, allowed))
    return getattr(module, wanted)


def _load_module(name: str) -> ModuleType:
    return guarded(f"the module {name!r} cannot be imported", lambda: sys.modules.get(name) or _import(name))


def _import(name: str) -> ModuleType:
    with importing(name):
        return importlib.import_module(name)


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise PluginError(f"there is no file {str(path)!r}; paths of plugins are relative to the study file.")
    resolved = path.resolve()
    problem = f"the file {str(path)!r} cannot be imported"
    return guarded(problem, lambda: _execute_once(resolved, resolved.read_bytes()))


@functools.cache
def _execute_once(path: Path, source: bytes) -> ModuleType:
    """Run a file as a module, once for each content, so that its classes stay the same objects.

    Compiled from `source`: Python's own cache of compiled files misses a change within one second.
    """
    # the digest keeps files of the same name in different folders apart
    name = f"hpcsweep_plugin_{path.stem}_{hashlib.blake2b(str(path).encode(), digest_size=6).hexdigest()}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # true for every name that ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up there
    try:
        with importing(name):
            exec(compile(source, str(path), "exec"), vars(module))
    except BaseException:
        del sys.modules[name]
        raise
    return module


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
