"""What users set for a run in the environment, read in one place; the options of the commands arrive there as well."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass

from hpcsweep.cluster.checkpoints import SECONDS
from hpcsweep.cluster.placement import Wanted, chosen_device
from hpcsweep.errors import LaunchError

THREADS, SHARE, CHECKPOINTS = "HPCSWEEP_THREADS", "HPCSWEEP_SHARE_GPUS", "HPCSWEEP_CHECKPOINT_SECONDS"


@dataclass(frozen=True)
class RunOptions:
    """How a rank computes. On k threads it trains k networks at once, with the same bits (docs/guarantees.md)."""

    threads: int = 1  # processor cores of this rank
    device: Wanted = "auto"  # "gpu" or "cpu" for all ranks; "auto": a GPU for each rank that sees any
    share_gpus: bool = False  # whether ranks may share a GPU where there are more ranks than GPUs
    checkpoint_seconds: float = SECONDS  # between two checkpoints of a pack; infinite: none

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> RunOptions:
        """Return what the environment says. Raises `LaunchError` for what cannot be meant."""
        threads = environment.get(THREADS, "")
        return cls(
            threads=max(1, int(threads)) if threads.isdigit() else 1,
            device=chosen_device(environment),
            share_gpus=bool(environment.get(SHARE)),
            checkpoint_seconds=_seconds(environment.get(CHECKPOINTS, str(SECONDS))),
        )


def _seconds(told: str) -> float:
    try:
        seconds = float(told)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise LaunchError(f"{CHECKPOINTS} is {told!r}; give seconds such as 60, 0 or more, or inf for no checkpoints.")
    return seconds
