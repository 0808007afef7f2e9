"""Files of weights as tensors by name. Nothing in them is executed."""

from __future__ import annotations

import io
import json
import math
import pickle
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpcsweep.errors import PluginError

Tensors = dict[str, Tensor]
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_INSIDE = ("state_dict", "model_state_dict", "model", "net", "network")  # where checkpoints keep the weights
_LONGEST = 100 << 20  # bytes of a header


def kind(path: Path) -> str:
    """Return what a file of this name is to be."""
    return _READERS.get(path.suffix, _READERS[".pt"])[0]


def load(path: Path, content: bytes) -> Tensors:
    """Return the tensors of an .npz, .pt, .pth or .safetensors file, of whatever floating type, in their order.

    Raises
    ------
    PluginError: if the file is no such file
    """
    _, reader = _READERS.get(path.suffix, _READERS[".pt"])
    try:
        tensors = reader(content)
    except (OSError, ValueError, TypeError, EOFError, RuntimeError, KeyError, *_BROKEN) as error:
        reason = " ".join(str(error).split())[:300]
        raise PluginError(f"{path} cannot be read as {kind(path)}: {reason}.") from error
    return {name: tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)}


_BROKEN = (zipfile.BadZipFile, zlib.error, pickle.UnpicklingError)


def _npz(content: bytes) -> Tensors:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        names = sorted(file.files, key=_natural)
        return {name: torch.from_numpy(file[name].astype(np.float64, casting="same_kind")) for name in names}


def _state_dict(file: bytes) -> Tensors:
    """Read tensors alone; a pickled module is refused by torch."""
    try:
        content: Any = torch.load(io.BytesIO(file), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            "it holds other Python objects than tensors, which are not loaded; save model.state_dict(), or the model "
            "by torch.export.save"
        ) from error
    for name in _INSIDE:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
            break
    if not isinstance(content, Mapping):
        raise ValueError(f"it holds a {type(content).__name__}, not tensors by name")
    return {str(name): value for name, value in content.items()}


def _safetensors(data: bytes) -> Tensors:
    """Read a header, JSON with types, shapes and places of tensors by name, and their bytes behind it.

    Names are in the order of their numbers: the format keeps none.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= length <= min(_LONGEST, len(data) - 8):
        raise ValueError("it does not begin with the length of a header")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    content, tensors = data[8 + length :], {}
    for name in sorted(header, key=_natural):
        entry = header[name]
        dtype, shape, (start, stop) = _DTYPES.get(entry["dtype"]), entry["shape"], entry["data_offsets"]
        if dtype is None:
            continue
        if not 0 <= start <= stop <= len(content) or stop - start != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{name} has {stop - start} bytes for the shape {shape} in {entry['dtype']}")
        raw = torch.frombuffer(bytearray(content[start:stop]), dtype=torch.uint8) if stop > start else torch.empty(0)
        tensors[name] = raw.view(dtype).reshape(shape)
    return tensors


def _natural(name: str) -> list[tuple[int, str]]:
    """Order layer 10 after layer 2."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


_READERS: dict[str, tuple[str, Callable[[bytes], Tensors]]] = {
    ".npz": ("an .npz file of weights", _npz),
    ".pt": ("a state dict (tensors by name, as torch.save(model.state_dict()) writes it)", _state_dict),
    ".safetensors": ("a safetensors file", _safetensors),
}
