"""Files of weights as tensors by name. Nothing in them is executed."""

from __future__ import annotations

import io
import json
import math
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpcsweep.errors import PluginError, nearest

Tensors = dict[str, Tensor]
_DTYPES = {
    **{
        "F64": torch.float64,
        "F32": torch.float32,
        "F16": torch.float16,
        "BF16": torch.bfloat16,
        "C64": torch.complex64,
    },
    **{"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "BOOL": torch.bool, "U8": torch.uint8},
    **{"I8": torch.int8, "I16": torch.int16, "I32": torch.int32, "I64": torch.int64},
}
_INSIDE = ("state_dict", "model_state_dict", "model", "net", "network")  # where checkpoints keep the weights
_LONGEST = 100 << 20  # bytes of a header


def kind(path: Path) -> str:
    """Return what a file of this name is to be."""
    return _READERS.get(path.suffix, _READERS[".pt"])[0]


def load(path: Path, content: bytes) -> Tensors:
    """Return the tensors of an .npz, .pt, .pth or .safetensors file, of whatever type, in their order.

    Raises
    ------
    PluginError: if the file is no such file
    """
    _, reader = _READERS.get(path.suffix, _READERS[".pt"])
    try:
        return {name: _dense(name, tensor) for name, tensor in reader(content).items()}
    except Exception as error:  # the libraries raise anything of a damaged file
        reason = " ".join(str(error).split())[:300]
        reason = reason if " " in reason else f"{type(error).__name__} {reason}".strip()
        raise PluginError(f"{path} cannot be read as {kind(path)}: {reason.rstrip('.')}.") from error


def _dense(name: str, tensor: Tensor) -> Tensor:
    """Return a tensor without gradients. Raises ValueError if it is not dense, or larger than what the file holds."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        raise ValueError(f"{name} is not a dense tensor of numbers")
    if tensor.numel() * tensor.itemsize > tensor.untyped_storage().nbytes():
        raise ValueError(f"{name} {tuple(tensor.shape)} is larger than what the file holds")
    return tensor.detach()


def _npz(content: bytes) -> Tensors:
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise ValueError("it is not an archive, as numpy.savez writes it")
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {name: np.asarray(file[name]) for name in file.files}
        return {name: torch.from_numpy(array.astype(np.float64, casting="same_kind")) for name, array in arrays.items()}


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
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        held = ", ".join(f"{name!r} ({type(value).__name__})" for name, value in content.items()) or "nothing"
        near = "".join(nearest(str(name), _INSIDE) for name in content)
        raise ValueError(
            f"it holds {held}, not tensors by name.{near} Allowed: tensors, or one of {', '.join(_INSIDE)}"
        )
    return tensors


def _safetensors(data: bytes) -> Tensors:
    """Read a header, JSON with types, shapes and places of tensors by name, and their bytes behind it.

    Names are in alphabetical order: the format keeps none.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= length <= min(_LONGEST, len(data) - 8):
        raise ValueError("it does not begin with the length of a header")
    header = json.loads(data[8 : 8 + length])
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    header.pop("__metadata__", None)
    content, tensors = data[8 + length :], {}
    for name in sorted(header):
        entry = header[name]
        dtype, shape, (start, stop) = _DTYPES.get(entry["dtype"]), entry["shape"], entry["data_offsets"]
        if dtype is None:
            raise ValueError(f"{name} is of type {entry['dtype']}; allowed are {', '.join(_DTYPES)}")
        if not 0 <= start <= stop <= len(content) or stop - start != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{name} has {stop - start} bytes for the shape {shape} in {entry['dtype']}")
        raw = torch.frombuffer(bytearray(content[start:stop]), dtype=torch.uint8) if stop > start else torch.empty(0)
        tensors[name] = raw.view(dtype).reshape(shape)
    return tensors


_READERS: dict[str, tuple[str, Callable[[bytes], Tensors]]] = {
    ".npz": ("an .npz file of weights", _npz),
    ".pt": ("a state dict (tensors by name, as torch.save(model.state_dict()) writes it)", _state_dict),
    ".safetensors": ("a safetensors file", _safetensors),
}
