"""What the text of a Python file says, without executing it: what it imports, and which data files it declares."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Import:
    """One import: ``from base import names`` with so many leading dots, or ``import base``, which has no names."""

    level: int
    base: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Text:
    """What is read in a file.

    Attributes
    ----------
    imports : at any depth, also inside functions
    files : the values that are assigned to `files`, at the top or in a class, as far as they are written out
    exported : the names in ``__all__``, which ``from package import *`` imports
    """

    imports: tuple[Import, ...] = ()
    files: tuple[object, ...] = ()
    exported: tuple[str, ...] = ()


@functools.lru_cache(maxsize=512)
def read(source: bytes) -> Text:
    """Return what a file says; nothing of one that Python cannot read, which executing it tells."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Text()
    imports = tuple(found for node in ast.walk(tree) for found in _imports(node))
    files = tuple(_assigned(tree, "files", ast.Module, ast.ClassDef))
    exported = [value for value in _assigned(tree, "__all__", ast.Module) if isinstance(value, list | tuple)]
    return Text(imports, files, tuple(str(name) for value in exported for name in value))


def _imports(node: ast.AST) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(0, alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield Import(node.level, node.module or "", tuple(alias.name for alias in node.names))
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called, name = getattr(node.func, "attr", getattr(node.func, "id", "")), node.args[0].value
        if called in ("import_module", "__import__") and isinstance(name, str):
            base = name.lstrip(".")
            yield Import(len(name) - len(base), base)


def _assigned(tree: ast.Module, name: str, *kinds: type[ast.AST]) -> Iterator[object]:
    """Yield the values, as far as they are written out, that are assigned to a name in blocks of some kinds."""
    for block in ast.walk(tree):
        for statement in getattr(block, "body", ()) if isinstance(block, kinds) else ():
            targets = getattr(statement, "targets", [getattr(statement, "target", None)])
            if isinstance(statement, ast.Assign | ast.AnnAssign) and any(
                isinstance(target, ast.Name) and target.id == name for target in targets
            ):
                try:
                    yield ast.literal_eval(statement.value)  # type: ignore[arg-type]
                except (ValueError, TypeError, RecursionError):  # computed: only who executes the file knows it
                    continue
