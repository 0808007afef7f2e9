"""Networks saved as TorchScript or by torch.export, and loaded again."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hpcsweep.approx.supnorm.files import programs

SQUARE = ((-1.0, 1.0),) * 2
POINTS = torch.rand(100, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 2 - 1


def saved(module: nn.Module, kind: str, points: int = 5, dynamic: bool = True, inputs: int = 2) -> bytes:
    file = io.BytesIO()
    example = torch.rand(points, inputs)
    if kind == "export":
        shapes = ({0: torch.export.Dim.AUTO},) if dynamic else None
        torch.export.save(torch.export.export(module, (example,), dynamic_shapes=shapes), file)
    else:
        scripted = torch.jit.script(module) if kind == "script" else torch.jit.trace(module, example)
        torch.jit.save(scripted, file)
    return file.getvalue()


def loaded(content: bytes, name: str = "net.pt2") -> Callable[..., Any]:
    network = programs.load(Path(name), content)
    assert network is not None
    return network
