"""States of unfinished work as data: plain values, arrays and tensors, and objects of a few named classes. No code.

A state is a digest and a NumPy archive (.npz), read without pickle: its arrays, and a text of JSON that says how they
make up the state. The digest is that of the archive, so that a damaged one is refused.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpcsweep.errors import StateError

_TREE, _ABOUT = "tree", "about"
_DIGEST = functools.partial(hashlib.blake2b, digest_size=32)


def write(path: Path, state: Any, classes: Sequence[type] = (), about: Any = None) -> None:
    """Write a state to a file, and `about` it something that JSON can say, which can be read without the rest.

    It may consist of None, numbers, texts, bytes, lists, tuples, dictionaries, arrays of numbers, tensors, and
    dataclasses of these `classes`, whatever is nested in what. Raises `TypeError` for anything else, and `OSError`.
    """
    arrays: list[np.ndarray] = []
    tree = _Encoder({kind: name for name, kind in _named(classes).items()}, arrays).encode(state)
    texts = {_ABOUT: json.dumps(about), _TREE: json.dumps(tree)}
    encoded = {name: np.frombuffer(text.encode(), np.uint8) for name, text in texts.items()}
    with path.open("w+b") as file:
        start = file.write(bytes(_DIGEST().digest_size))
        np.savez(file, allow_pickle=False, **encoded, **{str(i): array for i, array in enumerate(arrays)})
        file.seek(start)
        digest = hashlib.file_digest(file, _DIGEST).digest()
        file.seek(0)
        file.write(digest)


def about(path: Path) -> Any:
    """Return what a file says about its state, whose digest is not computed. Raises `StateError` as `read` does."""
    with _opened(path, whole=False) as archive:
        return json.loads(archive[_ABOUT].tobytes())


def read(path: Path, classes: Sequence[type] = ()) -> Any:
    """Return the state in a file, equal to what was written, to the bit.

    Tensors return to the kind of device that they were on. Raises `StateError` if the file is damaged, or is something
    else; and `FileNotFoundError`.
    """
    with _opened(path) as archive:
        tree = json.loads(archive[_TREE].tobytes())
        return _Decoder(_named(classes), lambda number: archive[str(number)]).decode(tree)


@contextlib.contextmanager
def _opened(path: Path, whole: bool = True) -> Iterator[Any]:
    """Open an archive, if it is `whole`; what goes wrong with it in the block is a `StateError`."""
    try:
        with path.open("rb") as file:
            digest = file.read(_DIGEST().digest_size)
            if whole and hashlib.file_digest(file, _DIGEST).digest() != digest:
                raise ValueError("its digest is another")
            file.seek(len(digest))
            with np.load(file, allow_pickle=False) as archive:
                yield archive
    except FileNotFoundError:
        raise
    except (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile) as error:
        raise StateError(f"{path} is damaged, or holds something else ({error}).") from error


def _named(classes: Sequence[type]) -> dict[str, type]:
    return {f"{kind.__module__}.{kind.__qualname__}": kind for kind in classes}


class _Encoder:
    """Writes states as JSON, in which arrays are numbers."""

    def __init__(self, names: Mapping[type, str], arrays: list[np.ndarray]) -> None:
        self._names, self._arrays = names, arrays

    def encode(self, value: Any) -> Any:
        """Return what JSON can say of a value: itself, or {kind: content}."""
        if value is None or type(value) in (bool, int, float, str):
            return value
        if type(value) is list:
            return [self.encode(item) for item in value]
        if type(value) is tuple:
            return {"tuple": [self.encode(item) for item in value]}
        if type(value) is dict:
            return {"dict": [[self.encode(key), self.encode(item)] for key, item in value.items()]}
        if isinstance(value, bytes):
            return {"bytes": self._keep(np.frombuffer(value, np.uint8))}
        if isinstance(value, Tensor):
            plain = value.detach().cpu().contiguous()
            octets = plain.reshape(-1).view(torch.uint8).numpy() if plain.numel() else np.empty(0, np.uint8)
            return {"tensor": [self._keep(octets), str(plain.dtype), list(plain.shape), value.device.type]}
        if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
            return {"scalar" if isinstance(value, np.generic) else "array": self._keep(np.asarray(value))}
        name = self._names.get(type(value))
        if name is None or not is_dataclass(value):
            raise TypeError(f"a state cannot hold {type(value)}")
        content = {field.name: self.encode(getattr(value, field.name)) for field in fields(value)}
        return {"object": [name, content]}

    def _keep(self, array: np.ndarray) -> int:
        self._arrays.append(array)
        return len(self._arrays) - 1


class _Decoder:
    """Reads what `_Encoder` wrote."""

    def __init__(self, classes: Mapping[str, type], array: Callable[[int], np.ndarray]) -> None:
        self._classes, self._array = classes, array

    def decode(self, tree: Any) -> Any:
        """Return the value of some JSON. Raises `ValueError` or `KeyError` if it is none of ours."""
        if isinstance(tree, list):
            return [self.decode(item) for item in tree]
        if not isinstance(tree, dict):
            return tree
        [(kind, content)] = tree.items()
        match kind:
            case "tuple":
                return tuple(self.decode(item) for item in content)
            case "dict":
                return {self.decode(key): self.decode(item) for key, item in content}
            case "bytes":
                return self._array(content).tobytes()
            case "array":
                return self._array(content)
            case "scalar":
                return self._array(content)[()]
            case "tensor":
                return self._tensor(*content)
            case "object":
                return self._object(*content)
        raise ValueError(f"an unknown kind of value, {kind!r}")

    def _tensor(self, number: int, kind: str, shape: list[int], device: str) -> Tensor:
        dtype = getattr(torch, kind.removeprefix("torch."))
        octets = torch.from_numpy(self._array(number).copy())
        plain = octets.view(dtype) if octets.numel() else torch.empty(0, dtype=dtype)
        return plain.reshape(shape).to(device)

    def _object(self, name: str, values: dict[str, Any]) -> Any:
        kind = self._classes[name]
        if {field.name for field in fields(kind)} != values.keys():
            raise ValueError(f"other fields than those of {name}")
        made: Any = object.__new__(kind)
        for field, value in values.items():
            object.__setattr__(made, field, self.decode(value))
        return made
