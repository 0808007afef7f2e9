"""Archives of programs without anything that torch would execute while it reads them.

`torch.export.load` unpickles objects, evaluates sizes as Python code, imports modules that the file names, follows
names of operations into every module that torch imports (in `ctypes.cdll` they load libraries) and loads compiled
libraries; `torch.jit.load` runs a `__setstate__` of the file. What evaluating the network does not need is
therefore left out, and the rest is checked and packed again, so that torch reads exactly what was checked.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, Self

import torch

_NEEDED = re.compile(
    r"([^/]+/)?(data/(weights|constants)/.+|models/model\.json|archive_(format|version)|byteorder|\.data/.+|version"
    r"|serialized_(exported_program\.json|state_dict\.pt|constants\.pt))",
)
_INPUTS = re.compile(r"([^/]+/)?(data/sample_inputs/model|serialized_example_inputs)\.pt")  # must exist, may be empty
_RUNS = (b"__setstate__", b"torch.classes")
_SIZE = re.compile(
    r"(Symbol\('\w+'(, \w+=(True|False))*\)|[su]\d+|(int_)?oo|[-+*/(), \d]"
    r"|(Add|Mul|Pow|Integer|Rational|Max|Min|Mod|PythonMod|FloorDiv|CleanDiv|CeilToInt|FloorToInt)(?=\())*+"
)
_IMPORTS = re.compile(r"__enum__|default_factory|\\u")  # in the JSON of a tree of arguments
_OPERATION = re.compile(r"torch\.ops(\.\w+){2,3}|torch\._?sym_\w+|(_operator|math)\.\w+")
_CUSTOM = ("custom_obj_", "opaque_obj_")


def script(archive: zipfile.ZipFile) -> io.BytesIO:
    """Return a TorchScript archive for `torch.jit.load`.

    Raises ValueError if reading it would run code, or go beyond the ends of its files.
    """
    contents = _contents(archive)
    for name, content in contents.items():
        if name.lower().endswith(("/data.pkl", "/constants.pkl")) and name.count("/") == 1:
            _Sizes(content, name[:-4], contents).load()
        for text in _RUNS:
            if text in content:
                raise ValueError(f"{name} contains {text.decode()}, which torch would run while it reads the file")
    return _packed(contents)


def exported(archive: zipfile.ZipFile) -> io.BytesIO:
    """Return a torch.export archive for `torch.export.load`. Raises ValueError if reading it would run code."""
    contents = {}
    for name, content in _contents(archive).items():
        if _INPUTS.fullmatch(name):
            contents[name] = b""
        elif _NEEDED.fullmatch(name):
            contents[name] = content
            if name.endswith(".json"):
                contents[name] = json.dumps(_data(name, json.loads(content))).encode()
    return _packed(contents)


class _Sizes(pickle.Unpickler):
    """Compares what a script says about the sizes of its files with these, beyond whose ends torch would read.

    Nothing that the pickle names is imported or called.
    """

    def __init__(self, content: bytes, folder: str, contents: Mapping[str, bytes]) -> None:
        super().__init__(io.BytesIO(content))
        self._folder, self._contents = folder, contents

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and re.fullmatch(r"\w+Storage", name):
            return getattr(torch, name)._dtype.itemsize  # the public name warns
        return _Inert

    def persistent_load(self, storage: Any) -> None:
        _, size, key, _, count = storage
        content = self._contents.get(f"{self._folder}/{key}", b"")
        if not 0 <= count * size <= len(content):
            raise ValueError(f"{self._folder}/{key} has {len(content)} bytes, not {count * size}")


class _Inert:
    """Stands for whatever a pickle names."""

    def __new__(cls, *_: Any) -> Self:
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        """Keep nothing."""


@contextlib.contextmanager
def tensors_only() -> Iterator[None]:
    """Let `torch.load` read nothing but tensors, whatever its caller says, and log nothing."""
    names = ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
    known, level = {name: os.environ.pop(name) for name in names if name in os.environ}, logging.root.manager.disable
    os.environ[names[0]] = "1"
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(level)
        del os.environ[names[0]]
        os.environ.update(known)


def _contents(archive: zipfile.ZipFile) -> dict[str, bytes]:
    names = [name.lower() for name in archive.namelist()]  # torch's reader ignores case
    if len(names) != len(set(names)):
        raise ValueError("it contains two files of the same name")
    return {name: archive.read(name) for name in archive.namelist()}


def _packed(contents: dict[str, bytes]) -> io.BytesIO:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    packed.seek(0)
    return packed


def _data(name: str, value: Any) -> Any:
    """Return JSON without remarks on operations. Raises ValueError if torch would evaluate, import or unpickle text."""
    if isinstance(value, list):
        return [_data(name, part) for part in value]
    if not isinstance(value, dict):
        return value
    for key, part in value.items():
        text = part if isinstance(part, str) else ""
        allowed = {
            "expr_str": _SIZE.fullmatch(text) is not None,
            "path_name": not text.startswith(_CUSTOM),
            "in_spec": _IMPORTS.search(text) is None,
            "out_spec": _IMPORTS.search(text) is None,
            "target": not text or _OPERATION.fullmatch(text) is not None,
            "as_operator": not text or _OPERATION.fullmatch(text) is not None,
        }
        if not allowed.get(key, True):
            raise ValueError(f"{name} contains {key} {text[:60]!r}, which torch would execute")
    parts = {key: _data(name, part) for key, part in value.items()}
    return parts | {"metadata": {}} if isinstance(value.get("target"), str) else parts  # torch looks up names in it
