"""Distributed sweeps that measure how accurately neural networks approximate functions, in the sup-norm.

The names below are the public interface; whatever else lies in this package may move at any time.

- `measure` brackets the sup-norm error of any function on a box
- `Study` and `run` plan and run a study in this process, `read` and `unstacked` give its results as xarray datasets,
  and `network` gives a trained network of a store as a torch module
- `Target` and `Model` are the base classes of targets and models of your own
- `Bracket` is what is known of a sup-norm, and `UserError` the exception for every mistake of a caller

Each is imported when it is first used: `read` and `unstacked` need no torch, and nothing here imports MPI unless a
launcher such as mpiexec started the process.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hpcsweep import libraries  # noqa: F401 - before anything of ours imports torch
from hpcsweep.version import __version__ as __version__

if TYPE_CHECKING:
    from hpcsweep.api.measuring import measure
    from hpcsweep.api.networks import network
    from hpcsweep.api.running import run
    from hpcsweep.api.studies import Study
    from hpcsweep.approx.models import Model
    from hpcsweep.approx.targets import Target
    from hpcsweep.bracket import Bracket
    from hpcsweep.errors import UserError
    from hpcsweep.findings.dataset import read
    from hpcsweep.findings.grids import unstacked

__all__ = ["Bracket", "Model", "Study", "Target", "UserError", "measure", "network", "read", "run", "unstacked"]

_HOMES = {
    "Bracket": "hpcsweep.bracket",
    "Model": "hpcsweep.approx.models",
    "Study": "hpcsweep.api.studies",
    "Target": "hpcsweep.approx.targets",
    "UserError": "hpcsweep.errors",
    "measure": "hpcsweep.api.measuring",
    "network": "hpcsweep.api.networks",
    "read": "hpcsweep.findings.dataset",
    "run": "hpcsweep.api.running",
    "unstacked": "hpcsweep.findings.grids",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
