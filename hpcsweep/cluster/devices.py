"""The device of this rank, its processor cores and its memory: read from the machine, bound once, by what all tell."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from hpcsweep.approx import machine
from hpcsweep.cluster import memory, placement
from hpcsweep.cluster.placement import Gpu, Seat, refuse_oversubscription

THREADS, SHARE = "HPCSWEEP_THREADS", "HPCSWEEP_SHARE_GPUS"


@dataclass(frozen=True)
class Device:
    """What one rank computes on."""

    name: str  # "cpu" or "cuda:0"
    about: str  # for people
    memory: int  # bytes that this rank may use
    uuid: str = ""  # of a GPU


_bound: list[Device] = []  # to which this process is bound: one, once it is


def threads() -> int:
    """Return how many processor cores this rank computes on: one, unless HPCSWEEP_THREADS asks for more.

    It trains as many networks at once, one core each, with the same bits on any number of them (docs/guarantees.md).
    """
    told = os.environ.get(THREADS, "")
    return max(1, int(told)) if told.isdigit() else 1


def seat(local: int = 0) -> Seat:
    """Return where this rank sits; `local` is its number among the ranks of its host, if its launcher does not say."""
    build, host = machine.build(), socket.gethostname()
    for name in placement.redundant(os.environ, build):  # before torch looks
        del os.environ[name]
    numbers = range(machine.gpus())
    names = placement.identities(host, [machine.gpu_uuid(number, host) for number in numbers], os.environ)
    return Seat(
        host=host,
        cores=frozenset(os.sched_getaffinity(0)),
        threads=threads(),
        local=placement.local_rank(os.environ, local),
        gpus=tuple(Gpu(names[number], machine.gpu_name(number)) for number in numbers),
        build=build,
        granted=placement.granted(os.environ),
        hidden=placement.hidden(os.environ, build),
        slurm="SLURM_JOB_ID" in os.environ,
    )


def settle(everyone: Sequence[Seat], rank: int) -> Device:
    """Bind this rank, for good, by the seats of all ranks. Raises `LaunchError`, on all of them alike."""
    refuse_oversubscription(everyone)
    chosen = placement.assign(everyone, placement.chosen_device(), bool(os.environ.get(SHARE)))
    uuids = [one.gpus[number].uuid if number is not None else "" for one, number in zip(everyone, chosen, strict=True)]
    machine.use_threads(everyone[rank].threads)
    number = chosen[rank]
    if number is None:
        neighbours = sum(one.host == everyone[rank].host for one in everyone)
        device = Device("cpu", f"cpu, {everyone[rank].threads} thread(s)", memory.available() // neighbours)
    else:
        machine.use_gpu(number)
        share = machine.gpu_memory(number) // uuids.count(uuids[rank])
        device = Device(f"cuda:{number}", everyone[rank].gpus[number].name, share, uuids[rank])
    _bound[:] = [device]
    return device


def here() -> Device:
    """Return the device of this rank; one that nobody has bound yet is alone."""
    return _bound[0] if _bound else settle([seat()], 0)


def occupy() -> None:
    """Make the GPU of this rank that of the calling thread: torch keeps one for each."""
    if _bound and _bound[0].name != "cpu":
        machine.use_gpu(int(_bound[0].name.partition(":")[2]))


if __name__ == "__main__":  # what `doctor` asks for in a process of its own, which may hang
    told = seat()
    seen = {"torch": machine.versions(), "moved": machine.moved_products()}
    print(json.dumps({**dataclasses.asdict(told), "cores": sorted(told.cores), **seen}))
