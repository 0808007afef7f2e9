"""Where each rank sits: its host, its cores, the GPUs that it sees, and which of them is its own. All from facts.

Everything here is a function of what is told (environments, seats of all ranks): no torch, no MPI.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hpcsweep.errors import LaunchError

DeviceChoice = Literal["auto", "gpu", "cpu"]
# The launcher's own first: under mpiexec within a job every rank inherits the 0 of the batch script from Slurm.
LOCAL_RANK = ("MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "PMI_LOCAL_RANK", "SLURM_LOCALID")
NVIDIA, AMD = ("CUDA_VISIBLE_DEVICES",), ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")
NOTHING = ("", "-1", "NoDevFiles")


@dataclass(frozen=True)
class Gpu:
    """A GPU, by what is the same for every rank that sees it."""

    uuid: str
    name: str


@dataclass(frozen=True)
class Seat:
    """What one rank knows of its place."""

    host: str
    cores: frozenset[int]  # that it may use
    threads: int
    local: int = 0  # its number among the ranks of its host
    gpus: tuple[Gpu, ...] = ()  # in the order in which torch counts them here
    build: str = "cpu"  # what torch is built for: "cpu", "CUDA 12.8", "ROCm 6.3"
    granted: str = ""  # GPUs that Slurm gave it, by Slurm's numbers
    hidden: str = ""  # a variable that hides them
    slurm: bool = False


def local_rank(environment: Mapping[str, str], otherwise: int = 0) -> int:
    """Return the number of this rank among those of its host, as its launcher says."""
    numbers = (environment.get(name, "") for name in LOCAL_RANK)
    return next((int(number) for number in numbers if number.isdigit()), otherwise)


def granted(environment: Mapping[str, str]) -> str:
    """Return the GPUs that Slurm gave to this step, or to the job of a batch script; empty where none."""
    in_step = "SLURM_STEP_NUM_TASKS" in environment
    return environment.get("SLURM_STEP_GPUS" if in_step else "SLURM_JOB_GPUS", "")


def hidden(environment: Mapping[str, str], build: str) -> str:
    """Return the variable that hides all GPUs from this process, as it stands in the environment; empty where none."""
    names = AMD if build.startswith("ROCm") else NVIDIA
    return next((f"{name}={environment[name]!r}" for name in names if environment.get(name, "0") in NOTHING), "")


def redundant(environment: Mapping[str, str], build: str) -> list[str]:
    """Return the variables that would choose among AMD devices a second time what Slurm has already chosen.

    ROCr hides devices first and numbers the rest from 0; HIP would look for the old numbers among these and find none.
    """
    first = environment.get("ROCR_VISIBLE_DEVICES")
    if first is None or not build.startswith("ROCm"):
        return []
    return [name for name in AMD[1:] if environment.get(name) == first]


def identities(host: str, uuids: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return what tells each visible GPU from all others: its UUID, as the driver gives it, where that is of use.

    Slices of one GPU (MIG) may tell its UUID and are told apart by their own names; a driver that tells nothing leaves
    the numbers that Slurm or the user gave.
    """
    listed = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if len(listed) == len(uuids) and all(name.startswith("MIG-") for name in listed):
        return listed
    numbers = granted(environment).split(",")
    if len(numbers) != len(uuids):
        numbers = listed if len(listed) == len(uuids) else [str(number) for number in range(len(uuids))]
    return [uuid or f"{host}/{number}" for uuid, number in zip(uuids, numbers, strict=True)]


def assign(seats: Sequence[Seat], choice: DeviceChoice = "auto", share: bool = False) -> list[int | None]:
    """Return which GPU each rank computes on, as it counts them itself; None for cores.

    A device that a rank is bound to already is taken as it is; of several, each rank gets one of its own, so that all
    have one if that is possible at all (a bipartite matching), in the order of their local ranks. With `share` as few
    ranks as possible share a GPU. Raises `LaunchError` if a rank sees none but should, or would have to share.
    """
    if choice == "cpu":
        return [None] * len(seats)
    for rank, seat in enumerate(seats):
        if not seat.gpus and (choice == "gpu" or seat.granted):
            raise LaunchError(_blind(rank, seat))
    takers = _match(seats, 1)
    most = 1
    while isinstance(takers, _Crowd):
        if not share:
            raise LaunchError(_crowded(takers, seats))
        most += 1
        takers = _match(seats, most)
    chosen = {rank: uuid for uuid, ranks in takers.items() for rank in ranks}
    return [
        [gpu.uuid for gpu in seat.gpus].index(chosen[rank]) if seat.gpus else None for rank, seat in enumerate(seats)
    ]


@dataclass(frozen=True)
class _Crowd:
    """Ranks that see only these GPUs, which are too few for them."""

    ranks: list[int]
    gpus: set[str]


