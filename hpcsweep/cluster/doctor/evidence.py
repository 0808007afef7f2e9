"""What `doctor` knows when it makes a diagnosis, and what a finding is; nothing is looked at here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from hpcsweep.cluster.doctor.inspection import Disk, Node, World
from hpcsweep.cluster.placement import DeviceChoice, Gpu, Seat

SIGNS = {"good": "✓", "doubtful": "!", "bad": "✗"}
HUNG = "no answer in time"
SLOW = "still at work when the time was over"
BUSY = "that is slow, not a fault: the machine is busy; try again with --limit 60"


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, what was seen, and what to do about it."""

    about: str
    state: Literal["good", "doubtful", "bad"]
    seen: str
    remedy: str = ""

    def line(self) -> str:
        """Return it as people read it."""
        return f"{SIGNS[self.state]} {self.about:9} {self.seen}" + (
            f"\n  {'':9} → {self.remedy}" if self.remedy else ""
        )


@dataclass(frozen=True)
class RankReport:
    """What one rank told; None for what did not answer, and why."""

    node: Node
    disk: Disk | None = None
    seat: Seat | None = None
    torch: str = ""
    silent: Mapping[str, str] = field(default_factory=dict)
    moved: tuple[str, ...] = ()  # kinds of products whose bits depend on addresses

    @classmethod
    def from_answers(cls, answers: Mapping[str, Any]) -> RankReport:
        """Return it from JSON."""
        disk, seat = answers["disk"], answers["seat"]
        return cls(
            Node(**answers["place"]),
            disk and Disk(**disk),
            seat and _seat(seat),
            (seat or {}).get("torch", ""),
            answers["silent"],
            tuple((seat or {}).get("moved", ())),
        )


def _seat(answer: Mapping[str, Any]) -> Seat:
    values = {name: value for name, value in answer.items() if name not in ("torch", "moved")}
    gpus = tuple(Gpu(**gpu) for gpu in answer["gpus"])
    return Seat(**{**values, "gpus": gpus, "cores": frozenset(answer["cores"])})


@dataclass(frozen=True)
class Evidence:
    """All that is known when a diagnosis is made, on rank 0."""

    ranks: Sequence[RankReport]
    world: World | None
    no_answer: str  # why there is no world
    environment: Mapping[str, str]
    slurm: Mapping[str, str]  # settings of Slurm; empty where there is none
    walltime: float = math.inf  # seconds that the job has left
    device: DeviceChoice = "auto"
    share: bool = False
