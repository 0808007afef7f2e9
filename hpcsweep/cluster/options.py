"""How a rank computes, as one object: what users set in the environment, and what the options of a command replace.

Imports nothing heavy: commands make it before they import what a failure of one rank may end.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from hpcsweep.cluster.placement import DeviceChoice
from hpcsweep.errors import LaunchError

THREADS, DEVICE, SHARE_GPUS = "HPCSWEEP_THREADS", "HPCSWEEP_DEVICE", "HPCSWEEP_SHARE_GPUS"
CHECKPOINTS, CHECKPOINT_SECONDS = "HPCSWEEP_CHECKPOINT_SECONDS", 60.0


@dataclass(frozen=True)
class RunOptions:
    """How a rank computes. On k threads it trains k networks at once, with the same bits (docs/guarantees.md)."""

    threads: int = 1  # processor cores of this rank
    device: DeviceChoice = "auto"  # "gpu" or "cpu" for all ranks; "auto": a GPU for each rank that sees any
    share_gpus: bool = False  # whether ranks may share a GPU where there are more ranks than GPUs
    checkpoint_seconds: float = CHECKPOINT_SECONDS  # between two checkpoints of a pack; infinite: none

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> RunOptions:
        """Return what the environment says. Raises `LaunchError` for what cannot be meant."""
        threads = environment.get(THREADS, "")
        return cls(
            threads=max(1, int(threads)) if threads.isdigit() else 1,
            device=_device(environment.get(DEVICE) or "auto"),
            share_gpus=bool(environment.get(SHARE_GPUS)),
            checkpoint_seconds=_seconds(environment.get(CHECKPOINTS, str(CHECKPOINT_SECONDS))),
        )


def _device(choice: str) -> DeviceChoice:
    if choice not in get_args(DeviceChoice):
        raise LaunchError(f"{DEVICE}={choice!r}: choose auto, gpu or cpu.")
    return choice  # type: ignore[return-value]


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise LaunchError(f"{CHECKPOINTS} is {text!r}; give seconds such as 60, 0 or more, or inf for no checkpoints.")
    return seconds
