"""Which device, how many processor cores and how much memory a rank has, read from the facts of its environment."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from hpcsweep.approx import machine
from hpcsweep.errors import LaunchError

LOCAL_RANK = ("SLURM_LOCALID", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "PMI_LOCAL_RANK")
LOCAL_SIZE = ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "PMI_LOCAL_SIZE", "SLURM_NTASKS_PER_NODE")
THREADS = "HPCSWEEP_THREADS"
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class Device:
    """What one rank computes on."""

    name: str  # "cpu" or "cuda:0"
    about: str  # for people
    memory: int  # bytes that this rank may use


def _first(names: tuple[str, ...], otherwise: int) -> int:
    """Return the first of some environment variables that is a number."""
    return next((int(os.environ[name]) for name in names if os.environ.get(name, "").isdigit()), otherwise)


@cache
def here() -> Device:
    """Return the device of this rank, bound at the first call: the GPU of its local rank, or cores where there is none.

    One thread for a rank unless HPCSWEEP_THREADS asks for more: only with one are results bit for bit the same on any
    number of ranks.
    """
    threads = max(1, _first((THREADS,), 1))
    machine.use_threads(threads)
    if count := machine.gpus():
        number = _first(LOCAL_RANK, 0) % count
        return Device(f"cuda:{number}", machine.gpu_name(number), machine.gpu_memory(number))
    return Device("cpu", f"cpu, {threads} thread(s)", memory() // max(1, _first(LOCAL_SIZE, 1)))


@dataclass(frozen=True)
class Seat:
    """Where a rank sits: its host, the cores that it may use, and its threads."""

    host: str
    cores: frozenset[int]
    threads: int


def seat() -> Seat:
    """Return where this rank sits."""
    threads = max(1, _first((THREADS,), 1))
    return Seat(socket.gethostname(), frozenset(os.sched_getaffinity(0)), threads)


def refuse_oversubscription(seats: Sequence[Seat]) -> None:
    """Raise `LaunchError` if ranks with several threads would fight for cores.

    Measured: two spinning thread teams on one set of cores are 35 to 100 times slower than one thread each.
    """
    for host in {one.host for one in seats if one.threads > 1}:
        ranks = [one for one in seats if one.host == host]
        cores, threads = len(frozenset().union(*(one.cores for one in ranks))), sum(one.threads for one in ranks)
        if threads > cores or any(one.threads > len(one.cores) for one in ranks):
            raise LaunchError(
                f"{len(ranks)} rank(s) on {host} have {threads} threads in all for {cores} cores; ask for more cores "
                f"(srun --cpus-per-task={max(one.threads for one in ranks)}), start fewer ranks, or lower --threads."
            )


def memory() -> int:
    """Return the bytes that this process and its neighbours on the node may use: what is free, or less by cgroup."""
    available = psutil.virtual_memory().available
    texts = [Path(limit).read_text().strip() for limit in LIMITS if Path(limit).exists()]
    return min([available, *(int(text) for text in texts if text.isdigit())])