def _match(seats: Sequence[Seat], most: int) -> dict[str, list[int]] | _Crowd:
    """Give each rank that sees GPUs one of them, which at most so many take; or return who cannot be satisfied."""
    takers: dict[str, list[int]] = defaultdict(list)
    for rank in sorted(range(len(seats)), key=lambda rank: (seats[rank].local, rank)):
        tried: set[str] = set()
        if seats[rank].gpus and not _seat_on_gpu(rank, seats, takers, most, tried):
            seen = [{gpu.uuid for gpu in seat.gpus} for seat in seats]
            return _Crowd([other for other, uuids in enumerate(seen) if uuids and uuids <= tried], tried)
    return takers


def _seat_on_gpu(rank: int, seats: Sequence[Seat], takers: dict[str, list[int]], most: int, tried: set[str]) -> bool:
    """Find a GPU for a rank, moving others if need be (an augmenting path)."""
    uuids = [gpu.uuid for gpu in seats[rank].gpus]
    for uuid in uuids:
        if len(takers[uuid]) < most:
            takers[uuid].append(rank)
            return True
    for uuid in uuids:
        if uuid in tried:
            continue
        tried.add(uuid)
        for other in list(takers[uuid]):
            if _seat_on_gpu(other, seats, takers, most, tried):
                takers[uuid].remove(other)
                takers[uuid].append(rank)
                return True
    return False


def _crowded(crowd: _Crowd, seats: Sequence[Seat]) -> str:
    """Say which ranks would share which GPUs, and what to change."""
    names = {gpu.uuid: gpu.name for rank in crowd.ranks for gpu in seats[rank].gpus}
    shown = ", ".join(f"{names[uuid]} #{part}" for uuid, part in zip(sorted(names), short(sorted(names)), strict=True))
    first = seats[crowd.ranks[0]]
    fewer = f"--ntasks-per-node={len(crowd.gpus)}" if first.slurm else f"mpiexec -n {len(crowd.gpus)}"
    each = "give each rank one of its own (srun --gpus-per-task=1), " if first.slurm else ""
    numbers = ", ".join(map(str, crowd.ranks[:16])) + (", ..." if len(crowd.ranks) > 16 else "")
    return (
        f"{len(crowd.ranks)} ranks on {first.host} ({numbers}) see only {len(crowd.gpus)} GPU(s) ({shown}) and would "
        f"share them; {each}start as many ranks as GPUs ({fewer}), or use --share-gpus or --device cpu."
    )


def _blind(rank: int, seat: Seat) -> str:
    """Say why a rank sees no GPU, and what to change."""
    gift = f", though Slurm gave it {seat.granted}" if seat.granted else ""
    tool = "rocm-smi" if seat.build.startswith("ROCm") else "nvidia-smi"
    if seat.hidden:
        cause = f"{seat.hidden} hides them; unset it"
    elif seat.build == "cpu":
        cause = "this torch is built for CPUs only; install one for CUDA or ROCm (pytorch.org/get-started)"
    elif seat.slurm and not seat.granted:
        cause = "ask Slurm for them (srun --gpus-per-task=1, or sbatch --gpus-per-node=...)"
    else:
        cause = f"torch is built for {seat.build}; check whether the driver works and is new enough ({tool})"
    return f"Rank {rank} on {seat.host} sees no GPU{gift}: {cause}; or compute on CPU cores with --device cpu."


def refuse_oversubscription(seats: Sequence[Seat]) -> None:
    """Raise `LaunchError` if ranks with several threads share cores: none would be as fast as it was planned to be."""
    for host in {seat.host for seat in seats if seat.threads > 1}:
        ranks = [seat for seat in seats if seat.host == host]
        cores, threads = len(frozenset().union(*(seat.cores for seat in ranks))), sum(seat.threads for seat in ranks)
        if threads > cores or any(seat.threads > len(seat.cores) for seat in ranks):
            raise LaunchError(
                f"{len(ranks)} rank(s) on {host} have {threads} threads in all for {cores} cores; ask for more cores "
                f"(srun --cpus-per-task={max(seat.threads for seat in ranks)}), start fewer ranks, or lower --threads."
            )


def short(uuids: Sequence[str]) -> list[str]:
    """Return the shortest beginnings, of 8 characters at least, that tell these GPUs apart."""
    longest = max(map(len, uuids), default=0)
    enough = (n for n in range(8, longest) if len({uuid[:n] for uuid in uuids}) == len(set(uuids)))
    size = next(enough, longest)
    return [uuid[:size] for uuid in uuids]


def summary(devices: Sequence[tuple[str, str]], limit: int = 1000) -> str:
    """Return what all ranks compute on in some characters: names and, of GPUs, UUIDs.

    `devices`: a name and a UUID (or nothing) for each rank.
    """
    beginning = dict(zip((uuid for _, uuid in devices), short([uuid for _, uuid in devices]), strict=True))
    parts = []
    for name, count in Counter(name for name, _ in devices).items():
        uuids = [beginning[uuid] for uuid in dict.fromkeys(uuid for other, uuid in devices if other == name) if uuid]
        parts.append(f"{count} x {name}" + (f" ({', '.join(uuids)})" if uuids else ""))
    text = "; ".join(parts)
    return text if len(text) <= limit else text[: limit - 4] + " ..."
