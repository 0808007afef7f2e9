"""What `doctor` asks of a rank's machine: its limits, the output folder, the world of MPI.

What may hang, the folder and the world, is asked in a process of its own
(``python -m hpcsweep.cluster.doctor.inspection``), which answers with one line of JSON.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from hpcsweep.cluster import launchers, memory, shared_memory

DRIVERS = ("/dev/nvidiactl", "/dev/kfd")  # of NVIDIA, of AMD


@dataclass(frozen=True)
class Node:
    """What is cheap to know of the node on which a rank runs."""

    host: str
    cores: list[int]  # that it may use
    threads_told: str  # OMP_NUM_THREADS
    memory: int  # bytes available to all ranks of the host
    memory_limited: bool  # by a cgroup, below what the host has
    files: int  # open ones allowed
    processes: int  # of this user allowed
    shm: int  # free bytes of /dev/shm
    shm_left: int  # bytes of files there that killed runs of MPICH seem to have left
    drivers: list[str]  # device files of GPU drivers

    @classmethod
    def here(cls) -> Node:
        """Look at this process and its host."""
        limits, free = memory.cgroup_limits(), psutil.virtual_memory().available
        return cls(
            host=socket.gethostname(),
            cores=sorted(os.sched_getaffinity(0)),
            threads_told=os.environ.get("OMP_NUM_THREADS", ""),
            memory=min([free, *limits]),
            memory_limited=any(limit < psutil.virtual_memory().total for limit in limits),
            files=_limit(resource.RLIMIT_NOFILE),
            processes=_limit(resource.RLIMIT_NPROC),
            shm=_free(shared_memory.SHARED_MEMORY),
            shm_left=sum(path.stat().st_size for path in shared_memory.abandoned()),
            drivers=[path for path in DRIVERS if os.path.exists(path)],
        )


def _limit(which: int) -> int:
    """Return a soft limit; a very large number where there is none."""
    soft, _ = resource.getrlimit(which)
    return 2**62 if soft == resource.RLIM_INFINITY else soft


def _free(folder: Path) -> int:
    try:
        space = os.statvfs(folder)
    except OSError:
        return 0
    return space.f_bavail * space.f_frsize


@dataclass(frozen=True)
class Disk:
    """What the output folder can do. Of each deed: empty if it works, else what went wrong."""

    folder: str  # that was looked at: the nearest one that exists
    versions: str
    write: str
    hdf5: str
    replace: str
    link: str
    lock: str
    sync: float = 0.0  # seconds of an fsync
    skew: float = 0.0  # seconds that the clock of the file system is ahead
    free: int = 0  # bytes
    token: str = ""  # a file left there, so that other ranks can be asked whether they see it


def disk(folder: Path) -> Disk:
    """Do in a folder what a run does there, and clean up, but for the token."""
    import h5py  # here, and not above: it may hang, and the doctor must not

    folder = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.is_dir())
    versions = f"h5py {h5py.__version__}, HDF5 {h5py.version.hdf5_version}"
    try:
        handle, name = tempfile.mkstemp(prefix=f".hpcsweep-doctor-{socket.gethostname()}-", dir=folder)
        token, start = Path(name), time.perf_counter()
        os.write(handle, b"x" * 4096)
        os.fsync(handle)
        sync, skew = time.perf_counter() - start, os.fstat(handle).st_mtime - time.time()
        os.close(handle)
    except OSError as error:
        return Disk(str(folder), versions, str(error), "", "", "", "", free=_free(folder))
    with tempfile.TemporaryDirectory(prefix=".hpcsweep-doctor-", dir=folder) as inside:
        store = Path(inside) / "store.h5"
        return Disk(
            folder=str(folder),
            versions=versions,
            write="",
            hdf5=_trouble(_read_while_written, store),
            replace=_trouble(os.replace, store, store.with_suffix(".new")),
            link=_trouble(os.link, token, store.with_suffix(".lock")),
            lock=_trouble(_lock, token),
            sync=sync,
            skew=skew,
            free=_free(folder),
            token=name,
        )


def _trouble(deed: Callable[..., object], *arguments: object) -> str:
    """Do it and return what went wrong; empty if nothing did."""
    try:
        deed(*arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _read_while_written(path: Path) -> None:
    """Write as a store is written and read it at the same time, as `status` does."""
    import h5py

    from hpcsweep.store import write_errors

    with write_errors.deferred(path) as file:
        rows = file.create_dataset("rows", shape=(1000,), dtype="f8")
        rows[7] = 7.0
        file.flush()
        with h5py.File(path, "r", locking=False) as again:
            if again["rows"][7] != 7.0:
                raise RuntimeError("a reader does not see what was flushed")


def _lock(path: Path) -> None:
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@dataclass(frozen=True)
class World:
    """What MPI says. Rank 0 has gathered what all ranks told."""

    rank: int
    size: int
    library: str
    skew: float = 0.0  # seconds between the clocks of ranks, at most
    everyone: tuple[Any, ...] = ()  # what each rank told
    seen: tuple[bool, ...] = ()  # whether each rank sees the token of rank 0


def world(environment: Mapping[str, str] = os.environ) -> World:
    """Gather what all ranks tell on their standard inputs. Without a launcher MPI is not initialised: login nodes."""
    import mpi4py

    mpi4py.rc.initialize = launchers.launched(environment)
    from mpi4py import MPI

    library = " ".join(MPI.Get_library_version().partition("\n")[0].replace("\x00", "").split())
    answers = json.load(sys.stdin)
    if not MPI.Is_initialized():
        return World(0, 1, library, 0.0, (answers,), (True,))
    comm = MPI.COMM_WORLD
    token = comm.bcast((answers["disk"] or {}).get("token", ""))
    seen = comm.gather(not token or os.path.exists(token))
    everyone = comm.gather(answers)
    skews = []
    for _ in range(3):
        comm.Barrier()
        clocks = comm.allgather(time.time())
        skews.append(max(clocks) - min(clocks))
    return World(comm.rank, comm.size, library, min(skews), tuple(everyone or ()), tuple(seen or ()))


if __name__ == "__main__":
    answer = disk(Path(sys.argv[2])) if sys.argv[1] == "disk" else world()
    print(json.dumps(asdict(answer)))
