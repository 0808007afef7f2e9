"""What the answers of all ranks mean: findings for people, each with what to do. Pure: nothing is looked at here."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hpcsweep import libraries
from hpcsweep.cluster import launchers, placement
from hpcsweep.cluster.doctor.evidence import BUSY, HUNG, SIGNS, SLOW, Evidence, Finding, RankReport
from hpcsweep.cluster.doctor.inspection import Disk
from hpcsweep.errors import LaunchError

GIB = 2**30


def diagnose(evidence: Evidence) -> list[Finding]:
    """Return all findings, in the order in which people should read them."""
    found = [_world(evidence), _library(evidence), _devices(evidence), _torch(evidence), _products(evidence.ranks)]
    found += [*_disks(evidence.ranks), *_shared(evidence)]
    found += [
        _cores(evidence),
        _memory(evidence.ranks),
        _clocks(evidence),
        _limits(evidence.ranks),
        _shm(evidence.ranks),
        _slurm(evidence),
    ]
    return [one for one in found if one is not None]


def _world(evidence: Evidence) -> Finding:
    tasks, by = launchers.ranks(evidence.environment), launchers.launcher(evidence.environment)
    remedy = (
        "srun --mpi=list shows the choices: --mpi=pmi2 for MPICH, --mpi=pmix for Open MPI; or the MPI's own mpiexec"
    )
    if evidence.world is None:
        needed = launchers.launched(evidence.environment)
        if not needed and SLOW in evidence.no_answer:  # ranks look busy while they wait for each other
            return Finding("world", "doubtful", f"MPI does not answer: {evidence.no_answer}", BUSY)
        return Finding(
            "world", "bad" if needed else "doubtful", f"MPI does not answer: {evidence.no_answer}", _without(needed)
        )
    if evidence.world.size == 1 < tasks:
        return Finding("world", "bad", f"{by} started {tasks} tasks, but MPI sees a world of 1", remedy)
    if tasks > 1 and evidence.world.size != tasks and evidence.world.size % tasks:
        return Finding(
            "world", "doubtful", f"{by} started {tasks} tasks, and MPI sees a world of {evidence.world.size}", remedy
        )
    if by == "no launcher":
        return Finding("world", "good", "one process; start it with srun or mpiexec to examine ranks")
    hosts = len({rank.node.host for rank in evidence.ranks})
    return Finding("world", "good", f"{evidence.world.size} rank(s) on {hosts} host(s), started by {by}")


def _without(needed: bool) -> str:
    again = "see the message; does the launcher belong to the MPI library that mpi4py finds (module load ...)?"
    return again if needed else "fine for one process; for ranks load your site's MPI, or pip install 'hpcsweep[mpi]'"


def _library(evidence: Evidence) -> Finding | None:
    if evidence.world is None:
        return None
    by, library = launchers.launcher(evidence.environment), evidence.world.library
    wants = {"srun (PMIx)": ("MPICH",), "mpiexec of Open MPI": ("MPICH", "Intel")}.get(by, ())
    wants = ("Open MPI",) if by in ("srun (PMI-2)", "mpiexec of MPICH (Hydra)") else wants
    if any(name in library for name in wants):
        remedy = "use the mpiexec (or srun --mpi=...) of the MPI that mpi4py loads; MPI4PY_MPIABI chooses another"
        return Finding("MPI", "doubtful", f"{library} under {by}: these rarely work together", remedy)
    return Finding("MPI", "good", library)


def _silent(ranks: Sequence[RankReport], name: str) -> str:
    """Say which ranks did not answer a probe, and why; empty if all did."""
    quiet = [(number, rank) for number, rank in enumerate(ranks) if name in rank.silent]
    if not quiet:
        return ""
    number, rank = quiet[0]
    return f"{len(quiet)} rank(s) got no answer, first {number} on {rank.node.host}: {rank.silent[name]}"


def _devices(evidence: Evidence) -> Finding:
    if quiet := _silent(evidence.ranks, "torch"):
        if SLOW in quiet:
            return Finding("devices", "doubtful", quiet, BUSY)
        if HUNG not in quiet:
            return Finding("devices", "bad", quiet, "repair the installation of torch, or its driver")
        remedy = "a slow disk of the Python environment, or a driver that hangs (nvidia-smi, rocm-smi)? Try --limit 60"
        return Finding("devices", "doubtful", quiet, remedy)
    taken = [rank.seat for rank in evidence.ranks if rank.seat is not None]
    try:
        placement.refuse_oversubscription(taken)
        chosen = placement.assign(taken, evidence.device, evidence.share)
    except LaunchError as error:
        return Finding("devices", "bad", str(error))
    own = [one.gpus[number] if number is not None else None for one, number in zip(taken, chosen, strict=True)]
    text = placement.summary([(gpu.name, gpu.uuid) if gpu else ("cores", "") for gpu in own])
    uuids = [gpu.uuid for gpu in own if gpu]
    shared = f"; up to {max(map(uuids.count, uuids))} rank(s) share one" if len(set(uuids)) < len(uuids) else ""
    return Finding("devices", "good", text + shared)


def _torch(evidence: Evidence) -> Finding | None:
    versions = sorted({rank.torch for rank in evidence.ranks if rank.torch})
    if not versions:
        return None
    for rank in evidence.ranks:
        if rank.seat and rank.seat.build == "cpu" and rank.node.drivers and evidence.device != "cpu":
            seen = f"{rank.torch}, but {rank.node.host} has a GPU driver ({', '.join(rank.node.drivers)})"
            return Finding("torch", "doubtful", seen, "install a torch for CUDA or ROCm (pytorch.org/get-started)")
    if len(versions) > 1:
        remedy = "results differ in their last bits; choose nodes of one kind (sbatch --constraint)"
        return Finding("torch", "doubtful", "; ".join(versions), remedy)
    build = next((rank.seat.build for rank in evidence.ranks if rank.seat), "cpu")
    return Finding("torch", "good", f"{versions[0]}, built for {build}")


def _products(ranks: Sequence[RankReport]) -> Finding | None:
    """Judge whether the bits of torch's products depend on where matrices lie, and so results on the work before them.

    Such products are in models given as torch code, targets that are networks, and proofs.
    """
    if not any(rank.torch for rank in ranks):
        return None
    moved = [(number, rank) for number, rank in enumerate(ranks) if rank.moved]
    if not moved:
        return Finding("products", "good", "the same bits wherever matrices lie in memory")
    number, rank = moved[0]
    where = f"on {len(moved)} rank(s), first {number} on {rank.node.host}"
    seen = f"last bits of {' and '.join(rank.moved)} products depend on the addresses of matrices, {where}"
    asked, concerned = (
        f"{libraries.MKL_NAME}={libraries.MKL_VALUE}",
        "models in torch code, targets that are networks, and proofs",
    )
    if asked in rank.torch:
        remedy = f"{asked} does not help: the bits of {concerned} depend on the order of the work"
        return Finding("products", "doubtful", seen, remedy)
    remedy = f"the bits of {concerned} depend on the number of ranks; export {asked} before srun or mpiexec"
    return Finding("products", "doubtful", seen, remedy)


def _disks(ranks: Sequence[RankReport]) -> list[Finding]:
    """Judge the output folder as its worst rank sees it."""
    if quiet := _silent(ranks, "disk"):
        if SLOW in quiet:
            return [Finding("folder", "doubtful", quiet, BUSY)]
        remedy = "the file system hangs; try another folder with -o" if HUNG in quiet else "mend the installation"
        return [Finding("folder", "bad", quiet, remedy)]
    disks = [rank.disk for rank in ranks if rank.disk]
    found = [finding for disk in disks for finding in (_deeds(disk), _space(disk))]
    worst = max(found, key=lambda one: list(SIGNS).index(one.state))
    space = _space(min(disks, key=lambda disk: disk.free))
    return [_deeds(disks[0]), space] if worst.state == "good" else [worst] + [space] * (worst.about != "space")


def _deeds(disk: Disk) -> Finding:
    elsewhere = "choose another folder with -o: a parallel or local file system"
    if disk.write:
        return Finding("folder", "bad", f"nothing can be written in {disk.folder}: {disk.write}", elsewhere)
    for about, trouble in (("HDF5", disk.hdf5), ("os.replace", disk.replace), ("os.link", disk.link)):
        if trouble:
            return Finding("folder", "bad", f"{about} fails in {disk.folder} ({disk.versions}): {trouble}", elsewhere)
    text = f"{disk.folder}: {disk.versions} writes and reads, fsync {disk.sync * 1e3:.3g} ms, rename, link"
    if disk.lock:
        remedy = "harmless here (stores are opened without locks); other tools want HDF5_USE_FILE_LOCKING=FALSE"
        return Finding("folder", "doubtful", f"{text}; no locks: {disk.lock}", remedy)
    if disk.sync > 1:
        return Finding(
            "folder", "doubtful", text, "a slow file system: results are saved less often than they could be"
        )
    return Finding("folder", "good", f"{text}, lock")


def _space(disk: Disk) -> Finding:
    text = f"{disk.free / GIB:,.1f} GiB free in {disk.folder}"
    if disk.free < 2**24:
        return Finding("space", "bad", text, "remove what is not needed, or choose another folder with -o")
    if disk.free < GIB:
        return Finding("space", "doubtful", text, "ask `hpcsweep plan STUDY` how large its store will be")
    return Finding("space", "good", text)


def _shared(evidence: Evidence) -> list[Finding]:
    """Judge whether all ranks see the same folder: packs on their way are saved beside the store."""
    blind = [number for number, seen in enumerate(evidence.world.seen if evidence.world else ()) if not seen]
    if not blind:
        return []
    hosts = ", ".join(sorted({evidence.ranks[number].node.host for number in blind}))
    seen = f"ranks on {hosts} do not see the folder that rank 0 writes"
    return [Finding("folder", "bad", seen, "choose a folder on a file system that all nodes share")]


def _cores(evidence: Evidence) -> Finding:
    """Compare ranks and threads with cores, host by host."""
    told = sorted({rank.node.threads_told for rank in evidence.ranks})
    for host in {rank.node.host for rank in evidence.ranks}:
        here = [rank for rank in evidence.ranks if rank.node.host == host]
        cores = len({core for rank in here for core in rank.node.cores})
        if len(here) > cores:
            remedy = f"start at most {cores} rank(s) per node (--ntasks-per-node={cores}), or ask for more cores"
            return Finding("cores", "doubtful", f"{len(here)} ranks on {host} share {cores} core(s)", remedy)
        if len(here) > 1 and any(rank.node.threads_told != "1" for rank in here):
            seen = f"OMP_NUM_THREADS is {told[0] or 'not set'} for {len(here)} ranks on the {cores} cores of {host}"
            return Finding(
                "cores", "doubtful", seen, "export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 before srun or mpiexec"
            )
    fewest = min(len(rank.node.cores) for rank in evidence.ranks)
    threads = max((rank.seat.threads for rank in evidence.ranks if rank.seat), default=1)
    return Finding("cores", "good", f"{fewest} for each rank at least, {threads} thread(s) used (--threads)")


def _memory(ranks: Sequence[RankReport]) -> Finding:
    hosts = [rank.node.host for rank in ranks]
    each = min(rank.node.memory / hosts.count(rank.node.host) for rank in ranks)
    limited = ", within the limit of a cgroup" if any(rank.node.memory_limited for rank in ranks) else ""
    text = f"{each / GIB:.1f} GiB for each rank{limited}"
    if each < GIB:
        return Finding("memory", "doubtful", text, "ask for more (--mem, --mem-per-cpu), or start fewer ranks per node")
    return Finding("memory", "good", text)


def _clocks(evidence: Evidence) -> Finding:
    between = evidence.world.skew if evidence.world else 0.0
    disk = max((abs(rank.disk.skew) for rank in evidence.ranks if rank.disk), default=0.0)
    text = f"ranks differ by {between:.3g} s, the file system by {disk:.3g} s"
    if max(between, disk) > 20:  # a lease is given up for dead after 90 s without a sign
        return Finding(
            "clocks", "bad", text, "have the clocks of the nodes set (NTP): leases and resuming depend on them"
        )
    return Finding("clocks", "doubtful" if max(between, disk) > 2 else "good", text)


def _limits(ranks: Sequence[RankReport]) -> Finding:
    files, processes = min(rank.node.files for rank in ranks), min(rank.node.processes for rank in ranks)
    text = f"{_many(files)} open files, {_many(processes)} processes"
    if files < 1024 or processes < 256:
        return Finding("limits", "doubtful", text, "raise them (ulimit -n 4096, ulimit -u 4096), or ask your site")
    return Finding("limits", "good", text)


def _many(number: int) -> str:
    return "any number of" if number >= 2**62 else f"{number:,}"


def _shm(ranks: Sequence[RankReport]) -> Finding:
    free, left = min(rank.node.shm for rank in ranks), max(rank.node.shm_left for rank in ranks)
    text = f"{free / GIB:.1f} GiB free in /dev/shm"
    if left:
        remedy = "killed runs of MPICH left files; remove those of yours that no process uses: rm /dev/shm/mpich_shm_*"
        return Finding("/dev/shm", "doubtful", f"{text}, {left / GIB:.2f} GiB left behind", remedy)
    if free < 2**26 * len(ranks):
        return Finding("/dev/shm", "doubtful", text, "MPI may fail; enlarge it for containers (docker --shm-size=1g)")
    return Finding("/dev/shm", "good", text)


def _slurm(evidence: Evidence) -> Finding | None:
    if not evidence.slurm:
        return None
    if "error" in evidence.slurm:
        return Finding("Slurm", "doubtful", evidence.slurm["error"])
    names = ("SLURM_VERSION", "MaxArraySize", "MpiDefault")
    text = ", ".join(f"{name} {evidence.slurm[name]}" for name in names if name in evidence.slurm)
    if evidence.walltime < math.inf:
        text += f", {evidence.walltime / 60:,.0f} min left in this job"
    if evidence.walltime < 300:
        return Finding("Slurm", "doubtful", text, "a run stops a minute before the end; ask for more time (--time)")
    return Finding("Slurm", "good", text)
