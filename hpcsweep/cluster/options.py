"""What users set for a run in the environment, read in one place; the options of the commands arrive there as well."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass

from hpcsweep.cluster.placement import Wanted, chosen_device
from hpcsweep.errors import LaunchError

THREADS, SHARE, CHECKPOINTS = "HPCSWEEP_THREADS", "HPCSWEEP_SHARE_GPUS", "HPCSWEEP_CHECKPOINT_SECONDS"


@dataclass(frozen=True)
class RunOptions:
    """How a rank computes.

    Parameters
    ----------
    threads: processor cores of this rank. It trains as many networks at once, one core each, with the same bits on any
        number of them (docs/guarantees.md).
    device: "gpu" or "cpu" for all ranks, or "auto": a GPU for each rank that sees any.
    share_gpus: whether ranks may share a GPU where there are more ranks than GPUs.
    checkpoint_seconds: between two checkpoints of a pack; infinite: none.
    """

    threads: int = 1
    device: Wanted = "auto"
    share_gpus: bool = False
    checkpoint_seconds: float = 60.0

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> RunOptions:
        """Return what the environment says. Raises `LaunchError` for what cannot be meant."""
        threads = environment.get(THREADS, "")
        return cls(
            threads=max(1, int(threads)) if threads.isdigit() else 1,
            device=chosen_device(environment),
            share_gpus=bool(environment.get(SHARE)),
            checkpoint_seconds=_seconds(environment.get(CHECKPOINTS, "60")),
        )


def _seconds(told: str) -> float:
    try:
        seconds = float(told)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise LaunchError(f"{CHECKPOINTS} is {told!r}; give seconds such as 60, 0 or more, or inf for no checkpoints.")
    return seconds
