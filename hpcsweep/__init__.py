"""Distributed sweeps that measure how accurately neural networks approximate functions, in the sup-norm.

`hpcsweep.measure` measures any function by itself; everything else is used as `python -m hpcsweep`.
"""

from __future__ import annotations

from typing import Any

from hpcsweep import libraries  # noqa: F401 - before anything of ours imports torch

__version__ = "0.1.0"
__all__ = ["measure"]


def __getattr__(name: str) -> Any:
    """Import `measure` when it is asked for: it needs torch, and reading a store does not."""
    if name == "measure":
        from hpcsweep.api import measure

        return measure
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
