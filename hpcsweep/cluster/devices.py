"""The device of this rank, its processor cores and its memory: read from the machine, bound once, by what all tell."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hpcsweep.approx import machine
from hpcsweep.cluster import memory, placement
from hpcsweep.cluster.options import RunOptions
from hpcsweep.cluster.placement import Gpu, Seat, refuse_oversubscription


@dataclass(frozen=True)
class Device:
    """What one rank computes on."""

    name: str  # "cpu" or "cuda:0"
    about: str  # for people
    memory: int  # bytes that this rank may use
    uuid: str = ""  # of a GPU
    threads: int = 1  # processor cores of this rank


_bound: list[Device] = []  # to which this process is bound: one, once it is


def seat(options: RunOptions, local: int = 0) -> Seat:
    """Return where this rank sits; `local` is its number among the ranks of its host, if its launcher does not say."""
    build, host = machine.build(), socket.gethostname()
    for name in placement.redundant(os.environ, build):  # before torch looks
        del os.environ[name]
    numbers = range(machine.gpus())
    names = placement.identities(host, [machine.gpu_uuid(number, host) for number in numbers], os.environ)
    return Seat(
        host=host,
        cores=frozenset(os.sched_getaffinity(0)),
        threads=options.threads,
        local=placement.local_rank(os.environ, local),
        gpus=tuple(Gpu(names[number], machine.gpu_name(number)) for number in numbers),
        build=build,
        granted=placement.granted(os.environ),
        hidden=placement.hidden(os.environ, build),
        slurm="SLURM_JOB_ID" in os.environ,
    )


def settle(everyone: Sequence[Seat], rank: int, options: RunOptions) -> Device:
    """Bind this rank, for good, by the seats of all ranks. Raises `LaunchError`, on all of them alike."""
    refuse_oversubscription(everyone)
    chosen = placement.assign(everyone, options.device, options.share_gpus)
    uuids = [
        other.gpus[number].uuid if number is not None else "" for other, number in zip(everyone, chosen, strict=True)
    ]
    threads = everyone[rank].threads
    machine.use_threads(threads)
    number = chosen[rank]
    if number is None:
        neighbours = sum(other.host == everyone[rank].host for other in everyone)
        device = Device("cpu", f"cpu, {threads} thread(s)", memory.available() // neighbours, threads=threads)
    else:
        machine.use_gpu(number)
        share = machine.gpu_memory(number) // uuids.count(uuids[rank])
        device = Device(f"cuda:{number}", everyone[rank].gpus[number].name, share, uuids[rank], threads)
    _bound[:] = [device]
    return device


def here() -> Device:
    """Return the device of this rank; one that nobody has bound yet is alone."""
    return _bound[0] if _bound else alone(RunOptions.read())


@contextlib.contextmanager
def unbound() -> Iterator[None]:
    """Let this process be bound to another device, and then again to the one that it had, or to none."""
    before = list(_bound)
    _bound.clear()
    try:
        yield
    finally:
        _bound[:] = before
        machine.release_memory()


def alone(options: RunOptions) -> Device:
    """Bind this process, which is no rank among others, and return its device."""
    return settle([seat(options)], 0, options)


def occupy() -> None:
    """Make the GPU of this rank that of the calling thread: torch keeps one for each."""
    if _bound and _bound[0].name != "cpu":
        machine.use_gpu(int(_bound[0].name.partition(":")[2]))


if __name__ == "__main__":  # what `doctor` asks for in a process of its own, which may hang
    own = seat(RunOptions.read())
    torch = {"torch": machine.versions(), "moved": machine.moved_products()}
    print(json.dumps({**dataclasses.asdict(own), "cores": sorted(own.cores), **torch}))
